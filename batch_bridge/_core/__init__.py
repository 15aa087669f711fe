"""The core: nouns and decisions without I/O, clock or vendor. It imports nothing of ours but the errors."""
