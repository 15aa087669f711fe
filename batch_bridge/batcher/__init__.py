"""Pools calls without a graph."""

from batch_bridge.batcher._batcher import Batcher, OnPending

__all__ = ["Batcher", "OnPending"]
