"""How an open host is, as rows for its journal: counts, and never what was asked or answered."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, Final

from batch_bridge._core import clock as _clock
from batch_bridge._core.models import SubmittedBatch
from batch_bridge._engine.flight import Flight
from batch_bridge._host.engine_loop import EngineLoop
from batch_bridge._status.journal import Look
from batch_bridge.bridge import Bridge
from batch_bridge.runner._run import Run

UNNAMED: Final = ""
"""Stands for all runs that were given no `run_id`: they share a row."""
_MOST: Final = 1000
"""Runs that have ended and were not shown yet."""

Row = dict[str, Any]


class Ended:
    """The runs of a session that have ended, until they are shown."""

    def __init__(self) -> None:
        self._rows: dict[str, Row] = {}

    def add(self, call: Run) -> None:
        """Note how a run has ended."""
        _put(self._rows, _run_row(call, ended_at=_clock.now().timestamp()))
        while len(self._rows) > _MOST:
            del self._rows[next(iter(self._rows))]

    def take(self, calls: Iterable[Run]) -> dict[str, Row]:
        """Return the rows of runs that have ended since the last time, and of those that go on."""
        rows = self._rows
        self._rows = {UNNAMED: rows[UNNAMED]} if UNNAMED in rows else {}
        rows = dict(rows)
        for call in calls:
            _put(rows, _run_row(call))
        return rows


def look(ended: Ended, calls: Iterable[Run], bridges: Iterable[tuple[Bridge, EngineLoop]]) -> Look:
    """Return how a Runner is."""
    return Look(ended.take(calls), {bridge.name: bridge_row(bridge, engine_loop) for bridge, engine_loop in bridges})


def look_at_items(
    bridge: Bridge, engine_loop: EngineLoop, *, asked: int, ended: int, failures: Mapping[str, int], begun_at: float
) -> Look:
    """Return how a Batcher is; its items are shown as the threads of one run."""
    failed = sum(failures.values())
    row = {
        "id": bridge.name,
        "total": asked,
        "done": ended - failed,
        "failed": failed,
        "running": 0,
        "parked": asked - ended,
        "waves": [],
        "failures": dict(failures),
        "rounds": [],
        "begun_at": begun_at,
        "ended_at": None,
    }
    return Look({bridge.name: row}, {bridge.name: bridge_row(bridge, engine_loop)})


def _run_row(call: Run, ended_at: float | None = None) -> Row:
    """Return how far a run is. One that has ended may have left threads parked, or stopped where they were."""
    parked = call.waves.total()
    failed = call.failures.total()
    return {
        "id": call.run_id if call.is_named else UNNAMED,
        "total": call.total,
        "done": call.done - failed,
        "failed": failed,
        "running": call.live - parked,
        "parked": parked,
        "waves": [[wave, threads, call.asks[wave]] for wave, threads in sorted(call.waves.items()) if threads > 0],
        "failures": +call.failures,
        "rounds": sorted(call.rounds.items()),
        "begun_at": call.begun_at,
        "ended_at": ended_at,
    }


def _put(rows: dict[str, Row], row: Row) -> None:
    """Add a row; runs without a name are counted together."""
    old = rows.get(row["id"])
    if old is None or row["id"] != UNNAMED:
        rows[row["id"]] = row
        return
    counts = {name: old[name] + row[name] for name in ("done", "failed", "running", "parked")}
    threads: Counter[int] = Counter()
    asks: Counter[int] = Counter()
    for wave, parked, asked in (*old["waves"], *row["waves"]):
        threads[wave] += parked
        asks[wave] += asked
    rows[UNNAMED] = {
        **row,
        **counts,
        "total": None if None in (old["total"], row["total"]) else old["total"] + row["total"],
        "waves": [[wave, threads[wave], asks[wave]] for wave in sorted(threads)],
        "rounds": [],
        "failures": dict(Counter(old["failures"]) + Counter(row["failures"])),
        "begun_at": min(old["begun_at"], row["begun_at"]),
        "ended_at": None if None in (old["ended_at"], row["ended_at"]) else max(old["ended_at"], row["ended_at"]),
    }


def bridge_row(bridge: Bridge, engine_loop: EngineLoop) -> Row:
    """Return what a bridge holds and has in flight."""
    engine = engine_loop.engine
    if not engine.is_open:
        return {"provider": bridge.kind, "queued": 0, "in_flight": 0, "oldest_at": None, "batches": {}}
    oldest = engine.oldest
    return {
        "provider": bridge.kind,
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
    }
