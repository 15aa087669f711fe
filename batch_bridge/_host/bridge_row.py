"""What a bridge of an open host holds and has in flight, as a row for the host's journal: counts, and no content."""

from datetime import datetime
from typing import Any

from batch_bridge._core.models import SubmittedBatch
from batch_bridge._engine.flights.flight import Flight
from batch_bridge._host.engine_loop import EngineLoop

Row = dict[str, Any]


def bridge_row(kind: str | None, engine_loop: EngineLoop) -> Row:
    """Return what a bridge holds and has in flight."""
    engine = engine_loop.engine
    if not engine.is_open:
        return {"provider": kind, "queued": 0, "in_flight": 0, "oldest_at": None, "batches": {}}
    oldest = engine.oldest
    terms = engine.terms
    return {
        "provider": kind,
        "window": terms.window,
        "keeps": terms.keeps,
        "queued": engine.queued,
        "in_flight": engine.in_flight,
        "oldest_at": None if oldest is None else oldest.timestamp(),
        "batches": {each.batch.key: _batch_row(engine_loop, each) for each in engine.flights},
    }


def _batch_row(engine_loop: EngineLoop, flight: Flight) -> Row:
    batch = flight.batch
    return {
        "handle": engine_loop.engine.shown(batch) if isinstance(batch, SubmittedBatch) else None,
        "done": flight.done,
        "failures": flight.failures,
        "problem": flight.logged or flight.problem,
        "stopping": flight.stopping,
        "since": _seconds(flight.since),
        "bad_since": _seconds(flight.bad_since),
    }


def _seconds(at: datetime | None) -> float | None:
    return None if at is None else at.timestamp()
