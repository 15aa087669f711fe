"""Runs the lines of one batch, piece by piece; each piece is committed together with what it cost."""

import asyncio
import sqlite3
import time
from array import array
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import orjson

from batch_bridge._sqlite.private_files import touch
from batch_bridge.testing._batches.batch import ServedBatch
from batch_bridge.testing._batches.chunk import (
    CHUNK_LINES,
    Chunk,
    RequestLine,
    append_at,
    chunk_end,
    read_lines,
    running_order,
    unrun_line,
    write_lines,
)
from batch_bridge.testing._batches.database import add
from batch_bridge.testing._batches.endpoints import MESSAGES
from batch_bridge.testing._batches.form import form_of
from batch_bridge.testing._batches.inspection import scan
from batch_bridge.testing._server.context import Context

PIECE_SECONDS = 0.25
"""A piece should not take longer than this, so that progress shows and a cancel is soon obeyed."""

FIRST_PIECE = 16


class Execution:
    """The input of one batch, opened, and the order in which it runs.

    Args:
        context: The server's parts.
        batch: The batch, past validation.
        source: Its input file, which nothing changes any more.
        offsets: Start and length of each line, if they are known from the validation.
    """

    def __init__(self, context: Context, batch: ServedBatch, source: Path, offsets: "array[int] | None") -> None:
        self._context = context
        self._source = source
        self._offsets = offsets if offsets is not None else self._scan()
        self._order = running_order(batch, len(self._offsets) // 2)
        self._piece = max(FIRST_PIECE, context.answerer.concurrency)

    def _scan(self) -> "array[int]":
        with self._source.open("rb") as lines:
            return scan(lines)

    async def step(self, batch: ServedBatch, stop: int) -> ServedBatch:
        """Run lines from where the batch stands, at most up to `stop`, and commit them.

        The slot is held until the commit, because a piece stays in memory until then. Other servers are asked
        without a slot: they keep their own bound.
        """
        started = time.monotonic()
        stop = min(stop, batch.done + self._piece)
        if self._context.answerer.remote:
            after = await self._step(batch, stop)
        else:
            async with self._context.slots:
                after = await self._step(batch, stop)
        self._adapt(time.monotonic() - started, batch.done + self._piece <= stop)
        return after

    async def _step(self, batch: ServedBatch, stop: int) -> ServedBatch:
        lines = await asyncio.to_thread(self._read, batch, stop)
        asked = [line.request for line in lines if line.failure is None]
        told = await self._context.answerer.many(asked) if asked else []
        if batch.endpoint == MESSAGES:
            told = self._context.prompt_cache.charge(asked, told, tenant=batch.tenant, batch=batch.id)
        given = iter(told)
        answers = [line.failure or next(given) for line in lines]
        chunk = await asyncio.to_thread(write_lines, batch, lines, answers, self._context.draws)
        after = await self._context.batches.change(
            batch.id, lambda connection, now: self._commit(connection, now, chunk)
        )
        self._context.draws.fired.update(chunk.fired)
        return after

    def _adapt(self, seconds: float, full: bool) -> None:  # noqa: FBT001
        if seconds > 2 * PIECE_SECONDS:
            self._piece = max(self._context.answerer.concurrency, self._piece // 2)
        elif full and seconds < PIECE_SECONDS:
            self._piece = min(max(CHUNK_LINES, self._context.answerer.concurrency), self._piece * 2)

    def _read(self, batch: ServedBatch, stop: int) -> list[RequestLine]:
        end = chunk_end(self._offsets, self._order, batch.done, stop)
        with self._source.open("rb") as source:
            return read_lines(source, self._offsets, self._order[batch.done : end], batch, self._context.draws)

    def _commit(self, connection: sqlite3.Connection, batch: ServedBatch, chunk: Chunk) -> ServedBatch:
        paths = self._context.files
        output = append_at(paths.path(batch.output_file_id), batch.output_bytes, chunk.output)
        errors = append_at(paths.path(batch.error_file_id), batch.error_bytes, chunk.errors)
        twice, repeated = _pay(connection, batch.id, chunk.paid)
        failed = chunk.lines - chunk.completed
        into, cached, out, reasoning = chunk.usage
        add(
            connection,
            executed=chunk.lines,
            paid=chunk.completed,
            paid_twice=twice,
            bodies_repeated=repeated,
            failed=failed,
            input_tokens=into,
            output_tokens=out,
        )
        return replace(
            batch,
            done=batch.done + chunk.lines,
            completed=batch.completed + chunk.completed,
            failed=batch.failed + failed,
            input_tokens=batch.input_tokens + into,
            cached_tokens=batch.cached_tokens + cached,
            output_tokens=batch.output_tokens + out,
            reasoning_tokens=batch.reasoning_tokens + reasoning,
            output_bytes=output,
            error_bytes=errors,
        )

    def write_rest(self, batch: ServedBatch, code: Literal["batch_expired", "batch_cancelled"]) -> int:
        """Write what never ran into the error file; returns the file's length. May be repeated."""
        target = self._context.files.path(batch.error_file_id)
        touch(target)
        with self._source.open("rb") as source, target.open("r+b") as out:
            out.truncate(batch.error_bytes)
            out.seek(batch.error_bytes)
            for index in self._order[batch.done :]:
                source.seek(self._offsets[2 * index])
                line = orjson.loads(source.read(self._offsets[2 * index + 1]))
                out.write(unrun_line(batch, line[form_of(batch.endpoint).custom_id], code))
            return out.tell()


def _pay(connection: sqlite3.Connection, batch_id: str, paid: Sequence[tuple[bytes, bytes, str]]) -> tuple[int, int]:
    """Record what was paid; returns how many were paid before, and how many bodies were under another id."""
    twice, repeated = [], 0
    for identity, body, custom_id in paid:
        if connection.execute("INSERT OR IGNORE INTO paid VALUES (?)", (identity,)).rowcount == 0:
            twice.append((batch_id, custom_id))
        elif connection.execute("INSERT OR IGNORE INTO bodies VALUES (?)", (body,)).rowcount == 0:
            repeated += 1
    connection.executemany("INSERT INTO repeats VALUES (?, ?)", twice)
    return len(twice), repeated
