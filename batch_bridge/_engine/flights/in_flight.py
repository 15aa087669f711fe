"""The batches on their way, and which request is in which. No I/O."""

from collections.abc import Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from datetime import datetime, timedelta

from batch_bridge._core.models import SubmittedBatch
from batch_bridge._engine.flights.flight import LONGEST_PAUSE, Flight


class Flights:
    """All batches that have been begun and not closed. A request is in one of them at most."""

    def __init__(self) -> None:
        self._flights: dict[str, Flight] = {}
        self._in_flight: dict[str, Flight] = {}
        self._early: dict[str, Flight] = {}
        self._open: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._flights)

    def __iter__(self) -> Iterator[Flight]:
        return iter(self._flights.values())

    def get(self, key: str) -> Flight | None:
        """Return a batch by our key of it."""
        return self._flights.get(key)

    def of(self, request_id: str) -> Flight | None:
        """Return the batch that a request without an outcome is in."""
        return self._in_flight.get(request_id)

    def __and__(self, ids: AbstractSet[str]) -> set[str]:
        """Return which requests without an outcome are in a batch."""
        return ids & self._in_flight.keys() if self._in_flight else set()

    @property
    def has_early(self) -> bool:
        """Whether a request has its outcome though its batch has not ended."""
        return bool(self._early)

    def early_of(self, request_id: str) -> Flight | None:
        """Return the batch that a request is in which has its outcome though the batch has not ended."""
        return self._early.get(request_id)

    @property
    def requests(self) -> int:
        """How many requests without an outcome are in them."""
        return len(self._in_flight)

    def open_of(self, flight: Flight) -> int:
        """Return how many requests of a batch have no outcome yet."""
        return self._open[flight.batch.key]

    def unsettled(self, flight: Flight) -> Iterator[str]:
        """Yield the requests of a batch that have no outcome yet."""
        return (each for each in flight.batch.requests if self._in_flight.get(each) is flight)

    def loads(self, without: Flight | None = None) -> Iterator[tuple[str, int]]:
        """Yield group and bytes of the batches that are in the bridge's own lane."""
        return (
            (flight.batch.group, flight.batch.terms.bytes)
            for flight in self
            if flight is not without and not flight.batch.terms.lane
        )

    def add(self, flight: Flight) -> None:
        """Take in a batch, and its requests unless they were sent elsewhere since."""
        self._flights[flight.batch.key] = flight
        if not (isinstance(flight.batch, SubmittedBatch) and flight.batch.left == "overdue"):
            self._in_flight.update(dict.fromkeys(flight.batch.requests, flight))
            self._open[flight.batch.key] = len(flight.batch.requests)
        else:
            self._open[flight.batch.key] = 0

    def join(self, flight: Flight, ids: Sequence[str]) -> None:
        """Take requests into a batch that is on its way; it holds them as its last requests."""
        self._in_flight.update(dict.fromkeys(ids, flight))
        self._open[flight.batch.key] += len(ids)

    def settle_early(self, flight: Flight, ids: Iterable[str]) -> None:
        """Note that requests of a batch have their outcomes; one that is not in it any more is left alone.

        The batch may have been settled while other code read which of its requests are settled.
        """
        for request_id in ids:
            if self._in_flight.get(request_id) is flight:
                del self._in_flight[request_id]
                self._early[request_id] = flight
                self._open[flight.batch.key] -= 1

    def free(self, flight: Flight) -> None:
        """Release a batch's requests without an outcome; the batch stays."""
        for request_id in tuple(self.unsettled(flight)):
            del self._in_flight[request_id]
        self._open[flight.batch.key] = 0

    def remove(self, flight: Flight) -> None:
        """Remove a batch and its requests."""
        del self._flights[flight.batch.key]
        del self._open[flight.batch.key]
        if not self._flights:
            self._in_flight.clear()
            self._early.clear()
        for held in (self._in_flight, self._early):
            if held:
                for request_id in flight.batch.requests:
                    if held.get(request_id) is flight:
                        del held[request_id]

    def due(self, now: datetime, interval: timedelta) -> list[Flight]:
        """Return the batches to look after now. One that is due too late to be true is, too: the clock was set back."""
        latest = now + max(interval, LONGEST_PAUSE)
        return [flight for flight in self if not now < flight.next_at <= latest]
