"""Jobs: batches that no process waits for. `jobs.py` is what users open."""
