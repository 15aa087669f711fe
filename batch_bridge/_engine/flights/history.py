"""How long batches took that have ended, as far as it tells what the next ones will take. No I/O."""

from collections import deque
from collections.abc import Iterable
from typing import Final

from batch_bridge._core.models import Closed
from batch_bridge._core.policy.stuck import longest_of

_MOST: Final = 200
"""Ended batches of a group that are remembered: older ones tell nothing of the next."""


class History:
    """Ended batches by group, the newest of each."""

    def __init__(self) -> None:
        self._groups: dict[str, deque[Closed]] = {}
        self._longest: dict[str, float | None] = {}
        self.count = 0
        """How many were noted."""

    def load(self, closed: Iterable[Closed]) -> None:
        """Begin with what a ledger remembers."""
        self._groups.clear()
        self._longest.clear()
        self.count = 0
        for batch in sorted(closed, key=lambda each: each.ended_at):
            self.add(batch)

    def add(self, batch: Closed) -> None:
        """Note a batch that has ended. One that the provider never had tells nothing."""
        if batch.handle is None:
            return
        self.count += 1
        self._groups.setdefault(batch.group, deque(maxlen=_MOST)).append(batch)
        self._longest.pop(batch.group, None)

    @property
    def batches(self) -> tuple[Closed, ...]:
        """All that are remembered."""
        return tuple(batch for group in self._groups.values() for batch in group)

    def longest(self, group: str) -> float | None:
        """Return how many seconds the batches of a group took at most, but for the slowest; `None`: too few ended."""
        if group not in self._longest:
            took = ((each.ended_at - each.submitted_at).total_seconds() for each in self._groups.get(group, ()))
            self._longest[group] = longest_of(took)
        return self._longest[group]
