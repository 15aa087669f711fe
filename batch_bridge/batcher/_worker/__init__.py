"""What answers the callers of a Batcher: an engine on a thread of its own."""
