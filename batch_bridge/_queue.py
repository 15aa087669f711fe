"""A bridge's queue in memory: order and sums, without the items."""

import heapq
from collections import OrderedDict
from collections.abc import Callable, Container, Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime
from operator import itemgetter

from batch_bridge._flush import QueueSummary
from batch_bridge._plan import Waiting

LATE = "\0late"
"""The group, in the queue alone, of what waits for room at the fallback."""


@dataclass(slots=True)
class _Group:
    """The requests of one group, oldest first, each with its place among all."""

    waiting: OrderedDict[str, tuple[int, Waiting]] = field(default_factory=OrderedDict)
    bytes: int = 0


class Queue:
    """Requests that wait to be sent, oldest first. What is done to one costs the same however many wait."""

    def __init__(self, opened_at: datetime, late_at: Callable[[Waiting], datetime | None] = lambda _: None) -> None:
        self._waiting: dict[str, str] = {}
        self._groups: dict[str, _Group] = {}
        self._first = self._next = 0
        self._last_flushed = opened_at
        self._late_at = late_at
        self._deadlines: list[tuple[datetime, str]] = []

    def __len__(self) -> int:
        return len(self._waiting)

    def __contains__(self, request_id: str) -> bool:
        return request_id in self._waiting

    def __iter__(self) -> Iterator[str]:
        return (each.id for each in self._in_order())

    @property
    def groups(self) -> Iterable[str]:
        """The groups of which something waits."""
        return self._groups.keys()

    def head(self, group: str) -> Waiting:
        """Return the oldest request of a group."""
        return next(iter(self._groups[group].waiting.values()))[1]

    def size(self, group: str) -> int:
        """Return how many requests of a group wait."""
        return len(self._groups[group].waiting) if group in self._groups else 0

    @property
    def late_at(self) -> datetime | None:
        """When the deadline of the first request passes; `None` if none has one."""
        while self._deadlines and not self._is_early(*self._deadlines[0]):
            heapq.heappop(self._deadlines)
        return self._deadlines[0][0] if self._deadlines else None

    def set_late_apart(self, now: datetime) -> None:
        """Put what is late into the group `LATE`: it waits for nobody, and nobody waits for it."""
        while (late_at := self.late_at) is not None and late_at <= now:
            _, request_id = heapq.heappop(self._deadlines)
            _, request = self._groups[self._waiting[request_id]].waiting[request_id]
            self.discard(request_id)
            self.add(replace(request, group=LATE))

    def _is_early(self, late_at: datetime, request_id: str) -> bool:
        """Whether an entry is of a request that waits as it did when the entry was made."""
        group = self._waiting.get(request_id, LATE)
        return group != LATE and self._late_at(self._groups[group].waiting[request_id][1]) == late_at

    def add(self, waiting: Waiting) -> None:
        """Queue a request. One that is queued already stays where it is."""
        if waiting.id not in self._waiting:
            self._put(waiting, self._next)
            self._next += 1

    def _put(self, waiting: Waiting, place: int) -> None:
        self._waiting[waiting.id] = waiting.group
        group = self._groups.setdefault(waiting.group, _Group())
        group.waiting[waiting.id] = (place, waiting)
        group.bytes += waiting.bytes
        if waiting.group != LATE and (late_at := self._late_at(waiting)) is not None:
            heapq.heappush(self._deadlines, (late_at, waiting.id))

    def _add_first(self, waiting: Waiting) -> None:
        if waiting.id in self._waiting:
            return
        self._first -= 1
        self._put(waiting, self._first)
        self._groups[waiting.group].waiting.move_to_end(waiting.id, last=False)

    def put_back(self, waiting: Iterable[Waiting]) -> None:
        """Return requests that were sent in vain; they are the oldest again."""
        back = sorted(waiting, key=lambda request: request.queued_at)
        if not back:
            return
        if all(back[-1].queued_at <= self.head(group).queued_at for group in self._groups):
            for request in reversed(back):
                self._add_first(request)
            return
        rest = list(self._in_order())
        self._waiting.clear()
        self._groups.clear()
        self._deadlines.clear()
        for request in sorted([*back, *rest], key=lambda request: request.queued_at):
            self.add(request)

    def pick(
        self,
        count: int,
        admit: Callable[[Waiting], bool] | None = None,
        *,
        only: Container[str] | None = None,
        without: Container[str] = (),
    ) -> list[Waiting]:
        """Return the oldest `count` requests, which stay queued.

        Args:
            count: At most so many.
            admit: Asked for each; at the first one that it turns away, the rest of its group stays too.
            only: Of these groups.
            without: Of no such group.
        """
        heap = []
        for name, group in self._groups.items():
            if (only is None or name in only) and name not in without:
                entries = iter(group.waiting.values())
                place, first = next(entries)
                heap.append((place, first, entries))
        heap.sort(key=itemgetter(0))
        picked: list[Waiting] = []
        while heap and len(picked) < count:
            _, request, entries = heap[0]
            following = None
            if admit is None or admit(request):
                picked.append(request)
                following = next(entries, None)
            if following is None:
                heapq.heappop(heap)
            else:
                heapq.heapreplace(heap, (*following, entries))
        return picked

    def flushed(self, now: datetime) -> None:
        """Note that what was picked is sent; each request stays until its batch is begun."""
        self._last_flushed = now

    def discard(self, request_id: str) -> bool:
        """Drop a request, and tell whether it was queued."""
        name = self._waiting.pop(request_id, None)
        if name is None:
            return False
        group = self._groups[name]
        _, request = group.waiting.pop(request_id)
        group.bytes -= request.bytes
        if not group.waiting:
            del self._groups[name]
        return True

    def summary(self, now: datetime, *, without: Container[str] = ()) -> QueueSummary:
        """Return what the flush policy judges by."""
        groups = [group for name, group in self._groups.items() if name not in without]
        oldest = min((next(iter(group.waiting.values())) for group in groups), key=itemgetter(0), default=None)
        newest = max((next(reversed(group.waiting.values())) for group in groups), key=itemgetter(0), default=None)
        return QueueSummary(
            requests=sum(len(group.waiting) for group in groups),
            bytes=sum(group.bytes for group in groups),
            oldest=oldest[1].queued_at if oldest else None,
            last_flushed=self._last_flushed,
            now=now,
            newest=newest[1].queued_at if newest else None,
        )

    def _in_order(self) -> Iterator[Waiting]:
        entries = [group.waiting.values() for group in self._groups.values()]
        return (waiting for _, waiting in heapq.merge(*entries, key=itemgetter(0)))
