"""The threads that were submitted, as one call: it begins with the first of them, and ends when none is left."""

import contextvars
import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from langchain_core.runnables import RunnableConfig

from batch_bridge.runner._run import Run, RunHost
from batch_bridge.runner._settings import RunTraits
from batch_bridge.runner._threads.leg import begin
from batch_bridge.runner._threads.pace import Pace
from batch_bridge.runner._threads.source import Feed
from batch_bridge.runner._threads.thread import Thread


@dataclass(slots=True, eq=False)
class SubmittedThread:
    """A thread that was submitted and has not ended. What it was given is in its row.

    Attributes:
        thread_id: The thread.
        digest: What its input is known by.
        context: What it runs in.
        row: Its row, if it is at hand.
        config: Its config, once it has begun.
        is_left: Its row was there before, and the thread may have moved on since.
        is_new: It has no checkpoint, and has not failed before.
    """

    thread_id: str
    digest: str
    context: contextvars.Context
    row: dict[str, Any] | None
    config: RunnableConfig | None = None
    is_left: bool = False
    is_new: bool = False


@dataclass(frozen=True, slots=True)
class SetAside:
    """In the place of the result of a thread that this call does not drive to its end.

    Attributes:
        error: What has stopped it, which is not its own; `None`: another call drives it.
    """

    error: Exception | None


Load = Callable[[SubmittedThread], Awaitable[tuple[Any, RunnableConfig]]]


class SubmittedConfigs:
    """The configs of submitted threads, as far as they are read.

    Args:
        given: The threads, by their index.
    """

    def __init__(self, given: Mapping[int, SubmittedThread]) -> None:
        self._given = given

    def of(self, index: int) -> RunnableConfig:
        """Return the config of a thread."""
        return self._given[index].config or {}

    def thread_id(self, index: int) -> str:
        """Return the id of a thread."""
        return self._given[index].thread_id


class SubmittedRun(Run):
    """A call whose threads have nothing to do with each other, and are added while it runs.

    No more of them run at the same time than the call's limit, and few while the event loop is busy (`Pace`): what is
    answered goes on before others begin. An error
    that would end another call stops the thread that it has come from, and no other.

    Args:
        host: The session.
        load: Returns what a thread was given, and its config.
        limit: Threads that run at the same time; parked ones do not count.
        count: Called with how many more threads there are to be.
    """

    def __init__(self, host: RunHost, load: Load, limit: int, count: Callable[[int], None]) -> None:
        self._feed = Feed()
        traits = RunTraits(is_single=True, is_again=True)
        super().__init__(host, self._feed, None, uuid.uuid4().hex, traits, limit=limit, options={})
        self.load = load
        self._count = count
        self._pace = Pace(limit, self.pump)
        self._added = 0
        self._given: dict[int, SubmittedThread] = {}
        self.configs = SubmittedConfigs(self._given)
        self.is_failed = False
        """Whether an error has ended it that is not of its own: the engine's, or the end of the session."""

    @property
    def is_over(self) -> bool:
        """Whether nothing can be added any more."""
        return self._inputs is None or self._feed.is_over

    @property
    def backlog(self) -> int:
        """How many threads wait to begin."""
        return len(self._feed)

    @property
    def given(self) -> list[SubmittedThread]:
        """The threads that have not ended, in order."""
        return list(self._given.values())

    def add(self, submitted: SubmittedThread) -> None:
        """Run a thread, when there is room."""
        self._given[self._added] = submitted
        self._feed.put(submitted)
        self._added += 1
        if self.total is not None:  # else it is yet to begin
            self.total += 1
            self._count(1)
            self.pump()
            if len(self._feed):
                submitted.is_new = False  # by the time it begins, another call may have run it

    def fail(self, error: BaseException) -> None:
        """End the call with an error of the session."""
        self.is_failed = True
        super().fail(error)

    def take(self, index: int) -> SubmittedThread:
        """Return the thread that a result is of, and forget it."""
        return self._given.pop(index)

    async def cancel(self) -> None:
        """Stop what runs, and start nothing more."""
        self._pace.stop()
        await super().cancel()

    def pump(self) -> None:
        """Start as many threads as there is room for, and as the event loop bears."""
        self._limit = self._pace.limit
        super().pump()
        if not self.is_cancelled and (self._ready or len(self._feed)):
            self._pace.look(len(self._running) - self._lent)

    def _begin_next(self) -> bool:
        if self._inputs is None:
            return False
        try:
            read = self._feed.read()
        except StopIteration:
            self._inputs = None
            self._finish()
            return False
        if read is None:
            return False
        index, submitted = read
        submitted.is_new = submitted.is_new and submitted.thread_id in self.host.newcomers
        self.host.newcomers.discard(submitted.thread_id)
        if submitted.thread_id in self.host.under_way:
            self._leave_to_others(index)
            return True
        thread = Thread(index, submitted.thread_id, submitted.digest, named=True, context=submitted.context)
        self.host.under_way[thread.id] = self
        self._threads[thread.id] = thread
        self.live += 1
        self._spawn(_begin_submitted, thread, submitted)
        return True

    def _leave_to_others(self, index: int) -> None:
        if self.total is not None:
            self.total -= 1
        self._count(-1)
        self.output.put_nowait((index, SetAside(None)))
        self._end_if_idle()

    def end(self, thread: Thread, result: Any) -> None:
        super().end(thread, result)
        self._end_if_idle()

    def _stop(self, thread: Thread, error: Exception) -> bool:
        """Stop a thread alone, with an error that is not its own."""
        self.host.abandon(thread)
        self.host.under_way.pop(thread.id, None)
        self._threads.pop(thread.id, None)
        for joined in self._joined.pop(thread.id, ()):
            joined.cancel()  # who waits for it continues the thread
        self.live -= 1
        self.output.put_nowait((thread.index, SetAside(error)))
        self._end_if_idle()
        return True

    def _end_if_idle(self) -> None:
        if not self.live and not len(self._feed):
            self._feed.end()


async def _begin_submitted(call: SubmittedRun, thread: Thread, submitted: SubmittedThread) -> None:
    value, submitted.config = await call.load(submitted)
    submitted.row = None
    await begin(call, thread, value, is_new=submitted.is_new)
