"""From submitted to settled."""
