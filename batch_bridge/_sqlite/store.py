"""The store."""

import asyncio
import sqlite3
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

import orjson
from langgraph.store.base import BaseStore, GetOp, Op, PutOp, Result

from batch_bridge._sqlite.insertion import Insert, Row
from batch_bridge._sqlite.items import read, to_prefix
from batch_bridge._sqlite.readers import Readers
from batch_bridge._sqlite.writer import Writer
from batch_bridge.errors import UsageError

ITEMS = Insert(
    "INSERT OR REPLACE INTO store (prefix, key, value, created_at, updated_at, expires_at, ttl_minutes) VALUES",
    "(?, ?, ?, CURRENT_TIMESTAMP, CURRENT_TIMESTAMP, NULL, NULL)",
)
_DELETE = "DELETE FROM store WHERE prefix = ? AND key = ?"

GETS_ON_THE_LOOP = 16
"""How many items may be read on the event loop's own thread; so many take as long as a hop to another one."""

Key = tuple[str, str]


class GroupedSqliteStore(BaseStore):
    """A store whose writes are committed in groups, together with those of the checkpointer of the same file.

    Table and encodings are those of `langgraph.store.sqlite.aio.AsyncSqliteStore`: either can open the
    other's file. Every write returns once it is on disk, and a batch is stored whole or not at all. The reads
    of a batch see one state of the file, that before the batch's own puts; a batch that only reads waits for
    no writer. Searches find the newest item first.

    Neither vectors nor expiry: `index=` and `ttl=` are refused. Items that LangGraph's store has given a time
    to live are read as it reads them, until somebody sweeps them away.

    The methods without an `a` block the calling thread, which may be that of an event loop.

    Args:
        writer: The thread that writes the file.
        readers: Connections to the same file.
    """

    supports_ttl = False

    def __init__(self, writer: Writer, readers: Readers) -> None:
        self._writer = writer
        self._readers = readers

    async def abatch(self, ops: Iterable[Op]) -> list[Result]:
        """Do many things at once; the answers come in the order of `ops`.

        Raises:
            UsageError: A put asks for an index or a time to live. Nothing was stored.
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

    def batch(self, ops: Iterable[Op]) -> list[Result]:
        """As `abatch`, blocking."""
        ops = list(ops)
        reads, rows, deletions = _sort(ops)
        answers = self._read(reads) if reads else []
        if rows or deletions:
            self._writer.call_blocking(partial(_put, rows=rows, deletions=deletions))
        return _in_order(ops, answers)

    def _read(self, ops: Sequence[Op]) -> list[Result]:
        with self._readers.borrow() as reader:
            return read(reader.connection, ops)


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
    if op.index:
        raise UsageError(
            f"The item {op.key!r} of {op.namespace!r} was put with index={op.index!r}, but the Runner's file "
            "has no vector index. Put it without `index=`, or give the Runner a store of your own."
        )
    if op.ttl is not None:
        raise UsageError(
            f"The item {op.key!r} of {op.namespace!r} was put with ttl={op.ttl!r}, but nothing "
            "in the Runner's file expires. Put it without `ttl=`, or give the Runner a store of your own."
        )
    return None if op.value is None else orjson.dumps(dict(op.value))


def _put(connection: sqlite3.Connection, *, rows: Sequence[Row], deletions: Sequence[Key]) -> None:
    connection.executemany(_DELETE, deletions)
    ITEMS.run(connection, rows)


def _in_order(ops: Sequence[Op], answers: Iterable[Any]) -> list[Result]:
    found = iter(answers)
    return [None if isinstance(op, PutOp) else next(found) for op in ops]
