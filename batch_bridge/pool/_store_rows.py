"""The rows of LangGraph's store in Postgres, many in one statement that is always the same: it is prepared once."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import orjson
from langgraph.store.base import GetOp, Item, Op, PutOp
from langgraph.store.postgres.aio import AsyncPostgresStore
from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool

from batch_bridge._core.json.text import is_plain

_GET: Final = """
SELECT s.prefix, s.key, s.value, s.created_at, s.updated_at
FROM unnest(%b::text[], %b::text[]) AS asked(prefix, key)
CROSS JOIN LATERAL (SELECT * FROM store WHERE store.prefix = asked.prefix AND store.key = asked.key LIMIT 1) s
"""
_PUT: Final = """
WITH gone AS (
    DELETE FROM store WHERE ctid = ANY(ARRAY(
        SELECT s.ctid FROM unnest(%b::text[], %b::text[]) AS old(prefix, key)
        CROSS JOIN LATERAL (
            SELECT ctid FROM store WHERE store.prefix = old.prefix AND store.key = old.key LIMIT 1 FOR UPDATE
        ) s
    ))
)
INSERT INTO store (prefix, key, value, created_at, updated_at)
SELECT prefix, key, value::jsonb, CURRENT_TIMESTAMP, CURRENT_TIMESTAMP
FROM unnest(%b::text[], %b::text[], %b::text[]) AS new(prefix, key, value)
ON CONFLICT (prefix, key) DO UPDATE
SET value = EXCLUDED.value, updated_at = CURRENT_TIMESTAMP, expires_at = NULL, ttl_minutes = NULL
"""
"""A row is found by the index, whatever the planner thinks of the table: it may think so for long, of a small one."""

_Address = tuple[str, str]


class StoreRows:
    """See `Rows`. LangGraph's own store writes each value as a parameter of its own, and its text anew for each number.

    Args:
        connections: To the database of an `AsyncPostgresStore`, with rows as dicts.
    """

    def __init__(self, connections: "AsyncConnectionPool[Any]") -> None:
        self._connections = connections
        self._store = AsyncPostgresStore(connections)

    async def abatch(self, ops: Iterable[Op]) -> list[Any]:
        """See `Rows`. What is read in the same call as something is written is read before."""
        held = list(ops)
        results: list[Any] = [None] * len(held)
        gets = [(place, op) for place, op in enumerate(held) if isinstance(op, GetOp)]
        others = [(place, op) for place, op in enumerate(held) if not isinstance(op, GetOp | PutOp)]
        puts = [op for op in held if isinstance(op, PutOp)]
        if others:
            found = await self._store.abatch([op for _, op in others])
            for (place, _), each in zip(others, found, strict=True):
                results[place] = each
        if gets or puts:
            async with self._connections.connection() as connection:
                if gets:
                    items = await _get(connection, [op for _, op in gets])
                    for place, op in gets:
                        results[place] = items.get(_address(op))
                if puts:
                    await put(connection, puts)
        return results


async def put(connection: AsyncConnection[Any], ops: Sequence[PutOp]) -> None:
    """Write and delete rows, all or none. Of several operations on one row the last counts."""
    newest = {_address(op): op.value for op in ops}
    old = sorted(address for address, value in newest.items() if value is None)  # no two wait in a circle
    new = [(address, _text(newest[address])) for address in sorted(newest.keys() - set(old))]
    await connection.execute(
        _PUT,
        (
            [prefix for prefix, _ in old],
            [key for _, key in old],
            [prefix for (prefix, _), _ in new],
            [key for (_, key), _ in new],
            [text for _, text in new],
        ),
    )


async def _get(connection: AsyncConnection[Any], ops: Sequence[GetOp]) -> dict[_Address, Item]:
    asked = {_address(op): op.namespace for op in ops}
    cursor = await connection.execute(_GET, ([prefix for prefix, _ in asked], [key for _, key in asked]))
    return {
        (row["prefix"], row["key"]): Item(
            value=row["value"],
            key=row["key"],
            namespace=asked[row["prefix"], row["key"]],
            created_at=row["created_at"],
            updated_at=row["updated_at"],
        )
        for row in await cursor.fetchall()
    }


def _text(value: Mapping[str, Any] | None) -> str:
    """Return a value as JSON; one that psycopg would not read again is refused here, as by LangGraph's store."""
    return orjson.dumps(value).decode() if is_plain(value) else json.dumps(value)


def _address(op: GetOp | PutOp) -> _Address:
    return ".".join(op.namespace), op.key
