"""Answers in a LangGraph `BaseStore`.

Rows, below `("batch_bridge_cache", <tenant>, <shard>)`: key -> answer (JSON as text), at, until, owner?. A shard is one
of 256, the first two digits of the key; the owner is the end of the key, where it has one.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from langgraph.store.base import BaseStore, GetOp, Op, PutOp, SearchOp

from batch_bridge._cache.backend import CacheEntry
from batch_bridge._engine.deduplication import owner_in

ROOT: Final = "batch_bridge_cache"
_OPS: Final = 500
"""Operations in one call of the store."""
_SWEPT: Final = 200
"""Answers that one sweep looks at."""


class StoreBackend:
    """Entries in a store, which belongs to the caller.

    A store that can let items expire does so by itself; in others, answers whose time is over go when they are asked
    for, and some in each sweep.
    """

    def __init__(self, store: BaseStore) -> None:
        self._store = store

    async def get(self, tenant: str, keys: Sequence[str]) -> dict[str, CacheEntry]:
        """See `CacheBackend`."""
        items = await self._run(GetOp(_namespace(tenant, key), key, refresh_ttl=False) for key in keys)
        return {key: _read(item.value) for key, item in zip(keys, items, strict=True) if item is not None}

    async def put(self, tenant: str, answers: Mapping[str, CacheEntry]) -> None:
        """See `CacheBackend`."""
        await self._run(self._put(tenant, key, entry) for key, entry in answers.items())

    async def drop(self, tenant: str, keys: Sequence[str]) -> None:
        """See `CacheBackend`."""
        await self._run(PutOp(_namespace(tenant, key), key, None) for key in keys)

    async def sweep(self, now: float) -> None:
        """See `CacheBackend`."""
        if self._store.supports_ttl:
            return
        over = {"until": {"$lte": now}}
        (found,) = await self._run([SearchOp((ROOT,), filter=over, limit=_SWEPT, refresh_ttl=False)])
        # Looked at again, since stores compare numbers each in its own way.
        gone = [item for item in found if (until := item.value.get("until")) is not None and until <= now]
        await self._run(_deletions(gone))

    async def erase(self, tenant: str, owner: str) -> None:
        """See `CacheBackend`."""
        search = SearchOp((ROOT, tenant), filter={"owner": owner}, limit=_OPS, refresh_ttl=False)
        while found := (await self._store.abatch([search]))[0]:
            await self._store.abatch(_deletions(found))

    async def clear(self, tenant: str) -> None:
        """See `CacheBackend`."""
        search = SearchOp((ROOT, tenant), limit=_OPS, refresh_ttl=False)
        while found := (await self._store.abatch([search]))[0]:
            await self._store.abatch(_deletions(found))

    def clear_blocking(self, tenant: str) -> None:
        """See `CacheBackend`."""
        search = SearchOp((ROOT, tenant), limit=_OPS, refresh_ttl=False)
        while found := self._store.batch([search])[0]:
            self._store.batch(_deletions(found))

    def close(self) -> None:
        """See `CacheBackend`; the store stays the caller's to close."""

    def _put(self, tenant: str, key: str, entry: CacheEntry) -> PutOp:
        row: dict[str, Any] = {"answer": entry.answer.decode(), "at": entry.at, "until": entry.until}
        if owner := owner_in(key):
            row["owner"] = owner
        if entry.until is None or not self._store.supports_ttl:
            return PutOp(_namespace(tenant, key), key, row, index=False)
        minutes = max(1, math.ceil((entry.until - entry.at) / 60))
        return PutOp(_namespace(tenant, key), key, row, index=False, ttl=minutes)

    async def _run(self, ops: Iterable[Op]) -> list[Any]:
        held = list(ops)
        results: list[Any] = []
        for start in range(0, len(held), _OPS):
            results += await self._store.abatch(held[start : start + _OPS])
        return results


def _namespace(tenant: str, key: str) -> tuple[str, ...]:
    return (ROOT, tenant, key[:2])


def _deletions(items: Any) -> list[Op]:
    return [PutOp(item.namespace, item.key, None) for item in items]


def _read(row: Mapping[str, Any]) -> CacheEntry:
    return CacheEntry(row["answer"].encode(), row["at"], row["until"])
