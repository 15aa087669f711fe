"""Connections to the Postgres that threads, checkpoints and ledgers are in. Needs the extra `pool`, or Aegra."""

from typing import Any, Final

from psycopg import AsyncConnection
from psycopg.rows import dict_row
from psycopg_pool import AsyncConnectionPool

_SILENCE: Final = "15s"
"""After so much silence in the middle of a transaction Postgres ends a session: a process that was stopped would hold
its locks for as long as it sleeps."""


def connections(dsn: str, most: int) -> "AsyncConnectionPool[Any]":
    """Return a pool of connections as LangGraph's savers want them. It is not open yet.

    Args:
        dsn: The database.
        most: How many connections it holds at most.
    """
    return AsyncConnectionPool(
        dsn,
        min_size=1,
        max_size=most,
        open=False,
        kwargs={"autocommit": True, "prepare_threshold": 0, "row_factory": dict_row},
        configure=_configure,
    )


async def _configure(connection: "AsyncConnection[Any]") -> None:
    """Have a session end that stands still, and rows found by their indexes: a plan is made once, of a small table."""
    for setting in (f"idle_in_transaction_session_timeout = '{_SILENCE}'", "enable_seqscan = off", "jit = off"):
        await connection.execute(f"SET {setting}".encode())
