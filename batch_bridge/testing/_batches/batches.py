"""The batches of all tenants, as the database holds them."""

import math
import sqlite3
import time
from collections.abc import Callable
from dataclasses import replace

from batch_bridge.testing._batches.batch import ENDED, ServedBatch
from batch_bridge.testing._batches.database import Database
from batch_bridge.testing._server.errors import WireError, not_found

_LIVE = f"status NOT IN ({', '.join(repr(status) for status in sorted(ENDED))})"
HOUR = 3_600.0


class Batches:
    """Reads and changes batches; a change reads the row it changes inside its own transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def load(self, batch_id: str) -> ServedBatch:
        """Return a batch of any tenant."""
        return load_batch(self._database.reader, batch_id)

    def get(self, tenant: str, batch_id: str) -> ServedBatch:
        """Return a batch that the tenant can see.

        Raises:
            WireError: 404; it does not exist, belongs to another tenant, or is not visible yet.
        """
        row = self._database.reader.execute(
            "SELECT record FROM batches WHERE id = ? AND tenant = ? AND visible_at <= ?",
            (batch_id, tenant, time.time()),
        ).fetchone()
        if row is None:
            raise not_found("batch", batch_id)
        return ServedBatch.load(row[0])

    def page_before(self, tenant: str, batch_id: str, *, limit: int) -> tuple[list[ServedBatch], bool]:
        """Visible batches of a tenant that come before this one in a listing, newest first, and whether more do."""
        rows = self._database.reader.execute(
            "SELECT record FROM batches WHERE tenant = ? AND ordinal > ? AND visible_at <= ? ORDER BY ordinal LIMIT ?",
            (tenant, self.get(tenant, batch_id).ordinal, time.time(), limit + 1),
        ).fetchall()
        return [ServedBatch.load(row[0]) for row in reversed(rows[:limit])], len(rows) > limit

    def page(self, tenant: str, *, after: str | None, limit: int) -> tuple[list[ServedBatch], bool]:
        """Visible batches of a tenant, newest first, and whether there are more."""
        before = self.get(tenant, after).ordinal if after is not None else 1 << 62
        rows = self._database.reader.execute(
            "SELECT record FROM batches WHERE tenant = ? AND ordinal < ? AND visible_at <= ? "
            "ORDER BY ordinal DESC LIMIT ?",
            (tenant, before, time.time(), limit + 1),
        ).fetchall()
        return [ServedBatch.load(row[0]) for row in rows[:limit]], len(rows) > limit

    def live(self) -> list[str]:
        """The ids of all batches that have not ended."""
        rows = self._database.reader.execute(f"SELECT id FROM batches WHERE {_LIVE} ORDER BY ordinal")  # noqa: S608
        return [row[0] for row in rows.fetchall()]

    async def add(self, batch: ServedBatch, *, per_hour: int | None) -> ServedBatch:
        """Store a new batch; it comes back with its ordinal.

        Raises:
            WireError: 429; the tenant has created as many as it may within an hour.
        """

        def insert(connection: sqlite3.Connection) -> ServedBatch:
            if per_hour is not None:
                _within_rate(connection, batch, per_hour)
            cursor = connection.execute(
                "INSERT INTO batches (id, tenant, status, visible_at, created_at, record) VALUES (?, ?, ?, ?, ?, ?)",
                (batch.id, batch.tenant, batch.status, batch.visible_at, batch.created_at, b""),
            )
            ordinal = cursor.lastrowid or 0
            seed = None if batch.order_seed is None else f"{batch.order_seed}:{ordinal}"
            added = replace(batch, ordinal=ordinal, order_seed=seed)
            save_batch(connection, added)
            return added

        return await self._database.write(insert)

    async def delete(self, batch_id: str) -> None:
        """Hide a batch from all tenants; it still counts."""

        def hide(connection: sqlite3.Connection) -> None:
            connection.execute("UPDATE batches SET visible_at = ? WHERE id = ?", (math.inf, batch_id))

        await self._database.write(hide)

    async def change(self, batch_id: str, how: Callable[[sqlite3.Connection, ServedBatch], ServedBatch]) -> ServedBatch:
        """Change one batch; the function gets the row as it is now, and the transaction."""

        def change(connection: sqlite3.Connection) -> ServedBatch:
            before = load_batch(connection, batch_id)
            after = how(connection, before)
            if after != before:
                save_batch(connection, after)
            return after

        return await self._database.write(change)


def load_batch(connection: sqlite3.Connection, batch_id: str) -> ServedBatch:
    """One batch by its id."""
    row = connection.execute("SELECT record FROM batches WHERE id = ?", (batch_id,)).fetchone()
    if row is None:
        raise not_found("batch", batch_id)
    return ServedBatch.load(row[0])


def save_batch(connection: sqlite3.Connection, batch: ServedBatch) -> None:
    """Write a batch over itself."""
    connection.execute("UPDATE batches SET status = ?, record = ? WHERE id = ?", (batch.status, batch.dump(), batch.id))


def enqueued_tokens(connection: sqlite3.Connection, batch: ServedBatch, model: str | None) -> int:
    """Tokens of the tenant's other live batches of the same model."""
    rows = connection.execute(
        f"SELECT record FROM batches WHERE tenant = ? AND id != ? AND {_LIVE}",  # noqa: S608
        (batch.tenant, batch.id),
    )
    others = (ServedBatch.load(row[0]) for row in rows)
    return sum(other.tokens for other in others if other.model == model)


def _within_rate(connection: sqlite3.Connection, batch: ServedBatch, per_hour: int) -> None:
    since = batch.created_at - HOUR
    (count, first) = connection.execute(
        "SELECT count(*), min(created_at) FROM batches WHERE tenant = ? AND created_at > ?",
        (batch.tenant, since),
    ).fetchone()
    if count >= per_hour:
        wait = max(1, round((first or since) - since))
        raise WireError(
            429,
            f"Rate limit reached for batch creation: {per_hour} an hour. Please try again in {wait}s.",
            type="rate_limit_error",
            code="rate_limit_exceeded",
            headers={"Retry-After": str(wait)},
        )
