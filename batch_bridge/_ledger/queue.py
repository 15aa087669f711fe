"""What a ledger notes of the requests that wait to be sent: nothing, or a row each.

Rows, beside those of `Ledger`: `queued`, request id -> group, bytes, key, at, deadline?; from intake until the provider
has confirmed its batch, or its outcome is written. A request's own row stands before it and goes after it.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import chain
from typing import Any

from langgraph.store.base import Op

from batch_bridge._core.durations import read_seconds
from batch_bridge._core.models import CachedPrefix
from batch_bridge._core.policy.batching import Waiting
from batch_bridge._ledger.rows import RowTable


class LedgerQueue:
    """A queue that is not stored: callers hand their requests in again."""

    is_kept = False
    """Whether what waits is sent by the next process, if this one does not live to."""

    def __init__(self, table: RowTable) -> None:
        self._table = table

    async def add(self, waiting: Sequence[Waiting]) -> None:
        """Note that requests wait."""

    async def remove(self, ids: Iterable[str]) -> None:
        """Note that requests do not wait any more."""

    async def read(self) -> list[Waiting]:
        """Return the requests that wait, oldest first."""
        return []

    def may_be_settled(self, ids: Sequence[str]) -> Sequence[str]:
        """Return which of the requests that wait may have an outcome, if a process has died."""
        return ids

    def beside(self, ids: Sequence[str], removing: Iterable[Op]) -> Iterable[Op]:
        """Return the operations that delete requests, and what is noted here of them, in one call.

        Args:
            ids: The requests.
            removing: The operations for their own rows, in this order.
        """
        del ids
        return removing

    async def dropped(self, ids: Sequence[str]) -> None:
        """Delete what is left of requests whose own rows are gone."""


class StoredQueue(LedgerQueue):
    """A row for each request that waits: what has been asked is sent by the next process if this one dies."""

    is_kept = True

    async def add(self, waiting: Sequence[Waiting]) -> None:
        """See `LedgerQueue`."""
        await self._table.run(self._table.put("queued", each.id, _row(each)) for each in waiting)

    async def remove(self, ids: Iterable[str]) -> None:
        """See `LedgerQueue`."""
        await self._table.run(self._table.put("queued", request_id, None) for request_id in ids)

    async def read(self) -> list[Waiting]:
        """See `LedgerQueue`."""
        return [_waiting(request_id, row) for request_id, row in await self._table.all("queued")]

    def beside(self, ids: Sequence[str], removing: Iterable[Op]) -> Iterable[Op]:
        """See `LedgerQueue`. With each row goes that of the queue."""
        queued = (self._table.put("queued", request_id, None) for request_id in ids)
        return chain.from_iterable(zip(queued, removing, strict=True))


class LeftQueue(LedgerQueue):
    """A queue of which nothing is noted. What a `StoredQueue` before it has left stays until it has an outcome."""

    def __init__(self, table: RowTable) -> None:
        super().__init__(table)
        self._left: set[str] = set()

    async def read(self) -> list[Waiting]:
        """See `LedgerQueue`."""
        self._left = {request_id for request_id, _ in await self._table.all("queued")}
        return []

    def beside(self, ids: Sequence[str], removing: Iterable[Op]) -> Iterable[Op]:
        """See `LedgerQueue`. What was left is in rows, whatever is held in memory as well."""
        if not self._left:
            return removing
        left = [request_id for request_id in ids if request_id in self._left]
        self._left.difference_update(left)
        rows = [self._table.put(kind, request_id, None) for kind in ("queued", "requests") for request_id in left]
        return chain(rows, removing)


def _row(waiting: Waiting) -> dict[str, Any]:
    row = {"group": waiting.group, "bytes": waiting.bytes, "key": waiting.key, "at": waiting.queued_at.timestamp()}
    if waiting.deadline is not None:
        row["deadline"] = waiting.deadline.total_seconds()
    if waiting.prefix is not None:
        row["prefix"] = [waiting.prefix.key, waiting.prefix.lasts.total_seconds()]
    if waiting.barred:
        row["barred"] = list(waiting.barred)
    return row


def _waiting(request_id: str, row: Mapping[str, Any]) -> Waiting:
    at, own = datetime.fromtimestamp(row["at"], UTC), read_seconds(row.get("deadline"))
    prefix = None
    if given := row.get("prefix"):
        key, lasts = given
        prefix = CachedPrefix(key, timedelta(seconds=lasts))
    barred = tuple(row.get("barred", ()))
    return Waiting(request_id, row["group"], row["bytes"], at, row["key"], own, prefix=prefix, barred=barred)
