"""Logs the problems of batches: each one seldom, however often a batch is looked at."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from batch_bridge._core.models import JSON, SubmittedBatch
from batch_bridge._core.wording import log_text as _logged
from batch_bridge._engine.flights.flight import Flight

TELL_AFTER: Final = timedelta(hours=1)
"""How long a batch is in flight until a line of the log says so; the next one comes at twice that age, and so on."""
_SHOWN: Final = 5
"""Batches that such a line names."""
_MOST: Final = 1_000
"""Batches that are remembered."""


_FIRST: Final = timedelta(minutes=1)
_LONGEST: Final = timedelta(hours=6)
"""Between two lines about one kind of failure; each pause doubles the one before."""
_OVER: Final = timedelta(hours=2)
"""After so long without a failure of a kind the next one is a new one."""


@dataclass(slots=True)
class Repeated:
    """A kind of failure that comes again and again.

    Attributes:
        since: The first one.
        at: The last one.
        count: How many there were.
        due: When a line says so next.
        pause: How long after that the next one does.
    """

    since: datetime
    at: datetime
    count: int
    due: datetime
    pause: timedelta


class Notices:
    """What has been said in this process, of all engines that share it. Lost with the process, which costs a line."""

    def __init__(self) -> None:
        self._kinds: set[tuple[str, type[Exception]]] = set()
        self._repeated: dict[tuple[str, str], Repeated] = {}
        self._told: dict[str, timedelta] = {}

    def is_new(self, bridge: str, error: Exception) -> bool:
        """Return whether it is the first error of its kind in a bridge; then its traceback is worth a look."""
        kind = (bridge, type(error))
        is_new = kind not in self._kinds
        self._kinds.add(kind)
        return is_new

    def again(self, bridge: str, kind: str, now: datetime) -> str | None:
        """Note a failure of a kind, such as an error's type; return what its line of the log ends with, if it has one.

        A day of failures every few seconds is a dozen lines, in however many batches: the first at once, the next ones
        after a minute, two, four, up to six hours, with how often it has failed by then.
        """
        key = (bridge, kind)
        known = self._repeated.pop(key, None)
        if known is None or not timedelta(0) <= now - known.at < _OVER:
            known = Repeated(now, now, 0, now, _FIRST)
        self._repeated[key] = known
        while len(self._repeated) > _MOST:
            del self._repeated[next(iter(self._repeated))]
        known.count += 1
        known.at = now
        if now < known.due:
            return None
        known.due, known.pause = now + known.pause, min(known.pause * 2, _LONGEST)
        if known.count == 1:
            return ""
        return f" ({known.count} failures of this kind since {known.since.isoformat(timespec='seconds')})"

    def long(self, flights: Iterable[Flight], now: datetime) -> list[tuple[Flight, SubmittedBatch]]:
        """Return the batches in flight of which it is to be said now that they are, oldest first."""
        due = []
        for flight in flights:
            batch = flight.batch
            if not isinstance(batch, SubmittedBatch):
                continue
            age = now - batch.submitted_at
            if age >= max(TELL_AFTER, 2 * self._told.get(batch.key, timedelta(0))):
                due.append((flight, batch))
                self._told.pop(batch.key, None)
                self._told[batch.key] = age
        while len(self._told) > _MOST:
            del self._told[next(iter(self._told))]
        return sorted(due, key=lambda each: each[1].submitted_at)


def told(long: list[tuple[Flight, SubmittedBatch]], handles: Iterable[JSON]) -> str:
    """Return what a line of the log says of batches that are in flight for long."""
    named = [
        f"batch {batch.key} ({_logged.handle(handle)!r}) has been in flight since "
        f"{batch.submitted_at.isoformat(timespec='seconds')} with {len(batch.requests)} requests{_state(flight)}"
        for (flight, batch), handle in zip(long[:_SHOWN], handles, strict=False)
    ]
    more = f"; and {len(long) - _SHOWN} more" if len(long) > _SHOWN else ""
    return "; ".join(named) + more


def _state(flight: Flight) -> str:
    done = "" if flight.done is None else f", {flight.done} of them done"
    return f"{done}, and cannot be polled ({flight.logged or flight.problem})" if flight.problem else done
