"""Files: a row for each, and its content beside the database."""

import sqlite3
import time
import uuid
from collections.abc import Container
from dataclasses import dataclass
from pathlib import Path

from batch_bridge.testing._batches.database import Database
from batch_bridge.testing._server.errors import not_found

PURPOSES = ("assistants", "batch", "batch-api", "batch_output", "evals", "fine-tune", "user_data", "vision")
"""OpenAI's, and Together's `batch-api`."""
KEPT_SECONDS = 30 * 86_400
"""How long batch files are kept unless the client says otherwise. Source: the API reference for files."""

_COLUMNS = "id, tenant, filename, purpose, bytes, created_at, expires_at"


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """One file; times in seconds since the epoch."""

    id: str
    tenant: str
    filename: str
    purpose: str
    bytes: int
    created_at: float
    expires_at: float | None

    def wire(self) -> dict[str, object]:
        """The file object as the API shows it."""
        return {
            "id": self.id,
            "object": "file",
            "bytes": self.bytes,
            "created_at": int(self.created_at),
            "expires_at": None if self.expires_at is None else int(self.expires_at),
            "filename": self.filename,
            "purpose": self.purpose,
            "status": "processed",
            "status_details": None,
        }


def new_file_id() -> str:
    """An id that no other file has."""
    return f"file-{uuid.uuid4().hex[:24]}"


class Files:
    """The files of all tenants."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def path(self, file_id: str) -> Path:
        """Where the content of a file lies; ids are ours, so this is always inside the folder."""
        return self._database.contents / file_id

    def get(self, tenant: str, file_id: str) -> File:
        """One file.

        Raises:
            WireError: 404; it does not exist, belongs to another tenant, or has expired.
        """
        file = find_file(self._database.reader, tenant, file_id)
        if file is None:
            raise not_found("file", file_id)
        return file

    def page(
        self, tenant: str, *, purpose: str | None, after: str | None, limit: int, oldest_first: bool
    ) -> tuple[list[File], bool]:
        """Some files of a tenant, and whether there are more."""
        sign, way = (">", "ASC") if oldest_first else ("<", "DESC")
        where, values = ["tenant = ?", "(expires_at IS NULL OR expires_at > ?)"], [tenant, time.time()]
        if purpose is not None:
            where.append("purpose = ?")
            values.append(purpose)
        if after is not None:
            self.get(tenant, after)
            where.append(f"ordinal {sign} (SELECT ordinal FROM files WHERE id = ?)")  # noqa: S608
            values.append(after)
        conditions = " AND ".join(where)
        conditions = " AND ".join(where)
        query = f"SELECT {_COLUMNS} FROM files WHERE {conditions} ORDER BY ordinal {way} LIMIT ?"  # noqa: S608
        rows = self._database.reader.execute(query, [*values, limit + 1]).fetchall()
        return [_file(row) for row in rows[:limit]], len(rows) > limit

    async def add(self, file: File) -> None:
        """Make a file known whose content is in its place already."""
        await self._database.write(lambda connection: insert_file(connection, file))

    async def delete(self, tenant: str, file_id: str) -> None:
        """Delete a file.

        Raises:
            WireError: 404, as in `get`.
        """

        def delete(connection: sqlite3.Connection) -> None:
            if find_file(connection, tenant, file_id) is None:
                raise not_found("file", file_id)
            connection.execute("DELETE FROM files WHERE id = ?", (file_id,))

        await self._database.write(delete)
        self.path(file_id).unlink(missing_ok=True)

    async def sweep(self) -> None:
        """Delete what has expired."""

        def expired(connection: sqlite3.Connection) -> list[str]:
            rows = connection.execute("DELETE FROM files WHERE expires_at <= ? RETURNING id", (time.time(),))
            return [row[0] for row in rows.fetchall()]

        for file_id in await self._database.write(expired):
            self.path(file_id).unlink(missing_ok=True)

    def tidy(self, growing: Container[str]) -> None:
        """Delete what a killed server left behind; only before this one takes its first call.

        Args:
            growing: Ids of the files that live batches are writing.
        """
        known = {row[0] for row in self._database.reader.execute("SELECT id FROM files")}
        for path in self._database.contents.iterdir():
            if path.name not in known and path.name not in growing:
                path.unlink(missing_ok=True)


def find_file(connection: sqlite3.Connection, tenant: str, file_id: str) -> File | None:
    """The tenant's file of this id, unless it has expired."""
    row = connection.execute(
        f"SELECT {_COLUMNS} FROM files WHERE id = ? AND tenant = ?",  # noqa: S608
        (file_id, tenant),
    ).fetchone()
    if row is None:
        return None
    file = _file(row)
    return file if file.expires_at is None or file.expires_at > time.time() else None


def insert_file(connection: sqlite3.Connection, file: File) -> None:
    """Add a row for the file."""
    connection.execute(
        f"INSERT INTO files ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?)",  # noqa: S608
        (file.id, file.tenant, file.filename, file.purpose, file.bytes, file.created_at, file.expires_at),
    )


def _file(row: tuple[str, str, str, str, int, float, float | None]) -> File:
    return File(
        id=row[0],
        tenant=row[1],
        filename=row[2],
        purpose=row[3],
        bytes=row[4],
        created_at=row[5],
        expires_at=row[6],
    )
