"""Threads that a Runner drives without a waiting caller: one web request starts one, another asks for its result."""

import asyncio
import base64
from collections.abc import Awaitable
from typing import Any, Final, Protocol, cast

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.store.base import GetOp, PutOp, SearchOp

from batch_bridge._core.wording import log_text as _logged
from batch_bridge._core.wording.log import logger_of
from batch_bridge._ledger.rows import Rows
from batch_bridge.errors import SubmittedThreadError
from batch_bridge.runner._run import Failed
from batch_bridge.runner._threads.recovery import DIGEST, digest_of, mismatch

logger = logger_of(__name__)

_MOST: Final = 1_000_000
"""Threads that one file may hold which were submitted and have not ended."""

_LINGER: Final = 0.2
"""Seconds in which threads that have ended gather, before their rows are deleted together."""


class Driver(Protocol):
    """Runs one thread."""

    def __call__(self, value: Any, config: RunnableConfig, *, is_new: bool) -> Awaitable[Any]:
        """Return its result, which is `Failed` for its own error. With `is_new` nothing is kept of the thread yet."""
        ...


class Submissions:
    """The threads that were submitted to a Runner and have not ended. A row of the store keeps each through a crash.

    A row is written before `submit` returns, and deleted soon after the thread has ended, with those of others: its
    result is in its checkpoint, and is read again if the process ends before. That of a thread that has failed stays,
    with the error, until the thread is submitted again. No other code writes these rows, so this class knows them all.

    Args:
        rows: Where they are kept.
        name: Names the Runner's bridges: several Runners may share a store.
        saver: The checkpointer, by whose serializer inputs are kept.
        run: Runs a thread.
    """

    def __init__(self, rows: Rows, name: str, saver: BaseCheckpointSaver[Any], run: Driver) -> None:
        self._rows = rows
        self._namespace = ("batch_bridge_submitted", name)
        self._saver = saver
        self._run = run
        self._tasks: dict[str, tuple[str, asyncio.Task[Any]]] = {}
        self._stopped: set[str] = set()
        """Threads that have a row, and that nothing drives: they have failed, or were stopped."""
        self._finished: dict[str, None] = {}
        """Threads that have ended well, whose rows are to be deleted."""
        self._sweeping: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Go on with the threads that a process before this one was given, and has not ended."""
        (found,) = await self._rows.abatch([SearchOp(self._namespace, limit=_MOST)])
        for row in reversed(found):
            if "error" in row.value:
                self._stopped.add(row.key)
            else:
                self._start(row.key, row.value)
        if self._tasks:
            logger.info("continuing %d threads that were submitted before", len(self._tasks))

    async def close(self) -> None:
        """Stop. The next process continues what has not ended."""
        tasks = [task for _, task in self._tasks.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._sweeping is not None:
            self._sweeping.cancel()
            await asyncio.gather(self._sweeping, return_exceptions=True)
        await self._sweep()

    async def submit(self, thread_id: str, value: Any, config: RunnableConfig) -> None:
        """Run a thread, once. It is on disk when this returns. Idempotent: the same again is the same thread.

        Raises:
            RunMismatchError: The thread was submitted with another input.
        """
        digest = digest_of(value)
        if (known := self._tasks.get(thread_id)) is not None:
            if known[0] != digest:
                raise mismatch(0, thread_id)
            return
        row = await self._row(thread_id)
        known_by = row["digest"] if row is not None else await self._digest(thread_id)
        if known_by not in ("", None, digest):
            raise mismatch(0, thread_id)
        kind, data = self._saver.serde.dumps_typed({"input": value, "config": config})
        row = {"digest": digest, "kind": kind, "data": base64.b64encode(data).decode("ascii")}
        self._finished.pop(thread_id, None)
        await self._rows.abatch([PutOp(self._namespace, thread_id, row, index=False)])
        if thread_id not in self._tasks:
            self._start(thread_id, row, is_new=known_by is None)

    async def find(self, thread_id: str) -> asyncio.Task[Any] | None:
        """Return what runs a thread; `None` if it was not submitted, or has ended.

        Raises:
            SubmittedThreadError: It has failed.
        """
        if (known := self._tasks.get(thread_id)) is not None:
            return known[1]
        row = await self._row(thread_id)
        if row is None:
            return None
        if "error" in row:
            raise SubmittedThreadError(
                f"thread {thread_id!r} has failed: {row['error']}. Submit it again: it continues from there, and "
                "repeats the failed requests",
                thread_id=thread_id,
            )
        if thread_id not in self._tasks:  # what drove it was stopped by an error that was not its own
            self._start(thread_id, row)
        return self._tasks[thread_id][1]

    # -- inside --------------------------------------------------------------------------------------------------

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

    def _start(self, thread_id: str, row: dict[str, Any], *, is_new: bool = False) -> None:
        self._stopped.discard(thread_id)
        drive = self._drive(thread_id, row, is_new=is_new)
        task = asyncio.get_running_loop().create_task(drive, name=f"submitted thread {thread_id}")
        self._tasks[thread_id] = row["digest"], task
        task.add_done_callback(lambda _: self._ended(thread_id, task))

    def _ended(self, thread_id: str, task: asyncio.Task[Any]) -> None:
        del self._tasks[thread_id]
        if not task.cancelled() and (error := task.exception()) is not None:
            self._stopped.add(thread_id)
            logger.warning("submitted thread %r has stopped: %s", thread_id, _logged.said(error))

    async def _drive(self, thread_id: str, row: dict[str, Any], *, is_new: bool) -> Any:
        given = self._saver.serde.loads_typed((row["kind"], base64.b64decode(row["data"])))
        configurable = {**given["config"].get("configurable", {}), "thread_id": thread_id}
        config = cast("RunnableConfig", {**given["config"], "configurable": configurable})
        result = await self._run(given["input"], config, is_new=is_new)
        if isinstance(result, Failed):
            told = {**row, "error": f"{type(result.error).__name__}: {result.error}"}
            await self._rows.abatch([PutOp(self._namespace, thread_id, told, index=False)])
            raise result.error
        self._finished[thread_id] = None
        if self._sweeping is None:
            self._sweeping = asyncio.get_running_loop().create_task(self._sweep_soon())
        return result

    async def _sweep_soon(self) -> None:
        while self._finished:
            await asyncio.sleep(_LINGER)
            try:
                await self._sweep()
            except Exception as error:  # noqa: BLE001  # the rows are found by the next process, and deleted then
                logger.warning("threads that have ended could not be crossed off: %s", _logged.said(error))
        self._sweeping = None

    async def _sweep(self) -> None:
        finished, self._finished = list(self._finished), {}
        if finished:
            await self._rows.abatch([PutOp(self._namespace, each, None) for each in finished])
