"""In which lane a request is answered, and when to look at it again. Pure.

A request starts in the cheapest lane that can still meet its deadline. Each other lane has a *last chance*: the latest
time at which a request that moves there is answered in time. Only at a last chance is there something to decide: before
it the request loses nothing by staying, and after it that lane is lost. A request whose lane runs late, or refuses it
for want of capacity, moves at the first last chance that comes; any other one stays until the last of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final, TypeAlias

TOLERANCE: Final = 0.05
"""The share of a lane's time that may be lacking: a day's lane meets a day's deadline, though a moment has passed."""
ENOUGH: Final = 5
"""Answers of a lane after which what they took counts, and not the promise."""
_SHARE: Final = 0.95
_MARGIN: Final = 1.25
_AROUND: Final = timedelta(seconds=15)
"""A lane takes a quarter more than all but a twentieth of its answers took, and what a tick and a call take besides."""


@dataclass(frozen=True, slots=True)
class Rung:
    """A lane as far as the decision goes.

    Attributes:
        name: The lane.
        price: The share of the standard price that an answer costs.
        takes: How long an answer takes at most, as far as is known: by what it took before, or else by the promise.
        stops: How long the lane takes to tell what was answered before it was stopped.
        pools: How long a request waits there for others, at most, before it is sent.
        promise: How long an answer takes by the lane's promise; `None`: `takes` is that.
        usual: How long nearly all answers took before; `None`: too little is known.
    """

    name: str
    price: float
    takes: timedelta
    stops: timedelta = timedelta(0)
    pools: timedelta = timedelta(0)
    promise: timedelta | None = None
    usual: timedelta | None = None

    def meets(self, left: timedelta, reserve: timedelta) -> bool:
        """Return whether a request is answered in time, by the promise, or by what answers took before.

        Either is enough: that a lane was slow does not keep requests out forever.

        Args:
            left: How long the request may take.
            reserve: What another lane takes, to which it moves if this one is late.
        """
        promise = self.takes if self.promise is None else self.promise
        if promise * (1 - TOLERANCE) + self.pools <= left:
            return True
        return self.usual is not None and self.usual + self.pools + self.stops + reserve <= left


@dataclass(frozen=True, slots=True)
class Choice:
    """The lane that a request goes to, and whether it meets the deadline there."""

    rung: Rung
    meets: bool


@dataclass(frozen=True, slots=True)
class Stay:
    """The request stays in its lane. `until` is when to look again; `None`: it stays for good."""

    until: datetime | None


@dataclass(frozen=True, slots=True)
class Leave:
    """The request leaves its lane. `at_latest` is when it must be in the next one."""

    at_latest: datetime


Look: TypeAlias = Stay | Leave


def learned(rung: Rung, took: Sequence[float], broken_off: Sequence[float]) -> Rung:
    """Return a lane with the time that it took before, once that was measured often enough.

    Args:
        rung: The lane, with its promise.
        took: Seconds that answers took there.
        broken_off: Seconds after which requests have left it without an answer. They make the time longer, if
            anything.
    """
    if len(took) < ENOUGH:
        return rung
    slow = _slow(took)
    if longer := [each for each in broken_off if each > slow]:
        slow = _slow([*took, *longer])
    usual, takes = timedelta(seconds=slow), timedelta(seconds=slow * _MARGIN) + _AROUND
    return replace(rung, takes=takes, promise=rung.takes, usual=usual)


def _slow(took: Sequence[float]) -> float:
    ordered = sorted(took)
    return ordered[min(int(len(ordered) * _SHARE), len(ordered) - 1)]


def choose(rungs: Sequence[Rung], left: timedelta | None) -> Choice:
    """Return where a request goes: the cheapest lane that meets its deadline, of several the first; else the last one.

    Args:
        rungs: The lanes that it may take, from the patient to the quick; at least one.
        left: How long it may take still; `None`: as long as it wants.
    """
    quickest = sorted(rungs, key=lambda rung: rung.takes)[:2]
    able = [
        rung
        for rung in rungs
        if left is None or rung.meets(left, next((each.takes for each in quickest if each is not rung), timedelta(0)))
    ]
    if not able:
        return Choice(rungs[-1], meets=False)
    return Choice(min(able, key=lambda rung: rung.price), meets=True)


def look(
    here: Rung, others: Sequence[Rung], *, since: datetime, due_at: datetime, now: datetime, is_refused: bool
) -> Look:
    """Return whether a request leaves its lane, and when to look again if it stays.

    Args:
        here: Its lane.
        others: The lanes that it may move to.
        since: When it was sent in its lane.
        due_at: Its deadline.
        now: The time.
        is_refused: Its lane has no capacity for it.
    """
    times = _last_chances(here, others, due_at)
    for time in times:
        if now < time:
            return Stay(time)
        is_late = since + here.takes <= time
        is_in_time = now - time <= here.stops
        if time == times[-1] or ((is_late or is_refused) and is_in_time):
            return Leave(max(time + here.stops, now))
    return Stay(None)


def leaves_at(
    here: Rung, others: Sequence[Rung], *, since: datetime, due_at: datetime, is_refused: bool
) -> datetime | None:
    """Return when a request that was not sent yet leaves its lane; `None` if it never does. Arguments as in `look`.

    It leaves no later than a batch is stopped that was sent: one that is sent after that is stopped at once.
    """
    times = _last_chances(here, others, due_at)
    late_at = since if is_refused else since + here.takes
    return next((time for time in times if time >= late_at), times[-1] if times else None)


def _last_chances(here: Rung, others: Sequence[Rung], due_at: datetime) -> list[datetime]:
    """Return when each other lane has its last chance, in order, but for lanes that cost more than a later chance.

    The time that this lane takes to stop is off already.
    """
    chances = sorted(((due_at - rung.takes - here.stops, rung.price) for rung in others), reverse=True)
    times: list[datetime] = []
    cheapest = float("inf")
    for time, price in chances:
        if price < cheapest:
            cheapest = price
            times.append(time)
    return times[::-1]
