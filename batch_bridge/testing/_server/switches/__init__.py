"""What can be set at a server: its limits, its faults, and everything else that changes while it runs."""
