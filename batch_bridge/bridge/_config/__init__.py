"""Bridges that are described in a file."""

from batch_bridge.bridge._config.load import load_bridges

__all__ = ["load_bridges"]
