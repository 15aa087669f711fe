"""A SQLite file that only its owner may read: a checkpointer and a store behind one writer that commits in groups."""
