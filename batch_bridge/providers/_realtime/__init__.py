"""A provider's ordinary calls, one a request, behind the port of a provider of batches."""
