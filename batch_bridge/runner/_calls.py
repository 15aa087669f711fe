"""The calls of an open Runner: it begins, drives, shows and reports them, and joins calls for the same thread."""

import asyncio
import contextlib
import uuid
from collections.abc import AsyncGenerator, AsyncIterable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from langchain_core.runnables import RunnableConfig

from batch_bridge._core.pending import Pending
from batch_bridge._core.wording import log_text as _logged
from batch_bridge._core.wording.log import logger_of
from batch_bridge._host.callbacks import Listeners
from batch_bridge.errors import (
    GraphChangedError,
    RunMismatchError,
    RunnerStateError,
    ThreadUnderWayError,
    UnknownThreadError,
)
from batch_bridge.events import Progress
from batch_bridge.runner._display.notebook import in_notebook, notebook_bar
from batch_bridge.runner._display.notices import RunNotices
from batch_bridge.runner._display.progress import bar, is_wanted
from batch_bridge.runner._options import InvokeOptions, StreamOptions, full_config
from batch_bridge.runner._results import Failed
from batch_bridge.runner._run import Run
from batch_bridge.runner._session.session import Session
from batch_bridge.runner._settings import PLAIN, RunTraits
from batch_bridge.runner._submitted import Load, SetAside, SubmittedRun
from batch_bridge.runner._threads.place import lent
from batch_bridge.runner._threads.stream import StreamChunk

logger = logger_of(__name__)

MAX_CONCURRENCY: Final = 64
"""Threads that run at the same time, unless the call says otherwise. Parked threads do not count."""
UNFINISHED: Final = object()
"""In place of the result of a thread that has not ended."""
_REFUSED = (RunMismatchError, GraphChangedError)
"""Errors of a run that was not begun."""


class Calls:
    """The calls of one Runner.

    Args:
        progress: Whether a bar shows how they go; `None` leaves that to the terminal.
        submitted: Threads that were submitted and run at the same time; `None`: as many as of a call.

    Raises:
        ValueError: The limit is invalid.
    """

    def __init__(self, progress: bool | None, submitted: int | None = None) -> None:  # noqa: FBT001
        self._progress = progress
        self._submitted = _limit(submitted)
        self._session: Session | None = None
        self._watched: Session | None = None
        self._notices: RunNotices | None = None
        self._total: int | None = 0
        self._runs: set[str] = set()

    def reset(self) -> None:
        """Reset the counts: a session begins."""
        self._total = 0

    def open(self, session: Session, notices: RunNotices | None) -> None:
        """Take calls, which belong to a session from now on."""
        self._session = self._watched = session
        self._notices = notices

    def close(self) -> None:
        """Take no more calls. How far they are can be seen until `forget`."""
        self._session = None

    def forget(self) -> None:
        """Release the session."""
        self._session = self._watched = None

    @property
    def session(self) -> Session:
        """The session that is open.

        Raises:
            RunnerStateError: The Runner is not open.
        """
        if self._session is None:
            raise RunnerStateError("this Runner is not open; write: async with Runner(…) as runner: …")
        return self._session

    def begin(  # noqa: PLR0917
        self,
        inputs: Iterable[Any] | AsyncIterable[Any],
        config: RunnableConfig | Sequence[RunnableConfig] | None,
        run_id: str | None,
        limit: int | None,
        context: Any,
        given: InvokeOptions | StreamOptions,
        traits: RunTraits = PLAIN,
    ) -> Run:
        """Return a call, which `results` drives.

        Raises:
            RunnerStateError: The Runner is not open, or such a run is under way.
            ValueError: The limit is invalid.
        """
        session = self.session
        limit = _limit(limit)
        if run_id in self._runs:
            raise RunnerStateError(f"run {run_id!r} is under way in this Runner; await it, or choose another run_id")
        options: dict[str, Any] = {**given} if context is None else {**given, "context": context}
        return Run(
            session,
            inputs,
            config,
            run_id or uuid.uuid4().hex,
            traits if run_id is None else replace(traits, is_again=True),
            limit=limit,
            options=options,
        )

    def submitted(self, load: Load) -> SubmittedRun:
        """Return a call for threads that are submitted one by one, which `results` drives; `load` reads their inputs.

        Raises:
            RunnerStateError: The Runner is not open.
        """
        return SubmittedRun(self.session, load, self._submitted, self._count)

    def _count(self, more: int) -> None:
        if self._total is not None:
            self._total += more

    async def one(
        self,
        value: Any,
        config: RunnableConfig | None,
        context: Any,
        options: InvokeOptions,
        traits: RunTraits = PLAIN,
        *,
        attach: bool = True,
    ) -> Any:
        """Run one thread, or join the call that runs it, and return its result, or `Failed`."""
        traits = replace(traits, is_single=True)
        while True:
            if attach and (joined := self.join(value, config)) is not None:
                if traits.leaves:
                    return self.pending(thread_id_of(config))
                with lent():
                    await asyncio.wait((joined,))
                if not joined.cancelled():
                    return joined.result()
                continue  # the call that drove it was cancelled
            call = self.begin([value], config, None, None, context, options, traits)
            try:
                (result,) = [result async for _, result in self.results(call, None, 1)]
            except ThreadUnderWayError:
                self._total = None if self._total is None else self._total - 1
                if not attach or self.join(value, config) is None:
                    raise
                continue  # two began at once
            return result

    async def results(self, call: Run, run_id: str | None, total: int | None) -> AsyncGenerator[tuple[int, Any], None]:
        """Drive a call, show and report its progress, and yield its results as they are ready."""
        session = self.session
        if run_id is not None:
            self._runs.add(run_id)
            try:
                await session.own(run_id)
            except BaseException:
                self._runs.discard(run_id)
                raise
        call.total = total
        call.tell_begun()
        session.begin(call)
        self._total = None if total is None or self._total is None else self._total + total
        listeners, notices = session.listeners, None if call.is_single else self._notices
        try:
            async with self._shown(session, call, total):
                async for pair in call.results():
                    index, result = pair
                    if listeners is not None and not isinstance(result, Pending | StreamChunk | SetAside):
                        await _tell(session, listeners, call, index, result)
                    yield pair
            call.tell_ended_before()
            if listeners is not None and not call.live:
                listeners.complete()
            if notices is not None and not call.live:
                await notices.ended(call)
        except Exception as error:
            if notices is not None and not isinstance(error, _REFUSED):
                await notices.stopped(call, error)
            raise
        finally:
            try:
                await session.end(call)
            finally:
                call.tell_ended()
                if run_id is not None:
                    try:
                        await session.disown(run_id)
                    finally:
                        self._runs.discard(run_id)  # last: what is taken while it is released would be lost

    def _shown(self, session: Session, call: Run, total: int | None) -> contextlib.AbstractAsyncContextManager[None]:
        """Return what shows how a call goes, where that is wanted; what it streams shows that too."""
        if call.streams:
            return contextlib.nullcontext()
        if self._progress is not False and in_notebook():
            return notebook_bar(session, call, total)
        return bar(session, call, total) if is_wanted(self._progress) else contextlib.nullcontext()

    def join(self, value: Any, config: RunnableConfig | None) -> "asyncio.Future[Any] | None":
        """Return a future for the result of the thread that a config names, if a call drives it that can be joined."""
        thread_id = thread_id_of(config)
        driving = self.session.under_way.get(thread_id)
        if driving is None or full_config(config or {})["configurable"].get("checkpoint_id"):
            return None
        return driving.join(thread_id, value)

    def pending(self, thread_id: str) -> Pending:
        """Return what stands for the result of a thread that waits."""
        session = self.session
        driving = session.under_way.get(thread_id)
        return Pending(thread_id) if driving is None else session.pending(driving.thread(thread_id))

    async def result_of(self, thread_id: str, config: RunnableConfig) -> Any:
        """Return the result of a thread that no submission drives; `UNFINISHED` if it has not ended."""
        graph = self.session.graph
        snapshot = await graph.aget_state(config)
        if not snapshot.config["configurable"].get("checkpoint_id"):
            raise UnknownThreadError(
                f"this Runner holds no thread {thread_id!r}; give what submit() returned, to a Runner on the same file"
            )
        if snapshot.next or snapshot.interrupts:
            return UNFINISHED
        return await graph.ainvoke(None, config)

    def look(self) -> Progress:
        """Return how far the calls are; also while the Runner closes."""
        session = self._watched
        if session is None:
            return Progress(0, self._total, 0, 0, 0)
        return Progress(
            session.roster.done,
            self._total,
            session.traffic.queued,
            session.traffic.in_flight,
            session.traffic.batches,
            session.roster.ended_before,
            session.traffic.in_batches,
            session.traffic.eta,
        )


async def _tell(session: Session, listeners: Listeners, call: Run, index: int, result: Any) -> None:
    """Tell `on_item` what has become of a thread. An error here is not the thread's, and ends no call."""
    cost = None
    try:
        cost = await session.books.cost_of(call.configs.thread_id(index))
    except Exception as error:  # noqa: BLE001  # no graph runs here
        logger.warning("what a thread has cost could not be added up: %s", _logged.said(error))
    place = 0 if call.is_one else index  # threads of no run have no place among others
    try:
        listeners.item(place, result.error if isinstance(result, Failed) else result, cost)
    except Exception as error:  # noqa: BLE001  # no graph runs here
        logger.warning("on_item could not be told what has become of a thread: %s", _logged.said(error))


def _limit(threads: int | None) -> int:
    if threads is None:
        return MAX_CONCURRENCY
    if threads < 1:
        raise ValueError(f"max_concurrency={threads!r} would run nothing; pass at least 1, or None")
    return threads


def thread_id_of(config: RunnableConfig | None) -> str:
    """Return the thread that a config names; empty if it names none."""
    """Return the thread that a config names; empty if it names none."""
    return str(full_config(config or {}).get("configurable", {}).get("thread_id") or "")


def is_named(run_id: str | None, config: RunnableConfig | Sequence[RunnableConfig] | None) -> bool:
    """Return whether a call's threads can be named again: by its run, or each by its config."""
    configs = [config] if config is None or isinstance(config, Mapping) else config
    return run_id is not None or all(thread_id_of(each) for each in configs)
