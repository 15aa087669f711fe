"""When an open host will be done, from what its engines remember; see `_status/eta.py` for how it is drawn."""

from collections.abc import Callable, Sequence
from typing import Final, TypeAlias

from batch_bridge._core import clock as _clock
from batch_bridge._core.models import Closed, SubmittedBatch
from batch_bridge._core.policy.lanes import lane_in
from batch_bridge._engine import Engine
from batch_bridge._engine.flights.flight import Flight
from batch_bridge._status.eta import eta_of
from batch_bridge._status.models import Batch, BatchState, Facts, Kind, Owner, Threads, Wave
from batch_bridge.events import Eta

_FRESH: Final = 2.0
"""Seconds for which an answer is given again: it is asked for with each look at the progress."""


Whereabouts: TypeAlias = tuple[Threads, tuple[Wave, ...], int | None]


class EtaClock:
    """Estimates when a host will be done: the same answer for two seconds, unless a batch was sent or has ended.

    Args:
        kind: What the host is.
        engines: Its engines.
        look: Returns how many threads are where, those that are parked, and the most that a thread which has ended had
            parked.
    """

    def __init__(self, kind: Kind, engines: Sequence[Engine], look: Callable[[], Whereabouts]) -> None:
        self._kind = kind
        self._engines = engines
        self._look = look
        self._eta: Eta | None = None
        self._seen: tuple[int, ...] = ()
        self._seen_at = 0.0

    @property
    def eta(self) -> Eta | None:
        """When it will be done; `None` while there is no history of ended batches."""
        opened = [engine for engine in self._engines if engine.is_open]
        now = _clock.now().timestamp()
        seen = tuple(
            each for engine in opened for each in (engine.sent_batches, engine.ended_batches, engine.queued > 0)
        )
        if seen == self._seen and abs(now - self._seen_at) < _FRESH:
            return self._eta
        threads, waves, rounds = self._look()
        facts = Facts(
            self._kind,
            Owner(alive=True),
            threads,
            waves,
            rounds,
            sum(engine.queued for engine in opened),
            tuple(_open(flight, now) for engine in opened for flight in engine.flights),
            tuple(_ended(batch) for engine in opened for batch in engine.history),
            now,
            unfinished=True,
        )
        self._eta, self._seen, self._seen_at = eta_of(facts), seen, now
        return self._eta


def _open(flight: Flight, now: float) -> Batch:
    batch = flight.batch
    is_sent = isinstance(batch, SubmittedBatch)
    at = batch.submitted_at.timestamp() if isinstance(batch, SubmittedBatch) else now
    state: BatchState = "stopping" if flight.stopping else "in_flight" if is_sent else "submitting"
    lane = lane_in(batch.handle if isinstance(batch, SubmittedBatch) else batch.prepared)
    return Batch(batch.key, "", state, None, batch.group, len(batch.requests), submitted_at=at, lane=lane)


def _ended(batch: Closed) -> Batch:
    times = batch.submitted_at.timestamp(), batch.ended_at.timestamp()
    submitted_at, ended_at = times
    return Batch(
        batch.key,
        "",
        "ended",
        None,
        batch.group,
        batch.requests,
        submitted_at=submitted_at,
        ended_at=ended_at,
        lane=batch.lane,
    )
