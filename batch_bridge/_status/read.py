"""Reads the whole status of a file in one look."""

import os
import sqlite3
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from time import time
from typing import Any, Final

import orjson

from batch_bridge._core.policy.vendor_terms import VendorTerms, terms_of
from batch_bridge._status.cost import CostReader
from batch_bridge._status.eta import eta_of
from batch_bridge._status.file import read_only
from batch_bridge._status.ledgers import Ledgers, closed_batch
from batch_bridge._status.models import Batch, Facts, Failure, Kind, RunStatus, State, Status, Threads
from batch_bridge._status.names import OWNER, STATUS, VERSION
from batch_bridge._status.owner import owner_of
from batch_bridge._status.rules import rule, thread_rule
from batch_bridge._status.runs import bare_run, jobs_runs, some_failed, together, told_runs
from batch_bridge._status.stuck import stuck_lines, warning_lines

_MOST_ENDED: Final = 200
"""Ended batches that are shown."""
_MOST_THREADS: Final = 10
"""Failed threads that are named for a cause."""

Row = dict[str, Any]


def read_status(name: str | os.PathLike[str], now: float | None = None) -> Status:
    """Read a file of a Runner, a Batcher or Jobs, live or not; it is not changed, and its owner not disturbed.

    Args:
        name: The file.
        now: Seconds since the epoch; this moment, if left out.

    Raises:
        RunFileError: It is not there, no such file, damaged, or written by a version that this one does not know.
    """
    return StatusReader(name).read(now)


class StatusReader:
    """Reads a file repeatedly, for an observer. What has ended already is not read again.

    Args:
        name: The file.
    """

    def __init__(self, name: str | os.PathLike[str]) -> None:
        self._path = Path(name)
        self._costs = CostReader()

    def read(self, now: float | None = None) -> Status:
        """Return how it is; as `read_status`."""
        at = time() if now is None else now
        with read_only(self._path) as connection:
            return _read(self._path, connection, at, self._costs)


def _read(path: Path, connection: sqlite3.Connection, now: float, costs: CostReader) -> Status:
    row = _owner_row(connection)
    known = None if row is None or row.get("version") != VERSION else row
    owner = owner_of(path, known, now)
    ledgers = Ledgers.of(connection)
    bridges: Mapping[str, Row] = {} if known is None else known["bridges"]
    open_batches, ended, failures = _batches(ledgers, bridges, now)
    kind, runs = _runs(connection, ledgers, known, owner)
    threads, waves = together(runs)
    outcomes: Counter[str] = Counter()
    for batch in ended:
        outcomes.update(batch.outcomes)
    is_told = known is not None and owner.alive is not False
    queued = _queued(ledgers, bridges, is_told=is_told)
    in_flight = (
        sum(each["in_flight"] for each in bridges.values())
        if is_told
        else sum(batch.total for batch in open_batches if batch.state != "submitting")
    )
    unfinished = _is_unfinished(threads, kind, queued, open_batches)
    history = tuple(batch for batch in ended if batch.handle is not None)
    rounds = max((run.rounds for run in runs if run.rounds is not None), default=None)
    facts = Facts(kind, owner, threads, waves, rounds, queued, tuple(open_batches), history, now, unfinished)
    stuck = stuck_lines(facts)
    warnings = list(warning_lines(facts))
    if row is not None and known is None:
        warnings.append("its owner is of another version, so that not all of it is understood: upgrade this one")
    return Status(
        file=str(path),
        kind=kind,
        state=_state(threads, stuck, unfinished=unfinished),
        at=now,
        as_of=owner.at,
        owner=owner,
        runs=tuple(runs),
        threads=threads,
        waves=waves,
        batches=(*open_batches, *sorted(ended, key=lambda each: -(each.ended_at or 0))[:_MOST_ENDED]),
        batches_ended=len(ended),
        queued=queued,
        in_flight=in_flight,
        oldest_waiter=_oldest(bridges, open_batches, now, is_told=is_told),
        outcomes=dict(outcomes),
        failures=(*failures, *_thread_failures(connection, runs)),
        cost=costs.read(ledgers),
        eta=eta_of(facts) if unfinished else None,
        paused=bool(known and known.get("paused")),
        stuck=tuple(stuck),
        warnings=tuple(warnings),
    )


def _owner_row(connection: sqlite3.Connection) -> Row | None:
    found = connection.execute("SELECT value FROM store WHERE prefix = ? AND key = ?", (STATUS, OWNER)).fetchone()
    if found is None:
        return None
    row: Row = orjson.loads(found[0])
    return row


def _batches(
    ledgers: Ledgers, bridges: Mapping[str, Row], now: float
) -> tuple[list[Batch], list[Batch], list[Failure]]:
    open_batches: list[Batch] = []
    ended: list[Batch] = []
    failed: Counter[tuple[str, str, int | None, bool]] = Counter()
    for bridge, kinds in ledgers.kinds.items():
        told = bridges.get(bridge, {})
        if "batches" in kinds:
            terms = _terms(told)
            open_batches += ledgers.open_batches(bridge, told.get("batches", {}), terms)
        if "closed" in kinds:
            unsettled = {each.key for each in open_batches if each.bridge == bridge}  # its process died over them
            for key, row in ledgers.rows(bridge, "closed"):
                if key in unsettled:
                    continue
                ended.append(closed_batch(bridge, key, row))
                for kind, code, status_code, passes, count in row.get("failures", ()):
                    failed[kind, code, status_code, passes] += count
    open_batches.sort(key=lambda each: each.submitted_at or now)
    causes = sorted(failed.items(), key=lambda each: -each[1])
    failures = [
        Failure("request", code, kind, status_code, count, rule(code, kind, retryable=passes))
        for (kind, code, status_code, passes), count in causes
    ]
    return open_batches, ended, failures


def _terms(told: Row) -> VendorTerms:
    """Return a provider's terms: those in the owner's row, or those of its class."""
    known = terms_of(told.get("provider") or "")
    return VendorTerms(told["window"], told["keeps"]) if "keeps" in told else known


def _runs(
    connection: sqlite3.Connection, ledgers: Ledgers, known: Row | None, owner: Any
) -> tuple[Kind, list[RunStatus]]:
    jobs = [bridge for bridge, kinds in ledgers.kinds.items() if "jobs" in kinds]
    if jobs:
        return "jobs", [run for bridge in jobs for run in jobs_runs(ledgers, bridge)]
    if known is not None:
        return known["kind"], told_runs(connection, known, owner)
    run = bare_run(connection)
    return "unknown", [] if run is None else [run]


def _queued(ledgers: Ledgers, bridges: Mapping[str, Row], *, is_told: bool) -> int:
    """Return how many requests wait to be sent: as the owner's row says, else as many as are stored."""
    if is_told:
        return sum(int(each["queued"]) for each in bridges.values())
    kept = [bridge for bridge, kinds in ledgers.kinds.items() if "queued" in kinds]
    if kept:
        return sum(ledgers.count(bridge, "queued") for bridge in kept)
    return sum(int(each["queued"]) for each in bridges.values())


def _is_unfinished(threads: Threads, kind: Kind, queued: int, open_batches: Sequence[Batch]) -> bool:
    is_waited_for = any(batch.state != "stopping" for batch in open_batches)
    if is_waited_for or threads.running or threads.parked or queued:
        return True
    if kind == "unknown" or threads.total is None or threads.done is None:
        return False
    return threads.total > threads.done + threads.failed


def _state(threads: Threads, stuck: Sequence[str], *, unfinished: bool) -> State:
    if stuck:
        return "stuck"
    if unfinished:
        return "parked" if threads.parked and not threads.running else "running"
    return "failed" if threads.failed else "done"


def _oldest(bridges: Mapping[str, Row], batches: Sequence[Batch], now: float, *, is_told: bool) -> float | None:
    since = [at for each in batches if (at := each.asked_at or each.submitted_at) is not None]
    if is_told:
        since += [each["oldest_at"] for each in bridges.values() if each["oldest_at"] is not None]
    return max(now - min(since), 0.0) if since else None


def _thread_failures(connection: sqlite3.Connection, runs: Sequence[RunStatus]) -> list[Failure]:
    counts: Counter[str] = Counter()
    for run in runs:
        counts.update(run.failures)
    named = some_failed(connection, _MOST_THREADS) if counts else {}
    return [
        Failure("thread", code, code, None, count, thread_rule(code), named.get(code, ()))
        for code, count in counts.most_common()
    ]
