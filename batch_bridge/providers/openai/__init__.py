"""OpenAI's Batch API, and the servers that speak like it."""

from batch_bridge.providers.openai._provider import OpenAIBatch

__all__ = ["OpenAIBatch"]
