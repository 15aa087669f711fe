"""What travels between a node and its bridge: the payload of an interrupt, its identity, its signature."""
