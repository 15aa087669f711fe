"""What a pool has in Postgres: tables that are made where they are missing."""

import asyncio
from typing import Any, Final

import psycopg
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from langgraph.store.postgres.aio import AsyncPostgresStore
from procrastinate import App
from psycopg_pool import AsyncConnectionPool

from batch_bridge.pool._thread_table import TABLE

_SETUP: Final = 0x62625345
"""The advisory lock of the process that makes the tables."""
_PAUSE: Final = 0.2


async def make_tables(dsn: str, pool: "AsyncConnectionPool[Any]", app: App) -> None:
    """Make the tables of LangGraph, of procrastinate and of the pool, where they are missing. Idempotent.

    The lock is tried for, and not waited for: an index that is made concurrently waits for all who wait.
    """
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
        while not await _one(connection, f"SELECT pg_try_advisory_lock({_SETUP})"):  # noqa: ASYNC110
            await asyncio.sleep(_PAUSE)
        if await _one(connection, "SELECT to_regclass('procrastinate_jobs') IS NULL"):
            await app.schema_manager.apply_schema_async()
        await AsyncPostgresSaver(pool).setup()
        await AsyncPostgresStore(pool).setup()
        await connection.execute(TABLE.encode())


async def _one(connection: psycopg.AsyncConnection[Any], query: str) -> Any:
    cursor = await connection.execute(query.encode())
    row = await cursor.fetchone()
    return row and row[0]
