"""Anthropic's Message Batches API."""

from batch_bridge.providers._shared.extra import require_extra

require_extra("anthropic", "anthropic")

from batch_bridge.providers.anthropic._provider import AnthropicBatch

__all__ = ["AnthropicBatch"]
