"""The runs in a file, from its owner's row, its jobs, or its checkpoints alone."""

import sqlite3
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import orjson

from batch_bridge._status.ledgers import Ledgers
from batch_bridge._status.models import Owner, RunStatus, Threads, Wave
from batch_bridge._status.names import FAILURES

Row = Mapping[str, Any]

_BARE = """
WITH newest AS (
    SELECT thread_id, max(checkpoint_id) AS id FROM checkpoints WHERE checkpoint_ns = '' GROUP BY thread_id
)
SELECT count(*), count(CASE WHEN EXISTS (
    SELECT 1 FROM writes WHERE writes.thread_id = newest.thread_id AND checkpoint_ns = ''
    AND checkpoint_id = newest.id AND idx = -3) THEN 1 END)
FROM newest
"""
"""Threads, and those that wait at an interrupt, whose writes have the index -3; answered from an index alone."""


def told_runs(connection: sqlite3.Connection, row: Row, owner: Owner) -> list[RunStatus]:
    """Return the runs of an owner's row. The failures show what a killed owner did in its last second."""
    runs = [_run(each) for each in row["runs"]]
    if owner.alive or owner.closed:
        return runs
    written = failed_threads(connection)
    return [_with_failures(run, written.get(run.id, {})) for run in runs]


def failed_threads(connection: sqlite3.Connection) -> dict[str, dict[str, int]]:
    """Return how many threads of each run have failed and were not run again since, by code."""
    sql = (
        "SELECT json_extract(text, '$.run'), json_extract(text, '$.failure'), count(*) "
        "FROM (SELECT CAST(value AS TEXT) AS text FROM store WHERE prefix = ?) GROUP BY 1, 2"
    )
    found: dict[str, dict[str, int]] = {}
    for run_id, failure, count in connection.execute(sql, (FAILURES,)):
        found.setdefault(run_id or "", {})[failure or "unknown"] = count
    return found


def some_failed(connection: sqlite3.Connection, most: int) -> dict[str, tuple[str, ...]]:
    """Return some of the threads that have failed, by code."""
    sql = "SELECT key, value FROM store WHERE prefix = ? ORDER BY rowid DESC LIMIT ?"
    found: dict[str, list[str]] = {}
    for key, value in connection.execute(sql, (FAILURES, 50 * most)):
        threads = found.setdefault(orjson.loads(value).get("failure") or "unknown", [])
        if len(threads) < most:
            threads.append(key)
    return {code: tuple(threads) for code, threads in found.items()}


def jobs_runs(ledgers: Ledgers, bridge: str) -> list[RunStatus]:
    """Return the jobs of a file, oldest first."""
    runs = []
    for handle, row in ledgers.rows(bridge, "jobs"):
        outcomes = _outcomes(ledgers, bridge, handle)
        failed = sum(count for kind, count in outcomes.items() if kind != "succeeded")
        total = row["requests"]
        threads = Threads(total, outcomes["succeeded"], 0, max(total - outcomes.total(), 0), failed)
        failures = {kind: count for kind, count in outcomes.items() if kind != "succeeded"}
        runs.append(RunStatus(handle, threads, begun_at=row["at"], failures=failures))
    return sorted(runs, key=lambda run: run.begun_at or 0)


def bare_run(connection: sqlite3.Connection) -> RunStatus | None:
    """Return the runs of an earlier version's file from its checkpoints, by the keys of its rows alone.

    Whether a thread that is neither parked nor failed has ended stands in its values, which are not read.
    """
    if connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'checkpoints'").fetchone() is None:
        return None
    total, parked = connection.execute(_BARE).fetchone()
    if not total:
        return None
    failures = Counter[str]()
    for found in failed_threads(connection).values():
        failures.update(found)
    return RunStatus("", Threads(total, None, 0, parked, failures.total()), failures=dict(failures))


def together(runs: Iterable[RunStatus]) -> tuple[Threads, tuple[Wave, ...]]:
    """Return the threads of all runs, and the waves that they are in."""
    total, done, running, parked, failed = 0, 0, 0, 0, 0
    is_total = is_done = True
    threads: Counter[int] = Counter()
    requests: Counter[int] = Counter()
    for run in runs:
        each = run.threads
        is_total, is_done = is_total and each.total is not None, is_done and each.done is not None
        total, done = total + (each.total or 0), done + (each.done or 0)
        running, parked, failed = running + each.running, parked + each.parked, failed + each.failed
        for wave in run.waves:
            threads[wave.step] += wave.threads
            requests[wave.step] += wave.requests
    waves = tuple(Wave(step, threads[step], requests[step]) for step in sorted(threads))
    return Threads(total if is_total else None, done if is_done else None, running, parked, failed), waves


def _run(row: Row) -> RunStatus:
    return RunStatus(
        row["id"],
        Threads(row["total"], row["done"], row["running"], row["parked"], row["failed"]),
        tuple(Wave(*wave) for wave in row["waves"]),
        row["begun_at"],
        row["ended_at"],
        dict(row["failures"]),
        max((rounds for rounds, _ in row.get("rounds", ())), default=None),
    )


def _with_failures(run: RunStatus, written: Mapping[str, int]) -> RunStatus:
    failed = sum(written.values())
    if not run.id or failed <= run.threads.failed:
        return run
    known = run.threads
    parked = max(known.parked - (failed - known.failed), 0)
    threads = Threads(known.total, known.done, known.running, parked, failed)
    return RunStatus(run.id, threads, run.waves, run.begun_at, run.ended_at, dict(written), run.rounds)


def _outcomes(ledgers: Ledgers, bridge: str, handle: str) -> Counter[str]:
    """Count the outcomes of a job, part by part; of a part that has not ended by the outcomes of its requests."""
    counts: Counter[str] = Counter()
    sql = "SELECT value FROM store WHERE prefix = ? AND key >= ? AND key < ?"
    prefix = f"batch_bridge.{bridge}.parts"
    for (value,) in ledgers.connection.execute(sql, (prefix, f"{handle}.", f"{handle}/")).fetchall():
        part = orjson.loads(value)
        counts.update(part.get("counts") or ledgers.outcomes(bridge, part["ids"]))
    return counts
