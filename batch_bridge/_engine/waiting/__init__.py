"""What waits to be sent: its order, whose turn it is, how much may wait and go, and until when."""
