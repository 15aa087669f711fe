"""Pools calls without a graph."""

from batch_bridge.batcher._batcher import Batcher
from batch_bridge.batcher._types import OnPending

__all__ = ["Batcher", "OnPending"]
