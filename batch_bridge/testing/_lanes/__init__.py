"""Ways to be answered outside of batches that cost less: the flex tier, and responses in the background."""
