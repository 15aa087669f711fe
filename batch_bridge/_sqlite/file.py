"""The Runner's file: checkpoints, store and ledger in one, with one writer."""

import asyncio
import os
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Literal, NamedTuple

from filelock import Timeout
from langgraph.checkpoint.serde.base import SerializerProtocol

from batch_bridge._sqlite.error_text import advice
from batch_bridge._sqlite.private_files import UnsafeFileError, claim_database, lock_file
from batch_bridge._sqlite.readers import Readers
from batch_bridge._sqlite.saver import GroupedSqliteSaver
from batch_bridge._sqlite.schema import SchemaError, set_up
from batch_bridge._sqlite.serde import StrictSerializer
from batch_bridge._sqlite.store import SqliteRows
from batch_bridge._sqlite.writer import Writer
from batch_bridge.errors import RunFileError

BUSY_TIMEOUT = timedelta(seconds=5)
CACHED_STATEMENTS = 256

# Measured: larger pages and a longer WAL halve the cost of 50 kB values, and a cache that holds a group whole
# keeps it from being written twice. Values of 1 kB cost the same either way.
PAGE_SIZE = 8192
CACHE_BYTES = 64 * 2**20
WAL_BYTES = 32 * 2**20

_held_here: set[Path] = set()
"""Files that this process has open."""

Synchronous = Literal["FULL", "NORMAL"]


class RunFile(NamedTuple):
    """What an open file offers.

    Attributes:
        saver: The checkpointer, for `compile(checkpointer=…)`.
        store: The rows of ledgers and of what stands beside them.
    """

    saver: GroupedSqliteSaver
    store: SqliteRows


@asynccontextmanager
async def open_file(
    path: str | os.PathLike[str],
    *,
    synchronous: Synchronous = "FULL",
    serde: SerializerProtocol | None = None,
    busy_timeout: timedelta = BUSY_TIMEOUT,
    before_commit: Callable[[], None] | None = None,
) -> AsyncIterator[RunFile]:
    """Open a file, or make it, and hold it until the block ends. What was written is then all on disk.

    One process at a time has a file open; a lock file beside it (`<path>.lock`) says so, and is free again
    when the process ends, however it ends. Other programs may read the file meanwhile.

    Args:
        path: The file. Its folder must exist, on a local disk.
        synchronous: `"FULL"` keeps every write that has returned even when the power fails. `"NORMAL"` keeps
            them when the process dies, but may lose the last ones with the power.
        serde: How the checkpointer encodes values; LangGraph's encoding if left out, and only its own types are read.
        busy_timeout: How long to wait while another program keeps the file locked.
        before_commit: For tests, see `Writer`.

    Raises:
        RunFileError: The file is open elsewhere, is not such a file, or cannot be reached or written.
    """
    opening = asyncio.ensure_future(asyncio.to_thread(_open, path, synchronous, serde, busy_timeout, before_commit))
    try:
        file, closing = await asyncio.shield(opening)
    except asyncio.CancelledError:
        opening.add_done_callback(_close_abandoned)
        raise
    try:
        yield file
    finally:
        await asyncio.shield(asyncio.to_thread(closing.close))


def _close_abandoned(opening: "asyncio.Future[tuple[RunFile, ExitStack]]") -> None:
    if not opening.cancelled() and opening.exception() is None:
        _, closing = opening.result()
        closing.close()


def _open(
    name: str | os.PathLike[str],
    synchronous: Synchronous,
    serde: SerializerProtocol | None,
    busy_timeout: timedelta,
    before_commit: Callable[[], None] | None,
) -> tuple[RunFile, ExitStack]:
    """Open the file, and return what closes it again."""
    path = Path(name).absolute()
    with ExitStack() as opened:
        _lock(path, opened)
        connection = _connect(path, synchronous, busy_timeout)
        writer = Writer(connection, path=str(path), before_commit=before_commit)
        opened.callback(writer.close)
        readers = Readers(str(path), busy_timeout=busy_timeout)
        opened.callback(readers.close)  # before the writer, which then leaves one tidy file behind
        saver = GroupedSqliteSaver(writer, readers, serde=serde or StrictSerializer())
        file = RunFile(saver, SqliteRows(writer, readers))
        return file, opened.pop_all()


def _release(path: Path, release: Callable[[], None]) -> None:
    _held_here.discard(path)
    release()


def _lock(path: Path, opened: ExitStack) -> None:
    if not path.parent.is_dir():
        raise RunFileError(f"{path}: there is no folder {path.parent}. Create it first, or name another file.")
    if path.is_dir():
        raise RunFileError(f"{path} is a folder. Name a file inside it.")
    try:
        lock = lock_file(Path(f"{path}.lock"))
        lock.acquire()
    except Timeout:
        if path in _held_here:
            raise RunFileError(
                f"{path}: another Runner has this file open, or a Batcher or a wrapped client, in this process. Close "
                "it: await runner.aclose(), or batcher.close(). In a notebook an earlier cell has left it open; if its "
                "variable is gone: for each in Runner.left_open(): await each.aclose()"
            ) from None
        raise RunFileError(
            f"{path}: another Runner has this file open, or a Batcher or a wrapped client, in another "
            "process. Wait until it has ended, close() it, or name another file."
        ) from None
    except UnsafeFileError as error:
        raise RunFileError(f"{path} cannot be locked: {error}") from error
    except OSError as error:
        raise RunFileError(
            f"{path}: its lock file cannot be written: {error}. "
            "Put the file into a folder where this process may write."
        ) from error
    _held_here.add(path)
    opened.callback(_release, path, lock.release)


def _connect(path: Path, synchronous: Synchronous, busy_timeout: timedelta) -> sqlite3.Connection:
    try:
        claim_database(path)
        connection = sqlite3.connect(
            path,
            timeout=busy_timeout.total_seconds(),
            isolation_level=None,
            check_same_thread=False,
            cached_statements=CACHED_STATEMENTS,
        )
    except UnsafeFileError as error:
        raise RunFileError(f"{path} cannot be opened: {error}") from error
    except sqlite3.Error as error:
        raise _broken(path, error) from error
    try:
        connection.execute(f"PRAGMA page_size={PAGE_SIZE}")  # of a new file; an old one keeps its own
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute(f"PRAGMA synchronous={synchronous}")
        connection.execute(f"PRAGMA cache_size=-{CACHE_BYTES // 1024}")
        connection.execute(f"PRAGMA wal_autocheckpoint={WAL_BYTES // PAGE_SIZE}")
        set_up(connection)
    except SchemaError as error:
        connection.close()
        raise RunFileError(f"{path} belongs to another program: {error}. Name another file.") from error
    except sqlite3.Error as error:
        connection.close()
        raise _broken(path, error) from error
    return connection


def _broken(path: Path, error: sqlite3.Error) -> RunFileError:
    what = advice(error, damaged="Restore a backup, or name another file.")
    return RunFileError(f"{path} cannot be opened: {error}. {what}")
