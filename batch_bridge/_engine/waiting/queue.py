"""A bridge's queue in memory: order and sums, without the items."""

import heapq
from collections import Counter, OrderedDict
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from operator import itemgetter

from batch_bridge._core.policy.batching import Waiting
from batch_bridge._core.policy.flush_policy import QueueSummary
from batch_bridge._engine.waiting.turns import Turns


@dataclass(slots=True, eq=False)
class _Lane:
    """The requests of one tenant in one group, oldest first. `places` are theirs among all, by id."""

    group: str
    tenant: str
    waiting: OrderedDict[str, Waiting] = field(default_factory=OrderedDict)
    places: dict[str, int] = field(default_factory=dict)
    bytes: int = 0

    @property
    def head(self) -> tuple[int, Waiting]:
        """The oldest, with its place."""
        first = next(iter(self.waiting.values()))
        return self.places[first.id], first

    @property
    def last(self) -> tuple[int, Waiting]:
        """The newest, with its place."""
        newest = next(reversed(self.waiting.values()))
        return self.places[newest.id], newest

    def entries(self) -> Iterator[tuple[int, Waiting]]:
        """Return all, each with its place."""
        places = self.places
        return ((places[each.id], each) for each in self.waiting.values())


class Queue:
    """Requests that wait to be sent. What is done to one costs the same however many wait.

    They are kept oldest first, and picked in turns: each tenant's oldest first, and between tenants as `Turns` has it.
    With one tenant that is one order.
    """

    def __init__(self, opened_at: datetime, turns: Turns | None = None) -> None:
        self._waiting: dict[str, _Lane] = {}
        self._groups: dict[str, dict[str, _Lane]] = {}
        self._held: dict[str, tuple[int, int]] = {}
        self._of_thread: Counter[str] = Counter()
        self._turns = Turns() if turns is None else turns
        self._first = self._next = 0
        self._last_flushed = opened_at
        self._deadlines: list[tuple[datetime, str]] = []

    def __len__(self) -> int:
        return len(self._waiting)

    def __contains__(self, request_id: str) -> bool:
        return request_id in self._waiting

    def __iter__(self) -> Iterator[str]:
        return (each.id for each in self._in_order())

    @property
    def newest(self) -> datetime | None:
        """When the last of them was queued; `None` if nothing waits."""
        lasts = [lane.last for lane in self._lanes()]
        return max(lasts, key=itemgetter(0))[1].queued_at if lasts else None

    @property
    def groups(self) -> Iterable[str]:
        """The groups of which something waits."""
        return self._groups.keys()

    def head(self, group: str) -> Waiting:
        """Return the request of a group whose turn is next."""
        lanes = self._groups[group].values()
        return min(lanes, key=lambda lane: (self._turns.start(lane.tenant), lane.head[0])).head[1]

    def size(self, group: str) -> int:
        """Return how many requests of a group wait."""
        return sum(len(lane.waiting) for lane in self._groups.get(group, {}).values())

    def held(self, tenant: str) -> tuple[int, int]:
        """Return how many requests of a tenant wait, and their bytes."""
        return self._held.get(tenant, (0, 0))

    def of_thread(self, thread: str) -> int:
        """Return how many requests of a thread wait."""
        return self._of_thread.get(thread, 0)

    @property
    def late_at(self) -> datetime | None:
        """When the first request leaves the lane that it waits for; `None` if none does."""
        while self._deadlines and not self._is_current(*self._deadlines[0]):
            heapq.heappop(self._deadlines)
        return self._deadlines[0][0] if self._deadlines else None

    def late(self, now: datetime) -> list[Waiting]:
        """Return the requests that leave the lane that they wait for, the first to leave first. They stay queued."""
        entries: list[tuple[datetime, str]] = []
        while (late_at := self.late_at) is not None and late_at <= now:
            entries.append(heapq.heappop(self._deadlines))
        for entry in entries:  # they are late until they have moved
            heapq.heappush(self._deadlines, entry)
        return [self._waiting[each].waiting[each] for each in dict.fromkeys(each for _, each in entries)]

    def _is_current(self, late_at: datetime, request_id: str) -> bool:
        """Whether an entry is of a request that waits as it did when the entry was made."""
        lane = self._waiting.get(request_id)
        return lane is not None and lane.waiting[request_id].late_at == late_at

    def add(self, waiting: Waiting) -> None:
        """Queue a request. One that is queued already stays where it is."""
        if waiting.id not in self._waiting:
            self._put(waiting, self._next)
            self._next += 1

    def add_all(self, arrived: Iterable[Waiting]) -> None:
        """Queue requests in their order, as `add` does each. None is there twice."""
        fresh = {each.id: each for each in arrived}
        for request_id in fresh.keys() & self._waiting.keys():
            del fresh[request_id]
        places = dict(zip(fresh, range(self._next, self._next + len(fresh)), strict=True))
        self._next += len(fresh)
        self._of_thread.update([each.thread for each in fresh.values()])
        by_lane = {(each.group, each.tenant): fresh for each in fresh.values()}
        if len(by_lane) > 1:
            by_lane = {lane: {} for lane in by_lane}
            for each in fresh.values():
                by_lane[each.group, each.tenant][each.id] = each
        for (group, tenant), waiting in by_lane.items():
            lane = self._lane(group, tenant)
            self._waiting.update(dict.fromkeys(waiting, lane))
            lane.waiting.update(waiting)
            lane.places.update(places if waiting is fresh else {each: places[each] for each in waiting})
            size = sum([each.bytes for each in waiting.values()])
            lane.bytes += size
            count, held = self._held.get(tenant, (0, 0))
            self._held[tenant] = (count + len(waiting), held + size)
        late = [(each.late_at, each.id) for each in fresh.values() if each.late_at is not None]
        if len(late) * 16 < len(self._deadlines):
            for deadline in late:
                heapq.heappush(self._deadlines, deadline)
        elif late:
            self._deadlines += late
            heapq.heapify(self._deadlines)

    def _lane(self, group: str, tenant: str) -> _Lane:
        lanes = self._groups.setdefault(group, {})
        lane = lanes.get(tenant)
        if lane is None:
            lane = lanes[tenant] = _Lane(group, tenant)
        return lane

    def _put(self, waiting: Waiting, place: int) -> _Lane:
        lane = self._lane(waiting.group, waiting.tenant)
        self._waiting[waiting.id] = lane
        lane.waiting[waiting.id] = waiting
        lane.places[waiting.id] = place
        lane.bytes += waiting.bytes
        count, size = self._held.get(waiting.tenant, (0, 0))
        self._held[waiting.tenant] = (count + 1, size + waiting.bytes)
        self._of_thread[waiting.thread] += 1
        if waiting.late_at is not None:
            heapq.heappush(self._deadlines, (waiting.late_at, waiting.id))
        return lane

    def move(self, waiting: Waiting) -> None:
        """Have a request wait for another lane, as if it had just come."""
        self.discard(waiting.id)
        self.add(waiting)

    def _add_first(self, waiting: Waiting) -> None:
        if waiting.id in self._waiting:
            return
        self._first -= 1
        self._put(waiting, self._first).waiting.move_to_end(waiting.id, last=False)

    def put_back(self, waiting: Iterable[Waiting]) -> None:
        """Return requests that were sent without success; they are the oldest again."""
        back = sorted(waiting, key=lambda request: request.queued_at)
        if not back:
            return
        if all(back[-1].queued_at <= lane.head[1].queued_at for lane in self._lanes()):
            for request in reversed(back):
                self._add_first(request)
            return
        rest = list(self._in_order())
        self._waiting.clear()
        self._groups.clear()
        self._held.clear()
        self._of_thread.clear()
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
        """Return the `count` requests whose turn is next, in the order of their turns; they stay queued.

        Nothing is remembered of it until `flushed` is told what is sent.

        Args:
            count: At most so many.
            admit: Asked for each; at the first one that it turns away, the rest of its group stays too.
            only: Of these groups.
            without: Of no such group.
        """
        lanes_now = list(self._lanes(only, without))
        if admit is None and len(lanes_now) == 1:
            return list(islice(lanes_now[0].waiting.values(), count))
        return self._pick(count, admit, lanes_now)

    def _pick(self, count: int, admit: Callable[[Waiting], bool] | None, lanes_now: list[_Lane]) -> list[Waiting]:
        lanes_of: dict[str, list[tuple[int, Waiting, Iterator[tuple[int, Waiting]]]]] = {}
        for lane in lanes_now:
            entries = lane.entries()
            place, first = next(entries)
            lanes_of.setdefault(lane.tenant, []).append((place, first, entries))
        turns = self._turns.fork() if len(lanes_of) > 1 else None
        for lanes in lanes_of.values():
            lanes.sort(key=itemgetter(0))
        order = [(turns.start(each) if turns else 0, lanes[0][0], each) for each, lanes in lanes_of.items()]
        heapq.heapify(order)
        closed: set[str] = set()
        picked: list[Waiting] = []
        while order and len(picked) < count:
            _, _, tenant = order[0]
            lanes = lanes_of[tenant]
            _, request, entries = lanes[0]
            following = None
            if request.group not in closed:
                if admit is None or admit(request):
                    picked.append(request)
                    following = next(entries, None)
                    if turns is not None:
                        turns.take(request)
                else:
                    closed.add(request.group)
            if following is None:
                heapq.heappop(lanes)
            else:
                heapq.heapreplace(lanes, (*following, entries))
            if not lanes:
                heapq.heappop(order)
            elif turns is not None:
                heapq.heapreplace(order, (turns.start(tenant), lanes[0][0], tenant))
        return picked

    def flushed(self, now: datetime, sent: Iterable[Waiting] = ()) -> None:
        """Note that what was picked is sent, and whose turns that takes.

        Each request stays until its batch is begun.
        """
        self._last_flushed = now
        if len(self._held) > 1:
            for request in sent:
                self._turns.take(request)
            self._turns.forget_even()

    def still_there(self, requests: Iterable[Waiting]) -> list[Waiting]:
        """Return those of some requests that are queued, in their order."""
        waiting = self._waiting
        return [each for each in requests if each.id in waiting]

    def discard(self, request_id: str) -> bool:
        """Drop a request, and return whether it was queued."""
        lane = self._waiting.pop(request_id, None)
        if lane is None:
            return False
        request = lane.waiting.pop(request_id)
        del lane.places[request_id]
        lane.bytes -= request.bytes
        if not lane.waiting:
            lanes = self._groups[lane.group]
            del lanes[lane.tenant]
            if not lanes:
                del self._groups[lane.group]
        self._of_thread[request.thread] -= 1
        if not self._of_thread[request.thread]:
            del self._of_thread[request.thread]
        count, size = self._held.pop(lane.tenant)
        if count > 1:
            self._held[lane.tenant] = (count - 1, size - request.bytes)
        return True

    def discard_all(self, requests: Sequence[Waiting]) -> tuple[Waiting, ...]:
        """Drop requests, and return those that were queued, in their order."""
        lanes = set(map(self._waiting.get, [each.id for each in requests]))
        lane = lanes.pop() if len(lanes) == 1 else None
        if lane is None:
            return tuple([each for each in requests if self.discard(each.id)])
        queued = [each for each in requests if self._waiting.pop(each.id, None) is not None]
        if len(queued) == len(lane.waiting):
            size = lane.bytes
            lane.waiting.clear()
            lane.places.clear()
        else:
            size = sum([lane.waiting.pop(each.id).bytes for each in queued])
            for each in queued:
                del lane.places[each.id]
        lane.bytes -= size
        if not lane.waiting:
            of_group = self._groups[lane.group]
            del of_group[lane.tenant]
            if not of_group:
                del self._groups[lane.group]
        for thread, number in Counter([each.thread for each in queued]).items():
            self._of_thread[thread] -= number
            if not self._of_thread[thread]:
                del self._of_thread[thread]
        count, held_bytes = self._held.pop(lane.tenant)
        if count > len(queued):
            self._held[lane.tenant] = (count - len(queued), held_bytes - size)
        return tuple(queued)

    def __and__(self, ids: AbstractSet[str]) -> set[str]:
        """Return which requests are queued."""
        return ids & self._waiting.keys() if self._waiting else set()

    def summary(self, now: datetime, *, without: Container[str] = ()) -> QueueSummary:
        """Return what the flush policy judges by."""
        lanes = list(self._lanes(without=without))
        oldest = min((lane.head for lane in lanes), key=itemgetter(0), default=None)
        newest = max((lane.last for lane in lanes), key=itemgetter(0), default=None)
        return QueueSummary(
            requests=sum(len(lane.waiting) for lane in lanes),
            bytes=sum(lane.bytes for lane in lanes),
            oldest=oldest[1].queued_at if oldest else None,
            last_flushed=self._last_flushed,
            now=now,
            newest=newest[1].queued_at if newest else None,
        )

    @property
    def oldest(self) -> datetime | None:
        """When the first of what waits was queued."""
        heads = (lane.head for lane in self._lanes())
        return min(heads, key=itemgetter(0))[1].queued_at if self._waiting else None

    def _lanes(self, only: Container[str] | None = None, without: Container[str] = ()) -> Iterator[_Lane]:
        for name, lanes in self._groups.items():
            if (only is None or name in only) and name not in without:
                yield from lanes.values()

    def _in_order(self) -> Iterator[Waiting]:
        entries = [lane.entries() for lane in self._lanes()]
        return (waiting for _, waiting in heapq.merge(*entries, key=itemgetter(0)))
