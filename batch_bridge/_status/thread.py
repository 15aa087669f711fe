"""One thread of a Runner's file, by its keys and the metadata of its newest checkpoint."""

import os
from dataclasses import dataclass

import orjson

from batch_bridge._status.file import read_only
from batch_bridge._status.names import FAILURES


@dataclass(frozen=True, slots=True)
class ThreadSeen:
    """A thread.

    Attributes:
        id: LangGraph's `thread_id`.
        checkpoints: How many it has.
        step: LangGraph's number of the newest one's step; `None` where it does not tell.
        rounds: How often it had parked before that.
        parked: It waits at an interrupt: for a batch, or for a human.
        failures: How often it has failed, and was to be run again.
        failure: What it has failed with last; empty if it has not.
    """

    id: str
    checkpoints: int
    step: int | None
    rounds: int
    parked: bool
    failures: int = 0
    failure: str = ""


def read_thread(name: str | os.PathLike[str], thread_id: str) -> ThreadSeen | None:
    """Read one thread; `None` if the file holds none of this id.

    Raises:
        RunFileError: As `read_status`.
    """
    with read_only(name) as connection:
        if connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'checkpoints'").fetchone() is None:
            return None
        mine = "FROM checkpoints WHERE thread_id = ? AND checkpoint_ns = ''"
        count, newest = connection.execute(f"SELECT count(*), max(checkpoint_id) {mine}", (thread_id,)).fetchone()
        row = connection.execute(
            "SELECT value FROM store WHERE prefix = ? AND key = ?", (FAILURES, thread_id)
        ).fetchone()
        if not count and row is None:
            return None
        at = (thread_id, newest)
        (metadata,) = connection.execute(f"SELECT metadata {mine} AND checkpoint_id = ?", at).fetchone() or (None,)
        waits = "SELECT 1 FROM writes WHERE thread_id = ? AND checkpoint_ns = '' AND checkpoint_id = ? AND idx = -3"
        parked = connection.execute(waits, at).fetchone() is not None
    told = orjson.loads(metadata) if metadata else {}
    failed = orjson.loads(row[0]) if row else {}
    rounds = told.get("batch_bridge_rounds", 0)
    return ThreadSeen(
        thread_id,
        count,
        told.get("step"),
        rounds if isinstance(rounds, int) else 0,
        parked,
        failed.get("failures", 0),
        failed.get("failure", ""),
    )
