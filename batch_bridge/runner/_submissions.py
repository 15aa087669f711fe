"""Threads that a Runner drives without a waiting caller: one web request starts one, another asks for its result."""

import asyncio
import base64
import contextlib
import contextvars
from collections.abc import Coroutine
from dataclasses import replace
from functools import partial
from typing import Any, Final, cast

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.store.base import GetOp, PutOp, SearchOp

from batch_bridge._core.wording import log_text as _logged
from batch_bridge._core.wording.log import logger_of
from batch_bridge._ledger.rows import Rows
from batch_bridge._node.execution import leave_node
from batch_bridge.errors import RunMismatchError, RunnerStateError, SubmittedThreadError
from batch_bridge.runner._calls import Calls
from batch_bridge.runner._options import full_config
from batch_bridge.runner._results import Failed
from batch_bridge.runner._settings import RunTraits
from batch_bridge.runner._submitted import SetAside, SubmittedRun, SubmittedThread
from batch_bridge.runner._threads.recovery import DIGEST, digest_of, mismatch

logger = logger_of(__name__)

_MOST: Final = 1_000_000
"""Threads that one file may hold which were submitted and have not ended."""

AT_HAND: Final = 1000
"""Threads whose inputs are at hand while they wait to begin, unless it is said otherwise."""

_LINGER: Final = 0.2
"""Seconds in which threads that have ended gather, before their rows are deleted together."""
_MOST_LINGER: Final = 10.0
"""Seconds after which that is tried again, at most, while it fails."""

MOVED_ON: Final = object()
"""What becomes of the row of a thread that has since been given something else: the thread's own state counts."""


class Submissions:
    """The threads that were submitted to a Runner and have not ended. A row of the store keeps each through a crash.

    A row is written before `submit` returns, and deleted soon after the thread has ended, with those of others: its
    result is in its checkpoint, and is read again if the process ends before. That of a thread that has failed stays,
    with the error, until the thread is submitted again. No other code writes these rows, so this class knows them all.

    All of these threads are one call of the Runner, which runs only so many at the same time: what there is no room for
    waits, and but for some its inputs wait in the file.

    Args:
        rows: Where they are kept.
        name: Names the Runner's bridges: several Runners may share a store.
        saver: The checkpointer, by whose serializer inputs are kept.
        calls: The Runner's calls.
        at_hand: Threads whose inputs are at hand while they wait to begin; those of others are read from the file.
    """

    def __init__(
        self, rows: Rows, name: str, saver: BaseCheckpointSaver[Any], calls: Calls, *, at_hand: int = AT_HAND
    ) -> None:
        self._rows = rows
        self._namespace = ("batch_bridge_submitted", name)
        self._saver = saver
        self._calls = calls
        self._at_hand = at_hand
        self._context = contextvars.copy_context()  # no request's own
        self._live: dict[str, SubmittedThread] = {}
        self._waiting: dict[str, asyncio.Future[Any]] = {}
        """What callers wait for, by thread: its outcome."""
        self._call: SubmittedRun | None = None
        self._is_broken = False
        """Whether an error has ended a call, and nothing has come of the next so far."""
        self._work: set[asyncio.Task[None]] = set()
        self._stopped: set[str] = set()
        """Threads that have a row, and that nothing drives: they have failed, or were stopped."""
        self._finished: dict[str, None] = {}
        """Threads that have ended well, whose rows are to be deleted."""
        self._sweeping: asyncio.Task[None] | None = None
        self._deleting: dict[str, asyncio.Future[None]] = {}
        """Those of them whose rows are being deleted, and when that is over."""
        self._arriving: dict[str, asyncio.Task[None]] = {}
        """Threads that are being submitted: their rows are written."""
        self._is_closed = False

    async def open(self) -> None:
        """Go on with the threads that a process before this one was given, and has not ended."""
        (found,) = await self._rows.abatch([SearchOp(self._namespace, limit=_MOST)])
        for row in reversed(found):
            if "error" in row.value:
                self._stopped.add(row.key)
            else:
                self._start(row.key, row.value)
        if self._live:
            logger.info("continuing %d threads that were submitted before", len(self._live))

    async def close(self) -> None:
        """Stop. The next process continues what has not ended."""
        self._is_closed = True
        work = [*self._work, *self._arriving.values()]
        for task in work:
            task.cancel()
        await asyncio.gather(*work, return_exceptions=True)
        for waiting in self._waiting.values():
            waiting.cancel()
        if self._sweeping is not None:
            self._sweeping.cancel()
            await asyncio.gather(self._sweeping, return_exceptions=True)
        await self._has_swept()

    async def submit(self, thread_id: str, value: Any, config: RunnableConfig) -> None:
        """Run a thread, once. It is on disk when this returns. Idempotent: the same again is the same thread.

        Raises:
            RunMismatchError: The thread was submitted with another input.
        """
        digest = digest_of(value)
        while thread_id not in self._live and (earlier := self._arriving.get(thread_id)) is not None:
            await asyncio.wait((earlier,))
        if (known := self._live.get(thread_id)) is not None:
            if known.digest != digest:
                raise mismatch(0, thread_id)
            return
        arriving = asyncio.get_running_loop().create_task(self._arrive(thread_id, digest, value, config))
        self._arriving[thread_id] = arriving
        arriving.add_done_callback(partial(self._has_arrived, thread_id))
        try:
            await asyncio.shield(arriving)  # a row that nothing drives would be left else
        except asyncio.CancelledError:
            caller = asyncio.current_task()
            if not arriving.cancelled() or (caller is not None and caller.cancelling()):
                raise
            raise _closed(thread_id) from None

    async def find(self, thread_id: str) -> asyncio.Future[Any] | None:
        """Return a future for a thread's result; `None` if it was not submitted, or has ended. It may be `MOVED_ON`.

        Raises:
            SubmittedThreadError: It has failed.
        """
        while thread_id not in self._live and (arriving := self._arriving.get(thread_id)) is not None:
            await asyncio.wait((arriving,))
        if thread_id in self._live:
            return self._outcome(thread_id)
        row = await self._row(thread_id)
        if row is None:
            return None
        if "error" in row:
            raise SubmittedThreadError(
                f"thread {thread_id!r} has failed: {row['error']}. Submit it again: it continues from there, and "
                "repeats the failed requests",
                thread_id=thread_id,
            )
        if thread_id not in self._live:  # it was stopped by an error that was not its own
            self._start(thread_id, row)
        return self._outcome(thread_id)

    # -- inside --------------------------------------------------------------------------------------------------

    async def _arrive(self, thread_id: str, digest: str, value: Any, config: RunnableConfig) -> None:
        """Write down what a thread was given, and start it. There is one of these at a time of each thread."""
        session = self._calls.session
        if self._is_closed:
            raise _closed(thread_id)
        if thread_id not in session.under_way:
            session.newcomers.add(thread_id)
        try:
            known_by = await self._known_by(thread_id, digest)
            kind, data = self._saver.serde.dumps_typed({"input": value, "config": config})
            row = {"digest": digest, "kind": kind, "data": base64.b64encode(data).decode("ascii")}
            while thread_id in self._deleting:
                await asyncio.wait((self._deleting[thread_id],))
            self._finished.pop(thread_id, None)
            await self._rows.abatch([PutOp(self._namespace, thread_id, row, index=False)])
        except BaseException:
            session.newcomers.discard(thread_id)
            raise
        if thread_id not in self._live:
            self._start(thread_id, row, is_left=False, is_new=known_by is None)

    async def _known_by(self, thread_id: str, digest: str) -> str | None:
        """Return what the input that began a thread is known by; `None` without such a thread, or empty.

        Raises:
            RunMismatchError: It is another input than that of the digest.
        """
        row = await self._row(thread_id)
        known_by = row["digest"] if row is not None else await self._digest(thread_id)
        driving = self._calls.session.under_way.get(thread_id)
        if not known_by and driving is not None:
            known_by = driving.thread(thread_id).digest
        if known_by not in ("", None, digest):
            raise mismatch(0, thread_id)
        return known_by

    def _has_arrived(self, thread_id: str, arriving: asyncio.Task[None]) -> None:
        self._arriving.pop(thread_id, None)
        if not arriving.cancelled():
            arriving.exception()  # it may be that nobody waits any more

    async def _digest(self, thread_id: str) -> str | None:
        """Return the digest of the input that began a thread, if it is stored; `None` without such a thread."""
        saved = await self._saver.aget_tuple({"configurable": {"thread_id": thread_id}})
        return None if saved is None else str(saved.metadata.get(DIGEST, ""))

    async def _row(self, thread_id: str) -> dict[str, Any] | None:
        """Return the row of a thread that nothing drives."""
        if thread_id not in self._stopped:
            return None
        (item,) = await self._rows.abatch([GetOp(self._namespace, thread_id)])
        return None if item is None else item.value

    def _outcome(self, thread_id: str) -> asyncio.Future[Any]:
        waiting = self._waiting.get(thread_id)
        if waiting is None:
            waiting = self._waiting[thread_id] = asyncio.get_running_loop().create_future()
        return waiting

    def _start(self, thread_id: str, row: dict[str, Any], *, is_left: bool = True, is_new: bool = False) -> None:
        """Drive a thread. With `is_left` its row was there before, and the thread may have moved on since."""
        self._stopped.discard(thread_id)
        held = row if self._call is None or self._call.backlog < self._at_hand else None
        context = contextvars.copy_context()
        context.run(leave_node)  # one may have submitted it
        submitted = SubmittedThread(thread_id, row["digest"], context, held, is_left=is_left, is_new=is_new)
        self._add(submitted)

    def _add(self, submitted: SubmittedThread) -> None:
        self._live[submitted.thread_id] = submitted
        if self._call is not None and not self._call.is_over:
            self._call.add(submitted)
            return
        self._call = self._context.run(self._calls.submitted, self._load)
        self._call.add(submitted)
        self._do(self._drive(self._call), "submitted threads")

    def _do(self, work: Coroutine[Any, Any, None], name: str) -> None:
        task = asyncio.get_running_loop().create_task(work, name=name, context=self._context.copy())
        self._work.add(task)
        task.add_done_callback(self._work.discard)

    async def _load(self, submitted: SubmittedThread) -> tuple[Any, RunnableConfig]:
        """Return what a thread was given, and its config."""
        row = await self._row_of(submitted)
        given = self._saver.serde.loads_typed((row["kind"], base64.b64decode(row["data"])))
        return given["input"], full_config(given["config"])

    async def _row_of(self, submitted: SubmittedThread) -> dict[str, Any]:
        if submitted.row is not None:
            return submitted.row
        (item,) = await self._rows.abatch([GetOp(self._namespace, submitted.thread_id)])
        if item is None:
            raise RunnerStateError(
                f"the row of submitted thread {submitted.thread_id!r} is gone from the file; was it edited? Submit it "
                "again"
            )
        found: dict[str, Any] = item.value
        return found

    async def _drive(self, call: SubmittedRun) -> None:
        """Drive a call, and see to what becomes of its threads."""
        error: Exception | None = None
        try:
            async with contextlib.aclosing(self._calls.results(call, None, len(call.given))) as results:
                async for index, result in results:
                    self._is_broken = False
                    self._settle(call.take(index), result)
        except Exception as raised:  # noqa: BLE001  # those who wait for its threads get it
            error = raised
        finally:
            if self._call is call:
                self._call = None
            if error is not None:
                self._go_on(call, error)

    def _go_on(self, call: SubmittedRun, error: Exception) -> None:
        """Drive on what a call has left that an error has ended, unless the engine has, or nothing comes of it."""
        if call.is_failed or self._is_broken or self._is_closed:
            for submitted in call.given:
                self._stop(submitted, error)
            return
        self._is_broken = True
        logger.warning("the submitted threads go on after an error: %s", _logged.said(error))
        for submitted in call.given:
            self._add(replace(submitted, row=None, config=None, is_new=False))

    def _settle(self, submitted: SubmittedThread, result: Any) -> None:
        if isinstance(result, Failed):
            self._do(self._fail(submitted, result.error), "submitted thread that has failed")
        elif not isinstance(result, SetAside):
            self._end(submitted, result)
        elif result.error is None:
            self._do(self._join(submitted), "submitted thread that another call drives")
        elif submitted.is_left and isinstance(result.error, RunMismatchError):
            self._end(submitted, MOVED_ON)  # it had ended, and the process ended before its row was deleted
        elif isinstance(result.error, RunMismatchError):  # another call was quicker to begin it, with another input
            self._do(self._fail(submitted, result.error), "submitted thread that cannot begin")
        else:
            self._stop(submitted, result.error)

    async def _join(self, submitted: SubmittedThread) -> None:
        """Wait for another call that drives a thread, and continue it if that is cancelled."""
        try:
            value, config = await self._load(submitted)
            configurable = {**config.get("configurable", {}), "thread_id": submitted.thread_id}
            named = cast("RunnableConfig", {**config, "configurable": configurable})
            result = await self._calls.one(value, named, None, {}, RunTraits(is_again=True))
        except Exception as error:  # noqa: BLE001  # those who wait for it get it
            result = SetAside(error)
        self._settle(submitted, result)

    async def _fail(self, submitted: SubmittedThread, error: Exception) -> None:
        """Write down that a thread has failed, and tell it."""
        try:
            told = {**await self._row_of(submitted), "error": f"{type(error).__name__}: {error}"}
            await self._rows.abatch([PutOp(self._namespace, submitted.thread_id, told, index=False)])
        except Exception as failed:  # noqa: BLE001  # those who wait for it get it
            error = failed
        self._stop(submitted, error)

    def _stop(self, submitted: SubmittedThread, error: Exception) -> None:
        """Drive a thread no more. Its row stays."""
        thread_id = submitted.thread_id
        self._live.pop(thread_id, None)
        self._stopped.add(thread_id)
        logger.warning("submitted thread %r has stopped: %s", thread_id, _logged.said(error))
        waiting = self._waiting.pop(thread_id, None)
        if waiting is not None and not waiting.done():
            waiting.set_exception(error)
            waiting.exception()  # it may be that nobody waits any more

    def _end(self, submitted: SubmittedThread, result: Any) -> None:
        """Hand out a thread's result, and have its row deleted."""
        thread_id = submitted.thread_id
        self._live.pop(thread_id, None)
        self._finished[thread_id] = None
        if self._sweeping is None:
            self._sweeping = asyncio.get_running_loop().create_task(self._sweep_soon(), context=self._context.copy())
        waiting = self._waiting.pop(thread_id, None)
        if waiting is not None and not waiting.done():
            waiting.set_result(result)

    async def _sweep_soon(self) -> None:
        pause = _LINGER
        while self._finished:
            await asyncio.sleep(pause)
            pause = _LINGER if await self._has_swept() else min(2 * pause, _MOST_LINGER)
        self._sweeping = None

    async def _has_swept(self) -> bool:
        """Delete the rows of threads that have ended; return whether it worked. The next process finds what is left."""
        try:
            await self._sweep()
        except Exception as error:  # noqa: BLE001  # no graph runs here
            logger.warning("threads that have ended could not be crossed off: %s", _logged.said(error))
            return False
        return True

    async def _sweep(self) -> None:
        finished, self._finished = self._finished, {}
        if not finished:
            return
        over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._deleting = dict.fromkeys(finished, over)
        try:
            await self._rows.abatch([PutOp(self._namespace, each, None) for each in finished])
        except BaseException:  # a thread that was submitted again has a row that counts
            still = [each for each in finished if each not in self._live and each not in self._stopped]
            self._finished = dict.fromkeys(still) | self._finished
            raise
        finally:
            self._deleting = {}
            over.set_result(None)


def _closed(thread_id: str) -> RunnerStateError:
    return RunnerStateError(
        f"the Runner was closed while thread {thread_id!r} was submitted, and it may not be on disk; submit it again "
        "to the next one"
    )
