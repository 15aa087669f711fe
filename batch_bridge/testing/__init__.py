"""Real parts for tests: a Batch API server that speaks OpenAI's wire format."""
