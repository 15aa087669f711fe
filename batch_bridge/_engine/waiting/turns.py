"""Whose turn it is among the tenants of one queue: start-time fair queueing. Pure, and kept in memory."""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final, TypeVar

from batch_bridge._core.policy.batching import Waiting

T = TypeVar("T")

_TURN: Final = 16_384
"""Bytes that one turn sends. A smaller request takes a turn of its own, a larger one several."""


class Turns:
    """Counts the turns that each tenant has taken, so that the tenant with the fewest turns is next.

    No tenant saves up turns: one that had nothing to send starts where the others are. Only the difference between
    tenants is remembered.
    """

    def __init__(self) -> None:
        self._clock = 0
        self._ahead: dict[str, int] = {}

    def start(self, tenant: str) -> int:
        """Return the turn at which a tenant's next request goes; the lowest is next."""
        return max(self._ahead.get(tenant, 0), self._clock)

    def take(self, request: Waiting) -> None:
        """Note that a request goes now."""
        self._clock = self.start(request.tenant)
        self._ahead[request.tenant] = self._clock + 1 + request.bytes // _TURN

    def fork(self) -> "Turns":
        """Return a copy, for a plan that may not be carried out."""
        other = Turns()
        other._clock, other._ahead = self._clock, dict(self._ahead)
        return other

    def forget_even(self) -> None:
        """Drop what makes no difference any more."""
        self._ahead = {tenant: turn for tenant, turn in self._ahead.items() if turn > self._clock}


def in_turns(things: Sequence[T], owner_of: Callable[[T], str]) -> list[T]:
    """Return things with the first of each owner first, then the second of each; else their order is kept."""
    taken: Counter[str] = Counter()
    ranked: list[tuple[int, int]] = []
    for place, thing in enumerate(things):
        owner = owner_of(thing)
        ranked.append((taken[owner], place))
        taken[owner] += 1
    return [things[place] for _, place in sorted(ranked)]
