"""Requests in memory while they are small enough together; the rest is written down.

A queued request need not survive the process: the parked interrupt is the truth, and its caller hands it in again.
It is only written down so that a long queue does not fill the memory.
"""

from collections.abc import Iterable, Sequence
from typing import Final

from langgraph.store.base import Op

from batch_bridge._core.models import JSON, Request, Serialized
from batch_bridge._ledger.requests import StoredRequests
from batch_bridge._ledger.rows import RowTable

BUDGET: Final = 256_000_000
"""Characters of items that a bridge holds in memory."""
_BYTES: Final = 33
"""What Python needs beside the content of bytes."""


class MemoryBudget(StoredRequests):
    """Requests, the first ones in memory.

    Args:
        table: Where the others are.
        budget: Characters of items that are held in memory.
    """

    def __init__(self, table: RowTable, budget: int = BUDGET) -> None:
        super().__init__(table)
        self._held: dict[str, tuple[Request, int]] = {}
        self._left = budget

    async def add(self, requests: Iterable[Request]) -> None:
        """See `StoredRequests`; only requests beyond the budget are written."""
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
        await super().add(spilled)

    async def hold(self, requests: Iterable[Request]) -> None:
        """See `StoredRequests`: the process that had them in memory is gone."""
        await self.add(requests)

    async def read(self, ids: Sequence[str]) -> list[Request]:
        """See `StoredRequests`."""
        written = await super().read([request_id for request_id in ids if request_id not in self._held])
        found = {request.id: request for request in written}
        found.update((request_id, self._held[request_id][0]) for request_id in ids if request_id in self._held)
        return [found[request_id] for request_id in ids if request_id in found]

    def removing(self, ids: Sequence[str]) -> Iterable[Op]:
        """See `StoredRequests`."""
        written = []
        for request_id in ids:
            held = self._held.pop(request_id, None)
            if held is None:
                written.append(request_id)
            else:
                self._left += held[1]
        return super().removing(written)


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
