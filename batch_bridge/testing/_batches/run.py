"""Drives one batch from its creation, or from where a killed server left it, to its end."""

import asyncio
import contextlib
import sqlite3
import sys
import time
import traceback
from pathlib import Path
from typing import Any, Literal

from batch_bridge._sqlite.private_files import touch
from batch_bridge.testing._batches.batch import ServedBatch, Status, problem
from batch_bridge.testing._batches.batches import enqueued_tokens
from batch_bridge.testing._batches.database import add
from batch_bridge.testing._batches.execution import Execution
from batch_bridge.testing._batches.files import KEPT_SECONDS, File, find_file, insert_file
from batch_bridge.testing._batches.form import form_of
from batch_bridge.testing._batches.inspection import Inspection, inspect, scan
from batch_bridge.testing._server.context import Context

VALIDATING, RUNNING, FINALIZING = 0.1, 0.8, 0.1
"""Which share of the latency a batch spends in which status."""

PACES = 25
"""In so many paces a batch's lines run at most, however many they are; keeps many small batches cheap."""


class BatchRun:
    """One live batch.

    Args:
        context: The server's parts.
        batch_id: The batch.
    """

    def __init__(self, context: Context, batch_id: str) -> None:
        self._context = context
        self._id = batch_id
        self._wake = asyncio.Event()
        self._execution: Execution | None = None

    def wake(self) -> None:
        """Look again: the batch was cancelled, or the settings have changed."""
        self._wake.set()

    async def drive(self) -> ServedBatch:
        """Work until the batch has ended. What goes wrong in here fails this batch and no other."""
        try:
            while True:
                self._wake.clear()
                batch = self._context.batches.load(self._id)
                if batch.ended:
                    break
                await self._advance(batch)
        except Exception as error:  # noqa: BLE001 - one broken batch must not end the server
            traceback.print_exception(error, file=sys.stderr)
            text = f"The server failed on this batch: {type(error).__name__}: {error}"
            batch = await self._fail(problem("server_error", text))
        self._snapshot.unlink(missing_ok=True)
        return batch

    async def _advance(self, batch: ServedBatch) -> None:
        match batch.status:
            case "validating":
                await self._validate(batch)
            case "in_progress":
                await self._run(batch)
            case "finalizing":
                if await self._due((batch.finalizing_at or 0) + FINALIZING * self._context.settings.latency):
                    await self._end(batch, batch.ending)
            case "cancelling":
                if await self._due((batch.cancelling_at or 0) + self._context.settings.cancel_seconds):
                    await self._end(batch, "cancelled")
            case "completed" | "failed" | "expired" | "cancelled":
                pass

    @property
    def _snapshot(self) -> Path:
        return self._context.database.inputs / self._id

    async def _due(self, moment: float) -> bool:
        """Whether the moment has come; otherwise wait for it, or for something to happen."""
        wait = moment - time.time()
        if wait <= 0:
            return True
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._wake.wait(), wait)
        return False

    async def _validate(self, batch: ServedBatch) -> None:
        if not await self._due(batch.visible_at + VALIDATING * self._context.settings.latency):
            return
        if not await self._context.database.write(lambda connection: self._take(connection, batch)):
            text = f"The input file {batch.input_file_id} does not exist any more; nothing was run."
            await self._fail(problem("input_file_not_found", text, param="input_file_id"))
            return
        limits = self._context.settings.limits
        found = await asyncio.to_thread(self._inspect, batch)
        fault = None
        can_fail = not form_of(batch.endpoint).checked_at_create
        if can_fail and self._context.draws.hits("batch_failure", batch.ordinal):
            self._context.draws.fired["batch_failure"] += 1
            code = self._context.settings.faults.batch_failure_code
            fault = problem(code, f"A fault of the test server: this batch failed with {code}.")

        def verdict(connection: sqlite3.Connection, now: ServedBatch) -> ServedBatch:
            if now.status != "validating":
                return now
            problems = found.problems or ((fault,) if fault else ())
            if not problems and limits.enqueued_tokens is not None:
                queued = enqueued_tokens(connection, now, found.model) + found.tokens
                if queued > limits.enqueued_tokens:
                    problems = (_over_limit(found.model, limits.enqueued_tokens, queued),)
            if problems:
                return self._ended(now, "failed", errors=problems)
            size = self._snapshot.stat().st_size if now.input_file_id else 0  # else counted when it came
            add(connection, requests=found.total, input_bytes=size)
            return now.to("in_progress", time.time(), total=found.total, model=found.model, tokens=found.tokens)

        after = await self._context.batches.change(batch.id, verdict)
        if after.status == "in_progress":
            offsets = found.offsets
            self._execution = await asyncio.to_thread(Execution, self._context, after, self._snapshot, offsets)

    def _take(self, connection: sqlite3.Connection, batch: ServedBatch) -> bool:
        """Take the input, from when on its deletion changes nothing; false if it is gone."""
        if self._snapshot.exists():
            return True
        content = self._context.files.path(batch.input_file_id)
        if find_file(connection, batch.tenant, batch.input_file_id) is None or not content.exists():
            return False
        self._context.database.snapshot(content, self._id)
        return True

    def _inspect(self, batch: ServedBatch) -> Inspection:
        with self._snapshot.open("rb") as lines:
            if form_of(batch.endpoint).checked_at_create:
                return Inspection(problems=(), offsets=scan(lines), model=None, tokens=0)
            limits = self._context.settings.limits
            return inspect(lines, endpoint=batch.endpoint, limits=limits, model=batch.model)

    def _ended(self, batch: ServedBatch, status: Status, **changes: Any) -> ServedBatch:
        silent = self._context.settings.webhook_url is None
        return batch.to(status, time.time(), announced=silent, **changes)

    async def _fail(self, why: dict[str, object]) -> ServedBatch:
        def fail(_: sqlite3.Connection, batch: ServedBatch) -> ServedBatch:
            return batch if batch.ended else self._ended(batch, "failed", errors=(why,))

        return await self._context.batches.change(self._id, fail)

    async def _run(self, batch: ServedBatch) -> None:
        now = time.time()
        context = self._context
        faults = context.settings.faults
        began, lasts = batch.in_progress_at or now, RUNNING * context.settings.latency
        expires = context.draws.hits("expiry", batch.ordinal)
        sticks = context.draws.hits("stuck", batch.ordinal)
        cap = batch.total
        if expires:
            cap = min(cap, int(faults.expiry_share * batch.total))
        if sticks:
            cap = min(cap, int(faults.stuck_share * batch.total))
        paced = batch.total if not lasts else int(batch.total * max(0.0, now - began) / lasts)
        if now >= batch.expires_at:
            await self._finalize(batch, "expired")
        elif batch.done < min(cap, paced):
            await (await self._opened(batch)).step(batch, min(cap, paced))
        elif batch.done < cap:
            due = began + lasts * (batch.done + 1) / batch.total
            await self._due(min(max(due, now + lasts / PACES), batch.expires_at))
        elif sticks and not (expires and faults.expiry_share <= faults.stuck_share):
            context.draws.fired["stuck"] = max(1, context.draws.fired["stuck"])
            await self._due(batch.expires_at)
        elif expires and await self._due(min(began + lasts * faults.expiry_share, batch.expires_at)):
            context.draws.fired["expiry"] += 1
            await self._finalize(batch, "expired")
        elif not expires and await self._due(min(began + lasts, batch.expires_at)):
            await self._finalize(batch, "completed")

    async def _opened(self, batch: ServedBatch) -> Execution:
        if self._execution is None:
            self._execution = await asyncio.to_thread(Execution, self._context, batch, self._snapshot, None)
        return self._execution

    async def _finalize(self, batch: ServedBatch, ending: Literal["completed", "expired"]) -> None:
        def finalize(_: sqlite3.Connection, now: ServedBatch) -> ServedBatch:
            return now.to("finalizing", time.time(), ending=ending) if now.status == "in_progress" else now

        await self._context.batches.change(batch.id, finalize)

    async def _end(self, batch: ServedBatch, ending: Literal["completed", "expired", "cancelled"]) -> None:
        length = batch.error_bytes
        if batch.done < batch.total and ending != "completed":
            code: Literal["batch_expired", "batch_cancelled"] = (
                "batch_expired" if ending == "expired" else "batch_cancelled"
            )
            length = await asyncio.to_thread((await self._opened(batch)).write_rest, batch, code)

        def end(connection: sqlite3.Connection, now: ServedBatch) -> ServedBatch:
            if now.status != batch.status:
                return now
            ended = self._ended(now, ending, error_bytes=length)
            for file_id, size, kind in (
                (ended.output_file_id, ended.output_bytes, "output"),
                (ended.error_file_id, ended.error_bytes, "error"),
            ):
                if size or (kind == "output" and ended.has_output):
                    touch(self._context.files.path(file_id))
                    insert_file(connection, _result_file(ended, file_id, size, kind))
            unrun = ended.total - ended.done
            add(connection, **({ending: unrun} if ending != "completed" else {}))
            return ended

        self._context.prompt_cache.ended(batch.id)
        await self._context.batches.change(batch.id, end)


def _over_limit(model: str | None, limit: int, queued: int) -> dict[str, object]:
    return problem(
        "token_limit_exceeded",
        f"Enqueued token limit reached for {model}: {limit} tokens, and {queued} with this batch. "
        "Please try again once some batches have ended.",
    )


def _result_file(batch: ServedBatch, file_id: str, size: int, kind: str) -> File:
    now = time.time()
    return File(
        id=file_id,
        tenant=batch.tenant,
        filename=f"{batch.id}_{kind}.jsonl",
        purpose="batch_output",
        bytes=size,
        created_at=now,
        expires_at=now + (batch.output_expires_after or KEPT_SECONDS),
    )
