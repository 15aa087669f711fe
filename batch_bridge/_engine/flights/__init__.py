"""The batches on their way, and what is remembered of them."""
