"""What the hosts of an engine share."""
