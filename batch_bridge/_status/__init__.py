"""See a run from another process: what its file holds, and what its owner has written down of itself.

The reader's modules import nothing of LangGraph and no SDK, so that `batch-bridge status` is quick.
"""
