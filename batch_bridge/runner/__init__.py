"""Runs a graph over many inputs in one process."""

from batch_bridge.runner._runner import Runner

__all__ = ["Runner"]
