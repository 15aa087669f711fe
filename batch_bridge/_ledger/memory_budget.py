"""A ledger that holds requests in memory while they are small enough together, and writes down the rest.

A queued request need not survive the process: the parked interrupt is the truth, and whoever waits hands it in again.
It is only written down so that a long queue does not fill the memory.
"""

from collections.abc import Iterable, Sequence
from typing import Final

from batch_bridge._core.models import JSON, Request, Serialized
from batch_bridge._core.policy.batching import Waiting
from batch_bridge._ledger.in_memory import MemoryLedger, MemoryRows
from batch_bridge._ledger.ledger import Ledger, Rows

BUDGET: Final = 256_000_000
"""Characters of items that a bridge holds in memory."""
_BYTES: Final = 33
"""What Python needs beside the content of bytes."""


class MemoryBudgetLedger(Ledger):
    """A ledger over a store, with the first requests in memory; outcomes and batches are always in the store."""

    def __init__(self, rows: Rows, bridge: str, *, budget: int = BUDGET) -> None:
        super().__init__(rows, bridge)
        self._held: dict[str, tuple[Request, int]] = {}
        self._left = budget
        self._kept: set[str] = set()

    async def queue(self) -> list[Waiting]:
        """See `Ledger`. What a `DurableQueueLedger` before this one left queued stays there until it has an outcome."""
        self._kept = {request_id for request_id, _ in await self._list("queued")}
        return []

    async def enqueue(self, requests: Iterable[Request]) -> None:
        """See `Ledger`; written down is only what there is no room for."""
        spilled = []
        for request in requests:
            if request.id in self._held:
                continue
            weight = _BYTES + len(request.data) if type(request) is Serialized else weigh(request.item)
            if weight <= self._left:
                self._left -= weight
                self._held[request.id] = (request, weight)
            else:
                spilled.append(request)
        await super().enqueue(spilled)

    async def hold(self, requests: Iterable[Request]) -> None:
        """See `Ledger`: the process that had them in memory is gone."""
        await self.enqueue(requests)

    async def requests(self, ids: Sequence[str]) -> list[Request]:
        """See `Ledger`."""
        written = await super().requests([request_id for request_id in ids if request_id not in self._held])
        found = {request.id: request for request in written}
        found.update((request_id, self._held[request_id][0]) for request_id in ids if request_id in self._held)
        return [found[request_id] for request_id in ids if request_id in found]

    async def drop(self, ids: Iterable[str]) -> None:
        """See `Ledger`."""
        written, kept = [], []
        for request_id in ids:
            held = self._held.pop(request_id, None)
            if held is not None:
                self._left += held[1]
            if request_id in self._kept:
                kept.append(request_id)
            if held is None or request_id in self._kept:
                written.append(request_id)
        await self._run(self._put("queued", request_id, None) for request_id in kept)
        await super().drop(written)
        self._kept.difference_update(kept)


def weigh(item: JSON) -> int:
    """Return about how many bytes an item takes in memory."""
    match item:
        case str():
            return 50 + len(item)
        case list():
            return 60 + sum(map(weigh, item))
        case dict():
            return 230 + sum(len(key) + weigh(value) for key, value in item.items())
        case _:
            return 30


def ledger_in(rows: Rows, bridge: str, *, most_closed: int | None = None) -> Ledger:
    """Return the ledger of a bridge over what keeps it; one in memory keeps so many summaries of ended batches."""
    return (
        MemoryLedger(rows, bridge, most_closed=most_closed)
        if isinstance(rows, MemoryRows)
        else MemoryBudgetLedger(rows, bridge)
    )
