"""Erases what a Runner's file holds of a thread, so that its bytes are gone from the disk's file, too.

A thread's own rows name it. Rows of the ledger are named by request ids, which stand in what the thread has written: in
its interrupts and in the answers that it took. They are found there as text, so that nothing of a file is decoded.
"""

import os
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final, NamedTuple

import orjson
from filelock import Timeout

from batch_bridge._sqlite.error_text import advice
from batch_bridge._sqlite.private_files import UnsafeFileError, claim_database, lock_file
from batch_bridge.errors import RunFileError

_ID: Final = re.compile(rb"[0-9a-f]{32}")
_BLOBS: Final = (
    "SELECT checkpoint FROM checkpoints WHERE thread_id = ?",
    "SELECT value FROM writes WHERE thread_id = ?",
)
_LEDGER: Final = "FROM store WHERE prefix GLOB 'batch_bridge.*"
_KINDS: Final = frozenset({"requests", "outcomes", "tries", "queue"})
_BUSY_SECONDS: Final = 5.0


class Erased(NamedTuple):
    """What was erased of a thread.

    Attributes:
        checkpoints: Checkpoints, with what their tasks had written.
        requests: Rows of its requests: items, answers, attempts.
    """

    checkpoints: int
    requests: int


def erase_thread(name: str | os.PathLike[str], thread_id: str) -> Erased:
    """Erase a thread from a Runner's file, which no Runner has open. Idempotent.

    SQLite rewrites the file without it, which takes as long as a copy of the file.

    Raises:
        RunFileError: The file is not there, open elsewhere or no such file; or the thread's requests are at a provider.
    """
    path = Path(name).absolute()
    if not path.is_file():
        raise RunFileError(f"{path} does not exist; name the file of Runner(…, path=…)")
    try:
        with _locked(path), closing(sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None)) as connection:
            connection.execute("PRAGMA secure_delete=ON")
            connection.execute("BEGIN IMMEDIATE")
            try:
                erased = _erase(connection, path, thread_id)
            except BaseException:
                connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")
            connection.execute("VACUUM")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    except sqlite3.Error as error:
        what = advice(error, damaged="Name the file of a Runner.")
        raise RunFileError(f"nothing of thread {thread_id!r} was erased from {path}: {error}. {what}") from error
    return erased


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    try:
        lock = lock_file(Path(f"{path}.lock"))
        with lock:
            claim_database(path)
            yield
    except Timeout:
        raise RunFileError(f"{path}: a Runner has this file open; close it, and erase then") from None
    except UnsafeFileError as error:
        raise RunFileError(f"{path} cannot be opened: {error}") from error


def _erase(connection: sqlite3.Connection, path: Path, thread_id: str) -> Erased:
    ids = set(_asked(connection, thread_id))
    for query in _BLOBS:
        for (blob,) in connection.execute(query, (thread_id,)):
            ids.update(found.decode() for found in _ID.findall(blob or b""))
    _refuse_sent(connection, path, thread_id, ids)
    rows = [
        rowid
        for rowid, prefix, key in connection.execute(f"SELECT rowid, prefix, key {_LEDGER}'")
        if key in ids and _KINDS.intersection(prefix.split("."))
    ]
    rows += [
        rowid
        for rowid, key, value in connection.execute(
            "SELECT rowid, key, value FROM store WHERE prefix IN ('batch_bridge_failures', 'batch_bridge_unclaimed')"
        )
        if key == thread_id or orjson.loads(value).get("thread") == thread_id
    ]
    _blank_accounts(connection, thread_id)
    connection.executemany("DELETE FROM store WHERE rowid = ?", [(rowid,) for rowid in rows])
    count = connection.execute("DELETE FROM checkpoints WHERE thread_id = ?", (thread_id,)).rowcount
    connection.execute("DELETE FROM writes WHERE thread_id = ?", (thread_id,))
    return Erased(count, len(rows))


def _blank_accounts(connection: sqlite3.Connection, thread_id: str) -> None:
    """Remove a thread's name from the accounts: the amounts stay, but no longer name their thread."""
    changed = []
    for rowid, value in connection.execute(f"SELECT rowid, value {_LEDGER}.money'"):
        row = orjson.loads(value)
        who = [[] if each[:1] == [thread_id] else each for each in row["who"]]
        if who != row["who"]:
            changed.append((orjson.dumps({**row, "who": who}).decode(), rowid))
    connection.executemany("UPDATE store SET value = ? WHERE rowid = ?", changed)


def _asked(connection: sqlite3.Connection, thread_id: str) -> Iterator[str]:
    """Yield the ids of the thread's requests that have no answer yet."""
    for key, value in connection.execute(f"SELECT key, value {_LEDGER}.requests*'"):
        if orjson.loads(value).get("thread") == thread_id:
            yield key


def _refuse_sent(connection: sqlite3.Connection, path: Path, thread_id: str, ids: set[str]) -> None:
    """Refuse what is at a provider: its answer would come back into the file."""
    open_batches = {key for (key,) in connection.execute(f"SELECT key {_LEDGER}.batches'")}
    for key, value in connection.execute(f"SELECT key, CAST(value AS BLOB) {_LEDGER}.members'"):
        if key in open_batches and any(found.decode() in ids for found in _ID.findall(value)):
            raise RunFileError(
                f"{path}: requests of thread {thread_id!r} are in batch {key} at a provider, which would bring their "
                "answers back; let the run end, or cancel them with Runner.cancel(thread_id=…), and erase then"
            )
