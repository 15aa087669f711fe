"""A ledger that keeps the queue too: what has been asked is sent by the next process if this one does not live to.

Rows, beside those of `Ledger`: `queued`, request id -> group, bytes, key, at, deadline?; from intake until the provider
has confirmed its batch, or its outcome is written. A request's own row stands before it and goes after it.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from batch_bridge._core.durations import read_seconds
from batch_bridge._core.models import SubmittedBatch
from batch_bridge._core.policy.batching import Waiting
from batch_bridge._ledger.ledger import Ledger


class DurableQueueLedger(Ledger):
    """A ledger over a store, with the queue."""

    keeps_queue = True

    async def queued(self, waiting: Sequence[Waiting]) -> None:
        """See `Ledger`; done before anybody is told that a request is queued."""
        await self._run(self._put("queued", each.id, _row(each)) for each in waiting)

    async def unqueued(self, ids: Iterable[str]) -> None:
        """See `Ledger`."""
        await self._run(self._put("queued", request_id, None) for request_id in ids)

    async def queue(self) -> list[Waiting]:
        """See `Ledger`. A request with an outcome does not wait, whatever its row says: a process has died over it."""
        rows = await self._list("queued")
        settled = await self.settled([request_id for request_id, _ in rows])
        await self.drop(settled)
        return [_waiting(request_id, row) for request_id, row in rows if request_id not in settled]

    async def confirm(self, batch: SubmittedBatch) -> None:
        """See `Ledger`; then its members are queued no more."""
        await super().confirm(batch)
        await self.unqueued(batch.members)

    async def drop(self, ids: Iterable[str]) -> None:
        """See `Ledger`; with each row goes that of the queue, in one call of the store."""
        await self._run(self._put(kind, each, None) for each in ids for kind in ("queued", "requests"))


def _row(waiting: Waiting) -> dict[str, Any]:
    row = {"group": waiting.group, "bytes": waiting.bytes, "key": waiting.key, "at": waiting.queued_at.timestamp()}
    return row if waiting.deadline is None else row | {"deadline": waiting.deadline.total_seconds()}


def _waiting(request_id: str, row: Mapping[str, Any]) -> Waiting:
    at, own = datetime.fromtimestamp(row["at"], UTC), read_seconds(row.get("deadline"))
    return Waiting(request_id, row["group"], row["bytes"], at, row["key"], own)
