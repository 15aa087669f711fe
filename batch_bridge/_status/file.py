"""Opens a file only to read it: its owner is not disturbed, and no other file is left beside it."""

import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final
from urllib.parse import quote

from batch_bridge._sqlite.error_text import advice
from batch_bridge.errors import RunFileError

_BUSY_SECONDS: Final = 5.0
_CACHE_KIB: Final = 8 * 1024


@contextmanager
def read_only(name: str | os.PathLike[str]) -> Iterator[sqlite3.Connection]:
    """Open a file, and show it as it was at one moment while the block runs.

    Raises:
        RunFileError: It is not there, no such file, or cannot be read.
    """
    path = Path(name).absolute()
    if path.is_dir():
        raise RunFileError(f"{path} is a folder. Name the file of a Runner, a Batcher or Jobs in it")
    if not path.is_file():
        raise RunFileError(f"{path}: there is no such file. Name the file of a Runner, a Batcher or Jobs")
    try:
        with ExitStack() as opened:
            connection = opened.enter_context(closing(_connect(path, opened)))
            connection.execute(f"PRAGMA cache_size=-{_CACHE_KIB}")
            connection.execute("BEGIN")
            tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
            if "store" not in tables:
                raise RunFileError(f"{path} is no file of a Runner, a Batcher or Jobs: it has no table 'store'")
            yield connection
    except sqlite3.Error as error:
        what = advice(error, damaged="Restore it from a copy, or name another file.")
        raise RunFileError(f"{path} cannot be read: {error}. {what}") from error


def _connect(path: Path, opened: ExitStack) -> sqlite3.Connection:
    """Open it beside an owner; without a log, open it as immutable, so that SQLite makes no files."""
    log = Path(f"{path}-wal")
    if not log.exists():
        connection = _open(path, "immutable=1")
        if not log.exists():
            return connection
        connection.close()  # an owner has come
    try:
        return _open(path, "mode=ro")
    except sqlite3.OperationalError:
        if not _is_out_of_reach(path):
            raise
    folder = Path(opened.enter_context(TemporaryDirectory(prefix="batch_bridge_")))
    for each in (path, log):  # no process writes there
        shutil.copyfile(each, folder / each.name)
    return _open(folder / path.name, "mode=ro")


def _open(path: Path, how: str) -> sqlite3.Connection:
    connection = sqlite3.connect(
        f"file:{quote(str(path))}?{how}", uri=True, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False
    )
    try:
        connection.execute("SELECT 1 FROM sqlite_schema LIMIT 1").fetchall()
    except BaseException:
        connection.close()
        raise
    return connection


def _is_out_of_reach(path: Path) -> bool:
    """Return whether SQLite cannot make the file beside it that it reads a log with: its folder is read-only."""
    return not Path(f"{path}-shm").exists() and not os.access(path.parent, os.W_OK)
