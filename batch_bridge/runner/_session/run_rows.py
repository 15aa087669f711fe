"""How far the runs of a Runner are, as rows for its journal: counts, and never what was asked or answered."""

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any, Final

from batch_bridge._core import clock as _clock
from batch_bridge.runner._run import Run

UNNAMED: Final = ""
"""Stands for all runs that were given no `run_id`, calls of one thread too: they share a row."""
_MOST: Final = 1000
"""Runs that have ended and were not shown yet."""

Row = dict[str, Any]


@dataclass(slots=True)
class _Unnamed:
    """The runs without a name, added up: a service has very many, and each is looked at several times."""

    count: int = 0
    total: int | None = 0
    done: int = 0
    failed: int = 0
    running: int = 0
    parked: int = 0
    waves: Counter[int] = field(default_factory=Counter)
    asks: Counter[int] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)
    rounds: Counter[int] = field(default_factory=Counter)
    begun_at: float = math.inf
    ended_at: float | None = 0.0

    def copy(self) -> "_Unnamed":
        """Return one to which others can be added."""
        return replace(
            self,
            waves=self.waves.copy(),
            asks=self.asks.copy(),
            failures=self.failures.copy(),
            rounds=self.rounds.copy(),
        )

    def add(self, call: Run, ended_at: float | None = None) -> None:
        """Count a run in."""
        self.count += 1
        parked = 0
        for wave, threads in call.waves.items():
            if threads > 0:
                parked += threads
                self.waves[wave] += threads
                self.asks[wave] += call.asks[wave]
        failed = 0
        if call.failures:
            failed = call.failures.total()
            self.failures.update(call.failures)
        for parks, threads in call.rounds.items():
            self.rounds[parks] += threads
        self.total = None if self.total is None or call.total is None else self.total + call.total
        self.done += call.done - failed
        self.failed += failed
        self.running += call.live - parked
        self.parked += parked
        self.begun_at = min(self.begun_at, call.begun_at)
        self.ended_at = None if self.ended_at is None or ended_at is None else max(self.ended_at, ended_at)

    def row(self) -> Row:
        """Return what is written down of them, like that of a run."""
        return {
            "id": UNNAMED,
            "total": self.total,
            "done": self.done,
            "failed": self.failed,
            "running": self.running,
            "parked": self.parked,
            "waves": [[wave, threads, self.asks[wave]] for wave, threads in sorted(self.waves.items())],
            "failures": +self.failures,
            "rounds": sorted(self.rounds.items()),
            "begun_at": self.begun_at,
            "ended_at": self.ended_at,
        }


class EndedRuns:
    """The runs of a session that have ended, until they are shown."""

    def __init__(self) -> None:
        self._rows: dict[str, Row] = {}
        self._unnamed = _Unnamed()

    def add(self, call: Run) -> None:
        """Note how a run has ended."""
        ended_at = _clock.now().timestamp()
        if _is_unnamed(call):
            self._unnamed.add(call, ended_at)
            return
        self._rows[call.run_id] = _run_row(call, ended_at)
        while len(self._rows) > _MOST:
            del self._rows[next(iter(self._rows))]

    def take(self, calls: Iterable[Run]) -> dict[str, Row]:
        """Return the rows of runs that have ended since the last time, and of those under way."""
        rows, self._rows = self._rows, {}
        unnamed = self._unnamed.copy()
        for call in calls:
            if _is_unnamed(call):
                unnamed.add(call)
            else:
                rows[call.run_id] = _run_row(call)
        if unnamed.count:
            rows[UNNAMED] = unnamed.row()
        return rows


def _is_unnamed(call: Run) -> bool:
    return call.is_one or not call.is_named


def _run_row(call: Run, ended_at: float | None = None) -> Row:
    """Return how far a run is. One that has ended may have left threads parked, or stopped where they were."""
    parked = call.waves.total()
    failed = call.failures.total()
    return {
        "id": call.run_id,
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
