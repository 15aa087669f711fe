"""Pools the requests of many threads, and sends them as batches."""

from batch_bridge.bridge._bridge import Bridge
from batch_bridge.bridge._deadline import Deadline

__all__ = ["Bridge", "Deadline"]
