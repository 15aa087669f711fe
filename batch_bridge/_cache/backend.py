"""Where a cache keeps its answers: a port."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class CacheEntry:
    """An answer as it is kept.

    Attributes:
        answer: JSON, encoded.
        at: When it was put, in seconds since the epoch.
        until: When it expires, as its writer chose; `None` is never.
    """

    answer: bytes
    at: float
    until: float | None


class CacheBackend(Protocol):
    """Keeps answers by tenant (32 hex digits) and key. Its errors are whatever they are: the cache sees to them."""

    async def get(self, tenant: str, keys: Sequence[str]) -> dict[str, CacheEntry]:
        """Read answers, also those whose time is over."""
        ...

    async def put(self, tenant: str, answers: Mapping[str, CacheEntry]) -> None:
        """Keep answers; they are durable, as far as the backend is, when it returns."""
        ...

    async def drop(self, tenant: str, keys: Sequence[str]) -> None:
        """Delete answers."""
        ...

    async def erase(self, tenant: str, owner: str) -> None:
        """Delete the answers of a tenant whose keys belong to an owner."""
        ...

    async def sweep(self, now: float) -> None:
        """Delete some expired answers of any tenant: a bounded number, so that no caller waits long."""
        ...

    async def clear(self, tenant: str) -> None:
        """Delete all answers of a tenant."""
        ...

    def clear_blocking(self, tenant: str) -> None:
        """Do what `clear` does, and block the calling thread meanwhile."""
        ...

    def close(self) -> None:
        """Give back what is held. Idempotent."""
        ...
