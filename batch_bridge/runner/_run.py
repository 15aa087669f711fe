"""One call of a Runner: inputs become threads, which run, park and are resumed; results come out as they are ready."""

import asyncio
import contextvars
import itertools
import logging
from collections import Counter, deque
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

from langchain_core.runnables import RunnableConfig
from langgraph.types import Command

from batch_bridge._core import clock as _clock
from batch_bridge._core.payload.interrupt_payload import Asked
from batch_bridge._core.wording.log import about, logger_of
from batch_bridge._core.wording.words import span
from batch_bridge._node.quiet_loop import keep_quiet
from batch_bridge.errors import (
    BudgetExceeded,
    GraphChangedError,
    LegLostError,
    RequestError,
    RunMismatchError,
    ThreadUnderWayError,
    UnknownBatcherError,
)
from batch_bridge.runner._results import Failed
from batch_bridge.runner._settings import RunTraits
from batch_bridge.runner._threads.changed_graphs import refuse_changed
from batch_bridge.runner._threads.configs import Configs, GivenConfigs
from batch_bridge.runner._threads.leg import LegHolder, begin, is_no_input, resume
from batch_bridge.runner._threads.place import Place
from batch_bridge.runner._threads.recovery import digest_of, mismatch
from batch_bridge.runner._threads.source import Feed, Source
from batch_bridge.runner._threads.stream import LegFilter
from batch_bridge.runner._threads.thread import Thread

logger = logger_of(__name__)


class RunHost(LegHolder, Protocol):
    """What a call needs of the session that it belongs to."""

    under_way: "dict[str, Run | None]"
    """Threads that are driven now, by which call: LangGraph bears one run of a thread at a time."""
    newcomers: set[str]
    """Threads that are being submitted, and that nothing has driven since."""

    def collect(self, call: "Run", thread: Thread, asked: Iterable[Asked]) -> None:
        """Hand a parked thread's requests to their bridges."""
        ...

    def abandon(self, thread: Thread) -> None:
        """Do not send what a thread that has failed still waits for, unless it is on its way."""
        ...

    def has_given_up(self, error: BaseException) -> bool:
        """Return whether an error is the store's or the checkpointer's, which was tried for too long: no thread's."""
        ...

    def changed(self, call: "Run") -> None:
        """Something began or ended to run: whether all is idle may have changed."""
        ...


class Run:
    """The threads of one `abatch`. Results leave in the order in which they are ready.

    Args:
        host: The session.
        inputs: Read one at a time, when there is room to run it. An async one may make the call wait for more.
        configs: One config for each input, or one for all.
        run_id: Names the run; part of the thread ids.
        traits: What kind of call it is.
        limit: Threads that run at the same time; parked ones do not count.
        options: Keyword arguments for `graph.ainvoke`.

    Attributes:
        host: The session.
        configs: Of its threads.
        options: Keyword arguments for `graph.ainvoke`.
        shown: What of its threads is streamed; `None`: nothing.
        output: Its results, as they leave it.
        is_named: The run can be continued, and may have been begun before.
        is_cancelled: It was stopped.
        live: Threads that have begun and not ended.
        done: Threads that have ended, failed ones too.
        ended_before: Those of them that had ended in an earlier call.
        total: How many there are to be, where that is known.
        begun_at: Seconds since the epoch.
        failures: Threads that have failed, by code.
        waves: Parked threads by how often they have parked.
        asks: The requests that those ask for.
        rounds: Threads that have ended here, by how often they had parked.
    """

    def __init__(
        self,
        host: RunHost,
        inputs: Iterable[Any] | AsyncIterable[Any] | Feed,
        configs: RunnableConfig | Sequence[RunnableConfig] | None,
        run_id: str,
        traits: RunTraits,
        *,
        limit: int,
        options: Mapping[str, Any],
    ) -> None:
        self.host = host
        self._is_single = traits.is_single
        self.leaves = traits.leaves
        self._inputs: Source | Feed | None = inputs if isinstance(inputs, Feed) else Source(inputs, self.pump)
        self.shown = LegFilter(options) if traits.streams else None
        self._names = GivenConfigs(configs, run_id, continued=traits.is_again)
        self.configs: Configs = self._names
        self.run_id = run_id
        self.run = run_id if traits.is_again and not traits.is_single else ""
        self.is_named = traits.is_again
        self._limit = limit
        self.options = options
        self._ready: deque[Thread] = deque()
        self._running: set[asyncio.Task[None]] = set()
        self._lent = 0
        self._threads: dict[str, Thread] = {}
        self._joined: dict[str, list[asyncio.Future[Any]]] = {}
        self.output: asyncio.Queue[tuple[int, Any] | BaseException | None] = asyncio.Queue()
        self.is_cancelled = False
        self._context = contextvars.copy_context()  # the caller's: a thread is resumed in it, too
        self.live = 0
        self.done = 0
        self.ended_before = 0
        self.total: int | None = None
        self.begun_at = _clock.now().timestamp()
        self.failures: Counter[str] = Counter()
        self._failed: dict[str, tuple[Thread, str]] = {}
        self.waves: Counter[int] = Counter()
        self.asks: Counter[int] = Counter()
        self.rounds: Counter[int] = Counter()

    @property
    def busy(self) -> bool:
        """Whether a thread runs or could: then more may come at any moment. Not of one that waits for another."""
        if len(self._running) > self._lent or self._ready:
            return True
        return self._inputs is not None and not self._inputs.is_waited_for

    @property
    def is_single(self) -> bool:
        """Whether it says nothing about what comes next: one thread, or inputs that come when they come."""
        return self._is_single or (self._inputs is not None and self._inputs.is_async)

    @property
    def streams(self) -> bool:
        """Whether what its threads stream comes out."""
        return self.shown is not None

    @property
    def is_one(self) -> bool:
        """Whether it is a call for one thread, or for threads that belong to no run."""
        return self._is_single

    @property
    def is_open(self) -> bool:
        """Whether more inputs may come."""
        return self._inputs is not None

    @property
    def running(self) -> bool:
        """Whether a thread runs now."""
        return bool(self._running)

    async def results(self) -> AsyncIterator[tuple[int, Any]]:
        """Yield (index, result) as threads end; a failed thread's result is `Failed`.

        Raises:
            RunMismatchError: The run was begun with other inputs.
            GraphChangedError: A thread waits at a node that the graph does not have; nothing was run.
        """
        keep_quiet(asyncio.get_running_loop())
        if not self._is_single:  # which is looked at when it is begun
            await refuse_changed(self.host.graph, self._names.named(), are_all=not self._names.is_endless)
        self.pump()
        while (result := await self.output.get()) is not None:
            if isinstance(result, BaseException):
                raise result
            yield result

    def tell_begun(self) -> None:
        """Log that it begins. A call of one thread is logged at DEBUG: a service makes very many."""
        if self.total is None:
            logger.log(self._level, "run %r begins", self.run_id, extra=about(run=self.run_id))
        else:
            logger.log(self._level, "run %r begins: %d threads", self.run_id, self.total, extra=about(run=self.run_id))

    def tell_ended(self) -> None:
        """Log how it was left."""
        failed = self.failures.total()
        logger.log(
            self._level,
            "run %r %s: %d threads done, %d failed%s, in %s",
            self.run_id,
            "is left" if self.live else "has ended",
            self.done - failed,
            failed,
            f", {self.live} wait or were stopped" if self.live else "",
            span(_clock.now().timestamp() - self.begun_at),
            extra=about(run=self.run_id),
        )

    @property
    def _level(self) -> int:
        return logging.DEBUG if self.is_single else logging.INFO

    def tell_ended_before(self) -> None:
        """Log how many threads had ended in an earlier call, if any had: they were not run, and nothing was asked."""
        if not self.ended_before:
            return
        is_all = self.ended_before == self.done
        logger.log(
            logging.WARNING if is_all else logging.INFO,
            "run %r: %d of %d threads had ended before%s; their results were read again. To run them again, choose "
            "another run_id, or restart one: runner.restart(thread_id)",
            self.run_id,
            self.ended_before,
            self.done,
            ", nothing was sent" if is_all else "",
            extra=about(run=self.run_id),
        )

    def join(self, thread_id: str, value: object) -> asyncio.Future[Any] | None:
        """Return a future for the result of a thread that this call drives; `None` if `value` asks for something else.

        The future is cancelled if this call ends before the thread: its waiter then continues the thread.

        Args:
            thread_id: The thread.
            value: The input that it was begun with, or `None`.

        Raises:
            RunMismatchError: It was begun with another input.
        """
        thread = self._threads[thread_id]
        if isinstance(value, Command) or (value is not None and not thread.digest):
            return None
        if value is not None and digest_of(value) != thread.digest:
            raise mismatch(0, thread_id)
        joined: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._joined.setdefault(thread_id, []).append(joined)
        return joined

    def wake(self, thread: Thread) -> None:
        """Resume a thread, when there is room."""
        if self.is_cancelled:
            return
        self._count_wave(thread, -1)
        thread.busy = True
        self._ready.append(thread)
        self.pump()

    def retry(self, thread_id: str | None = None) -> int:
        """Run threads again that have failed in this call, and return how many; each yields a result again.

        They continue from their last checkpoint, and repeat the requests that have failed. If their call has ended
        meanwhile, the next call runs them.
        """
        if self.is_cancelled or (self._inputs is None and not self.live):
            return 0
        again = [each for each in self._failed if thread_id in (None, each) and each not in self.host.under_way]
        for each in again:
            old, code = self._failed.pop(each)
            self.failures[code] -= 1
            thread = Thread(old.index, old.id, old.digest, old.named)
            self.host.under_way[each] = self
            self.host.newcomers.discard(each)
            self._threads[each] = thread
            self.live += 1
            self.done -= 1
            self._spawn(begin, thread, None)
        return len(again)

    def leave(self, pending: Callable[[Thread], Any]) -> None:
        """End the call though threads wait. Each one's result is what `pending` makes of it."""
        self.leaves = False
        for thread in self._threads.values():
            self.output.put_nowait((thread.index, pending(thread)))
        self.output.put_nowait(None)

    def thread(self, thread_id: str) -> Thread:
        """Return a thread that this call drives."""
        return self._threads[thread_id]

    def fail(self, error: BaseException) -> None:
        """End the call with an error that is no thread's own."""
        self.output.put_nowait(error)

    async def cancel(self) -> None:
        """Stop what runs, and start nothing more. Parked threads stay as they are, and can be found again."""
        self.is_cancelled = True
        inputs, self._inputs = self._inputs, None
        self._ready.clear()
        if inputs is not None:
            await inputs.close()
        running = list(self._running)
        for task in running:
            task.cancel()
        try:
            await asyncio.gather(*running, return_exceptions=True)
        finally:
            for thread_id in self._threads:
                self.host.under_way.pop(thread_id, None)
            self._threads.clear()
            for joined in itertools.chain(*self._joined.values()):
                joined.cancel()

    def pump(self) -> None:
        """Start as many threads as there is room for: answered threads first, then new inputs."""
        while not self.is_cancelled and len(self._running) - self._lent < self._limit:
            if self._ready:
                self._spawn(resume, self._ready.popleft())
            elif not self._begin_next():
                break
        self.host.changed(self)

    def _begin_next(self) -> bool:
        if self._inputs is None:
            return False
        try:
            read = self._inputs.read()
            if read is None:
                return False
            index, value = read
            thread = self._thread(index, value)
        except StopIteration:
            self._inputs = None
            self._finish()
            return False
        except Exception as error:  # noqa: BLE001  # the user's iterator, or a config: the call reports it
            self._inputs = None
            self.fail(error)
            return False
        self.live += 1
        self._spawn(begin, thread, value)
        return True

    def _spawn(self, step: Callable[..., Any], thread: Thread, *arguments: Any) -> None:
        work = self._run(step, thread, *arguments)
        context = self._context if thread.context is None else thread.context
        task = asyncio.get_running_loop().create_task(work, context=context.copy())
        self._running.add(task)
        task.add_done_callback(self._stopped)

    def _stopped(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.output.put_nowait(error)
        self.pump()

    async def _run(self, step: Callable[..., Any], thread: Thread, *arguments: Any) -> None:
        place = Place(self._lend)
        place.take()
        try:
            await step(self, thread, *arguments)
        except (RunMismatchError, GraphChangedError, LegLostError) as error:
            if not self._stop(thread, error):
                raise
        except Exception as error:  # of a whole run: no interrupt leaves a root graph
            if self.host.has_given_up(error):  # it is not the thread that has failed
                if not self._stop(thread, error):
                    raise
                return
            try:
                await self._note(thread, error)
            except Exception as failed:
                if not self._stop(thread, failed):
                    raise
                return
            self.failures[_code(error)] += 1
            if thread.named and not self._is_single:
                self._failed[thread.id] = (thread, _code(error))
            self.end(thread, Failed(error))
        finally:
            place.give_up()

    async def _note(self, thread: Thread, error: Exception) -> None:
        """Write down that a thread has failed."""
        self.host.abandon(thread)
        if thread.named:  # its next run repeats what failed; an unsent request has not failed
            counts = not isinstance(error, BudgetExceeded)
            await self.host.failures.note(thread, self.run_id, _code(error), counts=counts)
        else:
            self.host.release(thread)

    def _lend(self, change: int) -> None:
        """Count a thread out of those that run (1) or in again (-1): it waits for another thread of this Runner."""
        self._lent += change
        self.pump()

    def _stop(self, thread: Thread, error: Exception) -> bool:
        """Stop a thread alone, with an error that is not its own, and return `True`; else the error ends the call."""
        del thread, error
        return False

    def _finish(self) -> None:
        if self._inputs is None and not self.live:
            self.output.put_nowait(None)

    def end(self, thread: Thread, result: Any) -> None:
        """Take a thread's result."""
        self.host.under_way.pop(thread.id, None)
        self._threads.pop(thread.id, None)
        for joined in self._joined.pop(thread.id, ()):
            if not joined.done():
                joined.set_result(result)
        self.live -= 1
        self.done += 1
        self.rounds[thread.rounds] += 1
        self.output.put_nowait((thread.index, result))
        self._finish()

    def _thread(self, index: int, value: Any) -> Thread:
        thread_id, is_given = self._names.name(index)
        named = is_given or self.is_named
        digest = digest_of(value) if named and not is_no_input(value) else ""
        thread = Thread(index, thread_id, digest, named)
        if thread_id in self.host.under_way:
            raise ThreadUnderWayError(
                f"thread {thread_id!r} is under way in this Runner already; await what drives it, then continue it"
            )
        self.host.under_way[thread_id] = self
        self.host.newcomers.discard(thread_id)
        self._threads[thread_id] = thread
        return thread

    def park(self, thread: Thread, interrupts: dict[str, list[Asked]]) -> None:
        """Have a thread wait for what its interrupts ask for.

        Raises:
            UnknownBatcherError: It asks a bridge that the Runner does not have.
        """
        asked = [each for requests in interrupts.values() for each in requests]
        for each in asked:
            if each.batcher not in self.host.bridges:
                known = ", ".join(sorted(map(repr, self.host.bridges)))
                raise UnknownBatcherError(
                    f"thread {thread.id!r} waits for a bridge {each.batcher!r}, but this Runner has only {known}; "
                    "pass the Runner the bridge with which the thread was started"
                )
        thread.park(interrupts)
        self._count_wave(thread, 1)
        self.host.collect(self, thread, asked)

    def _count_wave(self, thread: Thread, change: int) -> None:
        self.waves[thread.rounds] += change
        self.asks[thread.rounds] += change * thread.asks


def _code(error: Exception) -> str:
    """Return what failures of threads are grouped by."""
    return error.code if isinstance(error, RequestError) else type(error).__name__
