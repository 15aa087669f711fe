"""How an open Runner is, as rows for its journal: counts, and never what was asked or answered."""

from collections import Counter
from collections.abc import Iterable
from typing import Any, Final

from batch_bridge._core import clock as _clock
from batch_bridge._host.bridge_row import bridge_row
from batch_bridge._host.engine_loop import EngineLoop
from batch_bridge._status.journal import Look
from batch_bridge.bridge import Bridge
from batch_bridge.runner._run import Run

UNNAMED: Final = ""
"""Stands for all runs that were given no `run_id`: they share a row."""
_MOST: Final = 1000
"""Runs that have ended and were not shown yet."""

Row = dict[str, Any]


class EndedRuns:
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


def look(ended: EndedRuns, calls: Iterable[Run], bridges: Iterable[tuple[Bridge, EngineLoop]]) -> Look:
    """Return how a Runner is."""
    return Look(
        ended.take(calls), {bridge.name: bridge_row(bridge.kind, engine_loop) for bridge, engine_loop in bridges}
    )


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
        "rounds": sorted((Counter(dict(old["rounds"])) + Counter(dict(row["rounds"]))).items()),
        "failures": dict(Counter(old["failures"]) + Counter(row["failures"])),
        "begun_at": min(old["begun_at"], row["begun_at"]),
        "ended_at": None if None in (old["ended_at"], row["ended_at"]) else max(old["ended_at"], row["ended_at"]),
    }
