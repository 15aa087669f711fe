"""The response cache: answers of earlier requests, in a SQLite file or in any LangGraph store."""

from batch_bridge._cache.cache import CacheStats, ResponseCache

__all__ = ["CacheStats", "ResponseCache"]
