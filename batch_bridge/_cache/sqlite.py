"""Answers in a SQLite file, which any number of threads, event loops and processes may use at the same time."""

import asyncio
import hashlib
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

from batch_bridge._cache.backend import CacheEntry
from batch_bridge._engine.deduplication import owner_in
from batch_bridge._sqlite.error_text import advice
from batch_bridge._sqlite.private_files import UnsafeFileError, claim_database
from batch_bridge.errors import CacheError

T = TypeVar("T")
Row = tuple[object, ...]

_ID: Final = 0x62_62_63_61
"""The file's `application_id`: "bbca"."""
_VERSION: Final = 1
"""The file's `user_version`."""
_BUSY_SECONDS: Final = 5.0
"""How long to wait while another process writes."""
_PAUSE_SECONDS: Final = 0.01
_NAMES: Final = 500
"""Keys in one statement."""
_SWEPT: Final = 1000
"""The most answers that one sweep deletes."""
_CACHE_BYTES: Final = 32 * 2**20
"""Pages that are held in memory; with 100,000 answers the index is 4 MB."""
_WAL_PAGES: Final = 8000
"""Pages of 4 kB in the log before they are moved into the file: keys come in no order, so the same pages come again."""
_SCHEMA: Final = (
    """
    CREATE TABLE answers (
        name BLOB NOT NULL UNIQUE,
        tenant TEXT NOT NULL,
        answer BLOB NOT NULL,
        put_at REAL NOT NULL,
        until REAL
    )
    """,
    "CREATE INDEX answers_until ON answers (until) WHERE until IS NOT NULL",
    f"PRAGMA application_id={_ID}",
    f"PRAGMA user_version={_VERSION}",
)


_PUT: Final = "INSERT OR REPLACE INTO answers (name, tenant, answer, put_at, until) VALUES (?, ?, ?, ?, ?)"
_CLEAR: Final = "DELETE FROM answers WHERE tenant = ? OR tenant GLOB ?"


class SQLiteBackend:
    """Entries in a SQLite file of its own.

    One connection, one caller at a time, in a thread beside the event loop. What was put survives the process; the
    last answers may be lost with the power, which costs asking again.

    Args:
        path: The file; made if it is not there. Its folder must exist, on a local disk.

    Raises:
        CacheError: It is no such file, or it cannot be opened.
    """

    def __init__(
        self, path: str | os.PathLike[str], *, busy_seconds: float = _BUSY_SECONDS, swept: int = _SWEPT
    ) -> None:
        self._swept = swept
        self._busy_seconds = busy_seconds
        self._path = Path(path).absolute()
        self._lock = threading.Lock()
        self._pid = os.getpid()
        self._connection: sqlite3.Connection | None = _open(self._path, busy_seconds)

    async def get(self, tenant: str, keys: Sequence[str]) -> dict[str, CacheEntry]:
        """See `CacheBackend`."""
        return await asyncio.to_thread(self._do, partial(_read, keys={_name(tenant, key): key for key in keys}))

    async def put(self, tenant: str, answers: Mapping[str, CacheEntry]) -> None:
        """See `CacheBackend`."""
        rows = [
            (_name(tenant, key), _whose(tenant, owner_in(key)), entry.answer, entry.at, entry.until)
            for key, entry in answers.items()
        ]
        await self._write(_PUT, rows)

    async def drop(self, tenant: str, keys: Sequence[str]) -> None:
        """See `CacheBackend`."""
        await self._write("DELETE FROM answers WHERE name = ?", [(_name(tenant, key),) for key in keys])

    async def erase(self, tenant: str, owner: str) -> None:
        """See `CacheBackend`. Nothing of them is left in the file's bytes."""
        await asyncio.to_thread(self._do, partial(_erase, whose=_whose(tenant, owner)))

    async def sweep(self, now: float) -> None:
        """See `CacheBackend`."""
        over = "SELECT rowid FROM answers WHERE until <= ? ORDER BY until LIMIT ?"
        await self._write(f"DELETE FROM answers WHERE rowid IN ({over})", [(now, self._swept)])  # noqa: S608  # a constant

    async def clear(self, tenant: str) -> None:
        """See `CacheBackend`."""
        await asyncio.to_thread(self.clear_blocking, tenant)

    def clear_blocking(self, tenant: str) -> None:
        """See `CacheBackend`."""
        self._do(partial(_write, sql=_CLEAR, rows=[(tenant, _whose(tenant, "*"))]))

    def close(self) -> None:
        """See `CacheBackend`."""
        with self._lock:
            connection, self._connection = self._connection, None
            if connection is not None and os.getpid() == self._pid:
                connection.close()

    async def _write(self, sql: str, rows: Sequence[Row]) -> None:
        if rows:
            await asyncio.to_thread(self._do, partial(_write, sql=sql, rows=rows))

    def _do(self, function: Callable[[sqlite3.Connection], T]) -> T:
        if os.getpid() != self._pid:
            self._open_again()
        with self._lock:
            if self._connection is None:
                raise CacheError(f"{self._path} is closed; keep the response cache open while bridges use it")
            return function(self._connection)

    def _open_again(self) -> None:
        """Leave alone what belongs to the process that this one was forked from: its connection and its lock."""
        _left_behind.append(self._connection)
        self._lock, self._pid = threading.Lock(), os.getpid()
        self._connection = None if self._connection is None else _open(self._path, self._busy_seconds)


_left_behind: list[sqlite3.Connection | None] = []
"""Connections of the process that this one was forked from; closing one would take away its locks."""


def _name(tenant: str, key: str) -> bytes:
    """Return what an answer is found by: short, since the index is what a write costs."""
    return hashlib.blake2b(key.encode(), key=tenant.encode(), digest_size=20).digest()


def _whose(tenant: str, owner: str) -> str:
    """Return the value of the column `tenant`: the cache's own tenant, and the request's."""
    return f"{tenant}/{owner}" if owner else tenant


def _erase(connection: sqlite3.Connection, *, whose: str) -> None:
    connection.execute("PRAGMA secure_delete=ON")
    try:
        _write(connection, sql="DELETE FROM answers WHERE tenant = ?", rows=[(whose,)])
    finally:
        connection.execute("PRAGMA secure_delete=OFF")
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _read(connection: sqlite3.Connection, *, keys: Mapping[bytes, str]) -> dict[str, CacheEntry]:
    found: dict[str, CacheEntry] = {}
    names = [*keys]
    for start in range(0, len(names), _NAMES):
        some = names[start : start + _NAMES]
        marks = ",".join("?" * len(some))
        rows = connection.execute(f"SELECT name, answer, put_at, until FROM answers WHERE name IN ({marks})", some)  # noqa: S608
        found.update((keys[name], CacheEntry(answer, at, until)) for name, answer, at, until in rows)
    return found


def _write(connection: sqlite3.Connection, *, sql: str, rows: Sequence[Row]) -> None:
    connection.execute("BEGIN IMMEDIATE")
    try:
        connection.executemany(sql, rows)
        connection.execute("COMMIT")
    except BaseException:
        with suppress(sqlite3.Error):  # SQLite may have given the transaction up by itself
            connection.execute("ROLLBACK")
        raise


def _open(path: Path, busy_seconds: float) -> sqlite3.Connection:
    if not path.parent.is_dir():
        raise CacheError(f"{path}: there is no folder {path.parent}. Create it first, or name another file.")
    if path.is_dir():
        raise CacheError(f"{path} is a folder. Name a file inside it.")
    try:
        claim_database(path)
        connection = sqlite3.connect(path, timeout=busy_seconds, isolation_level=None, check_same_thread=False)
    except UnsafeFileError as error:
        raise CacheError(f"the response cache {path} cannot be opened: {error}") from error
    except sqlite3.Error as error:
        raise _broken(path, error) from error
    try:
        _set_up(connection, path)
    except sqlite3.Error as error:
        connection.close()
        raise _broken(path, error) from error
    except CacheError:
        connection.close()
        raise
    return connection


def _set_up(connection: sqlite3.Connection, path: Path) -> None:
    """Make the table, unless it exists.

    All in one transaction: several processes may make the file at the same time. It tells now, too, and not later, that
    the file is locked or must not be written.
    """
    connection.execute("PRAGMA synchronous=NORMAL")
    connection.execute(f"PRAGMA cache_size=-{_CACHE_BYTES // 1024}")
    connection.execute(f"PRAGMA wal_autocheckpoint={_WAL_PAGES}")
    connection.execute("BEGIN IMMEDIATE")
    try:
        owner, version = _pragma(connection, "application_id"), _pragma(connection, "user_version")
        if owner == _ID and version != _VERSION:
            raise CacheError(
                f"{path} is a response cache of version {version}, but this BatchBridge supports version {_VERSION}. "
                "Upgrade BatchBridge, or delete the file; its answers can be requested again."
            )
        is_empty = not connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        if owner != _ID and (owner or not is_empty):
            raise CacheError(f"{path} belongs to another program. Name another file for the response cache.")
        if owner != _ID:
            for statement in _SCHEMA:
                connection.execute(statement)
        connection.execute("SELECT 1 FROM answers LIMIT 1").fetchone()
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
    _keep_a_log(connection)


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    return int(connection.execute(f"PRAGMA {name}").fetchone()[0])


def _keep_a_log(connection: sqlite3.Connection) -> None:
    """Let readers and a writer work side by side. SQLite itself does not wait here for other users of the file."""
    give_up_at = time.monotonic() + _BUSY_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > give_up_at:
                raise
            time.sleep(_PAUSE_SECONDS)
        else:
            return


def _broken(path: Path, error: sqlite3.Error) -> CacheError:
    what = advice(error, damaged="Delete it, if it is a cache, or name another file.")
    return CacheError(f"the response cache {path} cannot be opened: {error}. {what}")
