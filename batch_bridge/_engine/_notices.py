"""What the log is told of batches that give cause for it: each thing seldom, however often it is looked at."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final

from batch_bridge._engine._flight import Flight
from batch_bridge._models import JSON, Submitted

TELL_AFTER: Final = timedelta(hours=1)
"""How long a batch is in flight until a line of the log says so; the next one comes at twice that age, and so on."""
_SHOWN: Final = 5
"""Batches that such a line names."""
_MOST: Final = 1_000
"""Batches that are remembered."""


class Notices:
    """What has been said in this process, of all engines that share it. Lost with the process, which costs a line."""

    def __init__(self) -> None:
        self._kinds: set[tuple[str, type[Exception]]] = set()
        self._told: dict[str, timedelta] = {}

    def is_new(self, bridge: str, error: Exception) -> bool:
        """Tell whether it is the first error of its kind in a bridge; then its traceback is worth a look."""
        kind = (bridge, type(error))
        is_new = kind not in self._kinds
        self._kinds.add(kind)
        return is_new

    def long(self, flights: Iterable[Flight], now: datetime) -> list[tuple[Flight, Submitted]]:
        """Return the batches in flight of which it is to be said now that they are, oldest first."""
        due = []
        for flight in flights:
            batch = flight.batch
            if not isinstance(batch, Submitted):
                continue
            age = now - batch.submitted_at
            if age >= max(TELL_AFTER, 2 * self._told.get(batch.key, timedelta(0))):
                due.append((flight, batch))
                self._told.pop(batch.key, None)
                self._told[batch.key] = age
        while len(self._told) > _MOST:
            del self._told[next(iter(self._told))]
        return sorted(due, key=lambda each: each[1].submitted_at)


def told(long: list[tuple[Flight, Submitted]], handles: Iterable[JSON]) -> str:
    """Return what a line of the log says of batches that are in flight for long."""
    named = [
        f"batch {batch.key} ({handle!r}) is in flight since {batch.submitted_at.isoformat(timespec='seconds')} with "
        f"{len(batch.members)} requests{_state(flight)}"
        for (flight, batch), handle in zip(long[:_SHOWN], handles, strict=False)
    ]
    more = f"; and {len(long) - _SHOWN} more" if len(long) > _SHOWN else ""
    return "; ".join(named) + more


def _state(flight: Flight) -> str:
    done = "" if flight.done is None else f", {flight.done} of them done"
    return f"{done}, and cannot be looked at ({flight.problem})" if flight.problem else done
