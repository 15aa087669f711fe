"""The rows of the Runner's file: what ledgers and their neighbours keep there."""

import asyncio
import sqlite3
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

import orjson
from langgraph.store.base import GetOp, Op, PutOp, Result

from batch_bridge._sqlite.insertion import Insert, Row
from batch_bridge._sqlite.items import read, to_prefix
from batch_bridge._sqlite.readers import Readers
from batch_bridge._sqlite.writer import Writer

ITEMS = Insert(
    "INSERT OR REPLACE INTO store (prefix, key, value, created_at, updated_at, expires_at, ttl_minutes) VALUES",
    "(?, ?, ?, CURRENT_TIMESTAMP, CURRENT_TIMESTAMP, NULL, NULL)",
)
_DELETE = "DELETE FROM store WHERE prefix = ? AND key = ?"

GETS_ON_THE_LOOP = 16
"""How many items may be read on the event loop's own thread; so many take as long as a hop to another one."""

Key = tuple[str, str]


class SqliteRows:
    """Rows whose writes are committed in groups, together with those of the checkpointer of the same file.

    It is what ledgers ask of a LangGraph store (`Rows`), and no more. Table and encodings are those of
    `langgraph.store.sqlite.aio.AsyncSqliteStore`: either can open the other's file. Every write returns once it is on
    disk, and a batch is stored whole or not at all. The reads of a batch see one state of the file, that before the
    batch's own puts; a batch that only reads waits for no writer. Searches find the newest item first.

    Args:
        writer: The thread that writes the file.
        readers: Connections to the same file.
    """

    def __init__(self, writer: Writer, readers: Readers) -> None:
        self._writer = writer
        self._readers = readers

    async def abatch(self, ops: Iterable[Op]) -> list[Result]:
        """Do many things at once; the answers come in the order of `ops`.

        Raises:
            TypeError: An operation asks for more than this can do, or a value is no JSON. Nothing was stored.
            InvalidNamespaceError: A namespace cannot be stored. Nothing was stored.
        """
        ops = list(ops)
        reads, rows, deletions = _sort(ops)
        if not reads:
            answers: list[Result] = []
        elif len(reads) <= GETS_ON_THE_LOOP and all(type(op) is GetOp for op in reads):
            answers = self._read(reads)
        else:
            answers = await asyncio.to_thread(self._read, reads)
        if deletions:
            await self._writer.call(partial(_put, rows=rows, deletions=deletions))
        elif rows:
            await self._writer.insert(ITEMS, rows)
        return _in_order(ops, answers)

    def _read(self, ops: Sequence[Op]) -> list[Result]:
        reader = self._readers.take()
        try:
            return read(reader.connection, ops)
        finally:
            self._readers.give_back(reader)


def _sort(ops: Sequence[Op]) -> tuple[list[Op], list[Row], list[Key]]:
    """Part what is read, put and deleted; of several puts of one key the last one counts."""
    reads: list[Op] = []
    puts: dict[Key, bytes | None] = {}
    for op in ops:
        if isinstance(op, PutOp):
            puts[to_prefix(op.namespace), op.key] = _encode(op)
        else:
            reads.append(op)
    rows = [(prefix, key, value) for (prefix, key), value in puts.items() if value is not None]
    return reads, rows, [where for where, value in puts.items() if value is None]


def _encode(op: PutOp) -> bytes | None:
    if op.index or op.ttl is not None:
        raise TypeError(f"the item {op.key!r} of {op.namespace!r} was put with index= or ttl=, which the file has not")
    return None if op.value is None else orjson.dumps(dict(op.value))


def _put(connection: sqlite3.Connection, *, rows: Sequence[Row], deletions: Sequence[Key]) -> None:
    connection.executemany(_DELETE, deletions)
    ITEMS.run(connection, rows)


def _in_order(ops: Sequence[Op], answers: Iterable[Any]) -> list[Result]:
    found = iter(answers)
    return [None if isinstance(op, PutOp) else next(found) for op in ops]
