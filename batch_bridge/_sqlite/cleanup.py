"""Deleting, copying and pruning threads; each is one call of the writer."""

import sqlite3
from collections.abc import Callable, Iterable, Sequence
from functools import partial

_DELTA_THREADS = """
    SELECT DISTINCT thread_id FROM checkpoints WHERE thread_id = ?
    AND json_extract(CAST(metadata AS TEXT), '$.counters_since_delta_snapshot') IS NOT NULL
"""
_OLD_CHECKPOINTS = """
    DELETE FROM checkpoints WHERE thread_id = ? AND checkpoint_id < (
        SELECT MAX(checkpoint_id) FROM checkpoints AS latest
        WHERE latest.thread_id = checkpoints.thread_id AND latest.checkpoint_ns = checkpoints.checkpoint_ns
    )
"""
_OLD_WRITES = """
    DELETE FROM writes WHERE thread_id = ? AND checkpoint_id < (
        SELECT MAX(checkpoint_id) FROM checkpoints AS latest
        WHERE latest.thread_id = writes.thread_id AND latest.checkpoint_ns = writes.checkpoint_ns
    )
"""
_ORPHANS = "UPDATE checkpoints SET parent_checkpoint_id = NULL WHERE thread_id = ?"


def delete_thread(connection: sqlite3.Connection, thread_id: str) -> None:
    """Delete a thread's checkpoints and pending writes."""
    connection.execute("DELETE FROM checkpoints WHERE thread_id = ?", (thread_id,))
    connection.execute("DELETE FROM writes WHERE thread_id = ?", (thread_id,))


def delete_runs(connection: sqlite3.Connection, run_ids: Iterable[str]) -> None:
    """Delete the checkpoints that these runs made, and their pending writes; reads all metadata for each."""
    for run_id in run_ids:
        keys = connection.execute(
            "SELECT thread_id, checkpoint_ns, checkpoint_id FROM checkpoints "
            "WHERE json_extract(CAST(metadata AS TEXT), '$.run_id') = ?",
            (run_id,),
        ).fetchall()
        where = "WHERE thread_id = ? AND checkpoint_ns = ? AND checkpoint_id = ?"
        connection.executemany(f"DELETE FROM checkpoints {where}", keys)  # noqa: S608 a constant
        connection.executemany(f"DELETE FROM writes {where}", keys)  # noqa: S608 a constant


def copy_thread(connection: sqlite3.Connection, source: str, target: str) -> None:
    """Copy a thread whole, all ancestors included. Copying again adds what is new."""
    connection.execute(
        "INSERT OR REPLACE INTO checkpoints "
        "(thread_id, checkpoint_ns, checkpoint_id, parent_checkpoint_id, type, checkpoint, metadata) "
        "SELECT ?, checkpoint_ns, checkpoint_id, parent_checkpoint_id, type, checkpoint, metadata "
        "FROM checkpoints WHERE thread_id = ?",
        (target, source),
    )
    connection.execute(
        "INSERT OR REPLACE INTO writes "
        "(thread_id, checkpoint_ns, checkpoint_id, task_id, task_path, idx, channel, type, value) "
        "SELECT ?, checkpoint_ns, checkpoint_id, task_id, task_path, idx, channel, type, value "
        "FROM writes WHERE thread_id = ?",
        (target, source),
    )


def prune(thread_ids: Sequence[str], strategy: str) -> Callable[[sqlite3.Connection], None]:
    """Return the call that prunes these threads, all or none.

    Raises:
        TypeError: `thread_ids` is one string.
        ValueError: There is no such strategy.
    """
    if isinstance(thread_ids, str):
        raise TypeError(f"thread_ids must be a list of thread ids, not the string {thread_ids!r}.")
    ids = [str(thread_id) for thread_id in thread_ids]
    match strategy:
        case "keep_latest":
            return partial(_keep_latest, thread_ids=ids)
        case "delete":
            return partial(_delete_threads, thread_ids=ids)
        case _:
            raise ValueError(f"Unknown prune strategy {strategy!r}; use 'keep_latest' or 'delete'.")


def _delete_threads(connection: sqlite3.Connection, thread_ids: Iterable[str]) -> None:
    for thread_id in thread_ids:
        delete_thread(connection, thread_id)


def _keep_latest(connection: sqlite3.Connection, thread_ids: Sequence[str]) -> None:
    for thread_id in thread_ids:
        if connection.execute(_DELTA_THREADS, (thread_id,)).fetchone():
            raise NotImplementedError(
                f"Thread {thread_id!r} uses a DeltaChannel, whose value is rebuilt from the checkpoints that "
                "keep_latest would delete. Leave it out, or delete the thread as a whole."
            )
    for thread_id in thread_ids:
        connection.execute(_OLD_WRITES, (thread_id,))
        connection.execute(_OLD_CHECKPOINTS, (thread_id,))
        connection.execute(_ORPHANS, (thread_id,))
