"""Batches and files of the Batch API server, and their way from created to ended."""
