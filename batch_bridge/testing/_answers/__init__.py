"""The answerers of the Batch API server: the stand-in, a user's function, another server."""
