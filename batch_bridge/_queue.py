"""A bridge's queue in memory: order and sums, without the items."""

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from datetime import datetime
from itertools import islice

from batch_bridge._flush import QueueSummary
from batch_bridge._plan import Waiting


class Queue:
    """Requests that wait to be sent, oldest first. What is done to one costs the same however many wait."""

    def __init__(self, opened_at: datetime) -> None:
        self._waiting: OrderedDict[str, Waiting] = OrderedDict()  # a dict's first key gets dearer with each removal
        self._bytes = 0
        self._last_flushed = opened_at

    def __len__(self) -> int:
        return len(self._waiting)

    def __contains__(self, request_id: str) -> bool:
        return request_id in self._waiting

    def __iter__(self) -> Iterator[str]:
        return iter(self._waiting)

    def add(self, waiting: Waiting) -> None:
        """Queue a request. One that is queued already stays where it is."""
        if waiting.id not in self._waiting:
            self._waiting[waiting.id] = waiting
            self._bytes += waiting.bytes

    def put_back(self, waiting: Iterable[Waiting]) -> None:
        """Return requests that were taken and not sent; they are the oldest again."""
        rest = list(self._waiting.values())
        self._waiting.clear()
        self._bytes = 0
        for request in sorted([*waiting, *rest], key=lambda request: request.queued_at):
            self.add(request)

    def first(self, count: int, now: datetime) -> tuple[Waiting, ...]:
        """Return the oldest `count` requests, to be flushed now. They stay until their batch is begun."""
        self._last_flushed = now
        return tuple(islice(self._waiting.values(), count))

    def discard(self, request_id: str) -> bool:
        """Drop a request, and tell whether it was queued."""
        request = self._waiting.pop(request_id, None)
        if request is not None:
            self._bytes -= request.bytes
        return request is not None

    def summary(self, now: datetime) -> QueueSummary:
        """Return what the flush policy judges by."""
        oldest = next(iter(self._waiting.values()), None)
        newest = next(reversed(self._waiting.values()), None)
        return QueueSummary(
            requests=len(self._waiting),
            bytes=self._bytes,
            oldest=oldest.queued_at if oldest else None,
            last_flushed=self._last_flushed,
            now=now,
            newest=newest.queued_at if newest else None,
        )
