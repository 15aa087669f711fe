"""The lanes of a bridge, their deadlines, and their providers. No I/O.

A deadline with a fallback is a ladder of two lanes, of which the first is left at the deadline.
"""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, Literal, TypeAlias

from batch_bridge._core.durations import LONGEST
from batch_bridge._core.models import Attempt, Intent, Limits, SubmittedBatch
from batch_bridge._core.policy.batching import Waiting
from batch_bridge._core.policy.ladder import Rung, choose
from batch_bridge._core.policy.resubmission import DEADLINE
from batch_bridge._core.provider import Provider
from batch_bridge._engine.flights.history import History

OnDeadline: TypeAlias = Literal["wait_for_cancel", "pay_again"]

FALLBACK: Final = "fallback"
"""The name of the second of two lanes that a deadline and a fallback make."""
_ASIDE: Final = "\0"
_STEPS: Final = 4
"""Deadlines of one batch differ by less than the fourth root of two: it is stopped as a whole."""


@dataclass(frozen=True, slots=True)
class LadderLane:
    """One lane of a bridge.

    Attributes:
        rung: What is decided by. Its time is the lane's promise.
        provider: Who answers in it; `None` is the bridge's own provider.
        is_single: Each request is a batch of its own, which can be left by itself.
        is_pooled: Requests wait for others there; in any other lane one that waits is refused for want of room.
    """

    rung: Rung
    provider: Provider | None = None
    is_single: bool = False
    is_pooled: bool = False

    @property
    def name(self) -> str:
        """How it is called in the ledger and in events."""
        return self.rung.name

    @property
    def limits(self) -> Limits | None:
        """What one batch may hold, where that is not the provider's limit."""
        return Limits(requests=1) if self.is_single else None


@dataclass(frozen=True, slots=True)
class Ladder:
    """A bridge's lanes. A request may have a deadline of its own, which counts instead of the bridge's.

    Attributes:
        lanes: From the patient to the quick. One has no provider: the bridge's own, the *home* of what is pooled.
        after: How long a request may take, from when it was asked; `None` where only requests say so.
        policy: `"wait_for_cancel"` stops a batch and waits until the provider tells what was done; the rest moves on,
            and nothing is paid twice. `"pay_again"` moves all of it at once, and counts what the batch has answered
            all the same.
        is_strict: The wait for a batch that was stopped ends when the next lane's last chance has come.
        chooses: A request goes to the lane that suits it: by what lanes took before, and past those that refuse it.
            Else it starts at home.
        expires: What is late in its last lane ends as expired.
        is_own: All lanes are those of one provider: equal requests share an answer.
    """

    lanes: tuple[LadderLane, ...]
    after: timedelta | None = None
    policy: OnDeadline = "wait_for_cancel"
    is_strict: bool = False
    chooses: bool = False
    expires: bool = False
    is_own: bool = True
    _by_name: dict[str, LadderLane] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_by_name", {lane.name: lane for lane in self.lanes if lane.provider is not None})

    @classmethod
    def of_fallback(
        cls, after: timedelta | None, policy: OnDeadline, fallback: Provider | None, *, is_own: bool = False
    ) -> "Ladder":
        """Return the ladder of a bridge with a deadline.

        Args:
            after: As above.
            policy: As above.
            fallback: Who answers what is late; `None` if no provider can: what is late ends as expired.
            is_own: The fallback is the bridge's own provider, in realtime: equal requests share an answer there too.
        """
        home = LadderLane(Rung("", 0.0, timedelta(0)))
        if fallback is None:
            return cls((home,), after, policy, expires=True, is_own=is_own)
        return cls((home, LadderLane(Rung(FALLBACK, 1.0, timedelta(0)), fallback)), after, policy, is_own=is_own)

    @property
    def home(self) -> LadderLane:
        """The lane of the bridge's own provider."""
        return next(lane for lane in self.lanes if lane.provider is None)

    @property
    def others(self) -> Collection[LadderLane]:
        """All other lanes."""
        return self._by_name.values()

    def first(self, usual: str) -> str:
        """Return the lane that a request with the bridge's own deadline starts in; `usual` if nothing is chosen."""
        if not self.chooses:
            return usual
        return choose([lane.rung for lane in self.lanes], self.after).rung.name

    @property
    def providers(self) -> tuple[Provider, ...]:
        """The providers of the other lanes."""
        return tuple(lane.provider for lane in self.lanes if lane.provider is not None)

    def lane(self, name: str) -> LadderLane | None:
        """Return another lane by its name; `None` is the home, also for one that there is no more."""
        return self._by_name.get(name)

    def is_last(self, lane: LadderLane) -> bool:
        """Return whether a lane is the last one."""
        return lane is self.lanes[-1]

    def time_of(self, own: timedelta | None) -> timedelta | None:
        """Return the deadline that counts; a stored one may be any number."""
        after = own or self.after
        return None if after is None else min(after, LONGEST)

    def due_at(self, waiting: Waiting) -> datetime | None:
        """Return when a request must be answered; `None` if it may take as long as it wants."""
        after = self.time_of(waiting.deadline)
        return None if after is None else waiting.queued_at + after

    def due_in(self, batch: Intent | SubmittedBatch) -> datetime | None:
        """Return when the first request of a batch must be answered."""
        after, asked_at = self.time_of(batch.terms.deadline), batch.terms.asked_at
        return None if after is None or asked_at is None else asked_at + after

    def deadline_of(self, requests: Sequence[Waiting]) -> timedelta | None:
        """Return what is written down of a batch as its deadline: the first one, from when the oldest was asked."""
        if len({each.deadline for each in requests}) == 1:
            return requests[0].deadline
        first = min(each.queued_at for each in requests)
        return min((due_at for each in requests if (due_at := self.due_at(each))), default=first) - first

    def kind(self, waiting: Waiting) -> object:
        """Return what requests of one batch have in common besides their group: like deadlines, and lanes to go to."""
        after = self.time_of(waiting.deadline)
        if not self.chooses or after is None:
            return (waiting.deadline, *waiting.barred) if waiting.barred else waiting.deadline
        step = int(_STEPS * math.log2(max(after.total_seconds(), 1.0)))
        return (step, *waiting.barred) if waiting.barred else step

    def left_by(self, attempts: Sequence[Attempt]) -> set[str]:
        """Return the lanes that a request has left because it was late there."""
        return {each.lane or self.home.name for each in attempts if each.code == DEADLINE}

    def rung(self, lane: LadderLane, group: str, history: History) -> Rung:
        """Return a lane as the decision sees it: it takes what it took before, once enough is known of that."""
        if not self.chooses:
            return lane.rung
        return history.learned(lane.rung, group)


def aside(lane: LadderLane, group: str) -> str:
    """Return the group, in the queue alone, of what waits for another lane than the home."""
    return group if lane.provider is None else f"{_ASIDE}{lane.name}{_ASIDE}{group}"


def is_aside(group: str) -> bool:
    """Return whether a group of the queue waits for another lane than the home."""
    return group.startswith(_ASIDE)


def lane_of_group(group: str) -> tuple[str, str]:
    """Return the name of the lane that a group of the queue waits for, empty for the home, and its group there."""
    if not is_aside(group):
        return "", group
    _, name, inner = group.split(_ASIDE, 2)
    return name, inner


class Aside:
    """All groups that wait for another lane than the home, as a container."""

    def __contains__(self, group: object) -> bool:
        return isinstance(group, str) and is_aside(group)
