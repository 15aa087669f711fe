"""Who answers batches: one module for each vendor, and `create`, which makes a provider by its name."""

from batch_bridge.providers._create import create

__all__ = ["create"]
