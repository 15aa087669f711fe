"""How long ended batches took, to estimate the next ones. No I/O."""

from collections import deque
from collections.abc import Iterable
from typing import Final, TypeAlias

from batch_bridge._core.models import Closed
from batch_bridge._core.policy.ladder import Rung, learned
from batch_bridge._core.policy.stuck import longest_of

_MOST: Final = 200
"""Ended batches of a group that are remembered: older ones say nothing about the next."""
_NEWEST: Final = 40
"""Of those, the newest, which estimate the next one."""

Kind: TypeAlias = tuple[str, str]
"""A lane, and a group of its provider: what batches are like each other in."""


class History:
    """Ended batches by lane and group, the newest of each."""

    def __init__(self) -> None:
        self._groups: dict[Kind, deque[Closed]] = {}
        self._longest: dict[Kind, float | None] = {}
        self._newest: dict[Kind, deque[Closed]] = {}
        self._learned: dict[tuple[Rung, str], Rung] = {}
        self.count = 0
        """How many were noted."""

    def load(self, closed: Iterable[Closed]) -> None:
        """Begin with what a ledger remembers."""
        self._groups.clear()
        self._longest.clear()
        self._newest.clear()
        self._learned.clear()
        self.count = 0
        for batch in sorted(closed, key=lambda each: each.ended_at):
            self.add(batch)

    def add(self, batch: Closed) -> None:
        """Note a batch that has ended, unless the provider never had it."""
        if batch.handle is None:
            return
        self.count += 1
        kind = batch.lane, batch.group
        self._groups.setdefault(kind, deque(maxlen=_MOST)).append(batch)
        self._longest.pop(kind, None)
        self._newest.setdefault((batch.lane, _model(batch.group)), deque(maxlen=_NEWEST)).append(batch)
        self._learned.clear()

    @property
    def batches(self) -> tuple[Closed, ...]:
        """All that are remembered."""
        return tuple(batch for group in self._groups.values() for batch in group)

    def longest(self, group: str, lane: str = "batch") -> float | None:
        """Return how many seconds the batches of a group took at most, but for the slowest; `None`: too few ended."""
        kind = lane, group
        if kind not in self._longest:
            self._longest[kind] = longest_of(map(_took, self._groups.get(kind, ())))
        return self._longest[kind]

    def learned(self, rung: Rung, group: str) -> Rung:
        """Return a lane with the time that the newest batches of a group's model took in it, if there are enough."""
        known = self._learned.get((rung, group))
        if known is None:
            newest = self._newest.get((rung.name, _model(group)), ())
            took = [_took(each) for each in newest if not _is_broken_off(each)]
            broken_off = [_took(each) for each in newest if _is_broken_off(each)]
            known = self._learned[rung, group] = learned(rung, took, broken_off)
        return known


def _model(group: str) -> str:
    """Return what groups of different lanes have in common."""
    return group.rpartition(" ")[2]


def _took(batch: Closed) -> float:
    return (batch.ended_at - batch.submitted_at).total_seconds()


def _is_broken_off(batch: Closed) -> bool:
    """Return whether a batch was stopped, so that its time is only a lower bound."""
    return batch.resubmitted > 0 or batch.outcomes.get("cancelled", 0) > 0
