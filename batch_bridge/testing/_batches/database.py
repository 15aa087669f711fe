"""The state folder: one SQLite file for what is small, plain files for what is large."""

import asyncio
import shutil
import sqlite3
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from filelock import Timeout

from batch_bridge._sqlite.private_files import claim_database, lock_file, make_folder, open_new
from batch_bridge.testing._server.errors import BatchServerError

T = TypeVar("T")

LOCK_SECONDS = 2.0
"""How long a new server waits for the one before it, which may just be ending, to release the folder."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS files (
    ordinal INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, tenant TEXT NOT NULL,
    filename TEXT NOT NULL, purpose TEXT NOT NULL, bytes INTEGER NOT NULL,
    created_at REAL NOT NULL, expires_at REAL
);
CREATE INDEX IF NOT EXISTS files_of ON files (tenant, ordinal);
CREATE TABLE IF NOT EXISTS batches (
    ordinal INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, tenant TEXT NOT NULL,
    status TEXT NOT NULL, visible_at REAL NOT NULL, created_at REAL NOT NULL, record BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS batches_of ON batches (tenant, ordinal);
CREATE INDEX IF NOT EXISTS batches_in ON batches (status);
CREATE TABLE IF NOT EXISTS paid (identity BLOB PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS bodies (digest BLOB PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS repeats (batch_id TEXT NOT NULL, custom_id TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS responses (
    ordinal INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, tenant TEXT NOT NULL,
    created_at INTEGER NOT NULL, began_at REAL NOT NULL, due_at REAL NOT NULL, ended_at REAL, stored INTEGER NOT NULL,
    status TEXT NOT NULL, identity BLOB NOT NULL, body BLOB NOT NULL, answer BLOB
);
CREATE INDEX IF NOT EXISTS responses_due ON responses (status, due_at);
CREATE TABLE IF NOT EXISTS clock (
    id INTEGER PRIMARY KEY CHECK (id = 0), machine REAL NOT NULL, shown REAL NOT NULL, speed REAL NOT NULL
);
CREATE TABLE IF NOT EXISTS totals (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
"""


class Database:
    """Reads on the caller's thread, writes on one thread of its own.

    Args:
        folder: The state folder; made if it is missing. One server at a time may use it.

    Raises:
        BatchServerError: Another server uses the folder, or it cannot be used at all.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.contents = folder / "files"
        self.inputs = folder / "inputs"
        try:
            make_folder(folder)
            for each in (self.contents, self.inputs):
                make_folder(each, ours=True)
            self._lock = lock_file(folder / "server.lock")
            self._lock.acquire(timeout=LOCK_SECONDS)
            claim_database(folder / "server.db")
            self._writer = self._connect()
            self._writer.executescript(_SCHEMA)
            self.reader = self._connect()
        except Timeout as error:
            raise BatchServerError(
                f"the state folder {folder} is in use by another server; stop it or choose another folder."
            ) from error
        except (OSError, sqlite3.Error) as error:
            raise BatchServerError(
                f"the state folder {folder} cannot be used: {error}. Choose another one, or delete it."
            ) from error
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="writer")

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.folder / "server.db", isolation_level=None, check_same_thread=False)
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")
        connection.execute("PRAGMA busy_timeout=10000")
        return connection

    async def write(self, change: Callable[[sqlite3.Connection], T]) -> T:
        """Run the change in a transaction of its own; all of it is on disk afterwards, or nothing.

        The change runs to its end also when the caller is cancelled.
        """
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._transact, change)

    def _transact(self, change: Callable[[sqlite3.Connection], T]) -> T:
        self._writer.execute("BEGIN IMMEDIATE")
        try:
            result = change(self._writer)
        except BaseException:
            self._writer.execute("ROLLBACK")
            raise
        self._writer.execute("COMMIT")
        return result

    def close(self) -> None:
        """Finish what is being written and release the folder."""
        self._thread.shutdown()
        self.reader.close()
        self._writer.close()
        self._lock.release()

    def keep(self, lines: Iterable[bytes], name: str) -> None:
        """Write lines as an input under a name of ours; one that no batch comes to use goes with the next start."""
        with open_new(self.inputs / name) as out:
            out.writelines(lines)

    def snapshot(self, content: Path, name: str) -> Path:
        """Keep a file's content under a name of ours, whatever becomes of the file."""
        path = self.inputs / name
        path.unlink(missing_ok=True)
        try:
            path.hardlink_to(content)
        except OSError:
            with content.open("rb") as source, open_new(path) as out:
                shutil.copyfileobj(source, out)
        return path


def add(connection: sqlite3.Connection, **amounts: int) -> None:
    """Add to the totals."""
    connection.executemany(
        "INSERT INTO totals VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = value + excluded.value",
        [(name, amount) for name, amount in amounts.items() if amount],
    )
