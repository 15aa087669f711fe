"""Decisions without I/O: when a queue is sent, as which batches, in which lane, and what is sent again."""
