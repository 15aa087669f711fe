"""Who answers in the Batch API server: the stand-in, a function of the user's, another server."""
