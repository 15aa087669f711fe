"""Batches that their provider has said something of, in a webhook: they are looked at in the next tick. No I/O."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Final

from batch_bridge._core.models import JSON, SubmittedBatch
from batch_bridge._engine.flights.flight import first_pause
from batch_bridge._engine.state import State

_REMEMBERED: Final = timedelta(minutes=1)
"""How long a name waits for its batch: one may end before its handle is written down."""
_MOST: Final = 1_000
"""Names that are remembered; most are of batches of other programs."""
_DEPTH: Final = 3


class Heard:
    """What was heard since the last tick, and names that are not found among the batches in flight yet.

    It is applied at a tick's beginning: a poll that is under way may have looked before the batch ended.

    Args:
        state: The engine's.
    """

    def __init__(self, state: State) -> None:
        self._state = state
        self._until: dict[str, datetime] = {}
        self._is_all = False

    def hear(self, names: Collection[str] | None, now: datetime) -> None:
        """Have batches looked at in the next tick: those whose handles hold one of the names, or all (`None`)."""
        if names is None:
            self._is_all = True
            return
        for name in names:
            self._until.pop(name, None)
            self._until[name] = now + _REMEMBERED
        while len(self._until) > _MOST:
            del self._until[next(iter(self._until))]

    def apply(self, now: datetime) -> None:
        """Make the batches due that have been heard of."""
        if not self._until and not self._is_all:
            return
        for name in self._hurry(now):
            self._until.pop(name, None)
        self._is_all = False
        self._until = {name: until for name, until in self._until.items() if now < until <= now + _REMEMBERED}

    def _hurry(self, now: datetime) -> set[str]:
        """Make batches due, and return the names that they were found by."""
        found: set[str] = set()
        for flight in self._state.flights:
            batch = flight.batch
            if not isinstance(batch, SubmittedBatch):
                continue
            of_it = {name for name in _names(batch.handle) if name in self._until}
            if not of_it and not self._is_all:
                continue
            found |= of_it
            hurry = getattr(self._state.who(batch), "hurry", None)
            if hurry is not None:
                hurry(batch.handle)
            flight.due, flight.pause = now, first_pause(self._state.interval)
            if of_it:
                flight.told_at = now
            flight.asked = True
        return found


def _names(handle: JSON, depth: int = _DEPTH) -> Iterator[str]:
    """Yield the texts in a handle."""
    if isinstance(handle, str):
        yield handle
    elif depth:
        inside: Iterable[JSON] = handle.values() if isinstance(handle, Mapping) else ()
        if isinstance(handle, list):
            inside = handle
        for each in inside:
            yield from _names(each, depth - 1)
