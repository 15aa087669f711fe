"""Gemini's Batch API."""

from batch_bridge.providers._shared.extra import require_extra

require_extra("google.genai", "gemini")

from batch_bridge.providers.gemini._provider import GeminiBatch

__all__ = ["GeminiBatch"]
