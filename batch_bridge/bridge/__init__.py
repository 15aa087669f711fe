"""Pools the requests of many threads, and sends them as batches."""

from batch_bridge.bridge._bridge import Bridge

__all__ = ["Bridge"]
