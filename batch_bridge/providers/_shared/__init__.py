"""What the vendors' providers share."""
