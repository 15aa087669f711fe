"""One call of a Runner: inputs become threads, which run, park and are resumed; results come out as they are ready."""

import asyncio
import contextvars
import itertools
import logging
from collections import Counter, deque
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from langchain_core.runnables import RunnableConfig
from langgraph.types import Command, Interrupt

from batch_bridge._compat.langgraph import forget_old_answer
from batch_bridge._compat.pregel_loop import missing
from batch_bridge._core import clock as _clock
from batch_bridge._core.models import Outcome, Succeeded
from batch_bridge._core.outcomes import raise_over_budget
from batch_bridge._core.payload.interrupt_payload import Asked
from batch_bridge._core.wording.log import about, logger_of
from batch_bridge._core.wording.words import span
from batch_bridge._node.link import Link
from batch_bridge._node.quiet_loop import keep_quiet
from batch_bridge._node.slow_rounds import note_hidden
from batch_bridge._node.step_limits import LINK
from batch_bridge._node.untracked_state import UntrackedMemory
from batch_bridge.errors import (
    BudgetExceeded,
    GraphChangedError,
    LegLostError,
    NondeterministicNodeError,
    RequestError,
    RunMismatchError,
    SwallowedInterruptError,
    ThreadUnderWayError,
    UnknownBatcherError,
)
from batch_bridge.runner._options import full_config
from batch_bridge.runner._results import Failed
from batch_bridge.runner._settings import RunTraits
from batch_bridge.runner._threads.changed_graphs import refuse_changed
from batch_bridge.runner._threads.place import Place
from batch_bridge.runner._threads.recovery import DIGEST, ROUNDS, Begin, Failures, digest_of, mismatch, start
from batch_bridge.runner._threads.source import Feed, Source
from batch_bridge.runner._threads.stream import LegFilter, StreamChunk
from batch_bridge.runner._threads.thread import Thread, authors, resume_map, sort_interrupts, split_interrupts
from batch_bridge.runner._threads.unclaimed import Unclaimed

logger = logger_of(__name__)

_KEEPS_NOTES = not missing()
"""Whether what a `Link` notes gets into the metadata of checkpoints."""
_STRIKES = 2
"""Deliveries in a row that a thread may let pass without consuming anything, before it is an error."""


class RunHost(Protocol):
    """What a call needs of the session that it belongs to."""

    graph: Any
    bridges: frozenset[str]
    failures: Failures
    untracked: UntrackedMemory
    grace: float
    unclaimed: Unclaimed
    by: str
    """Who asks: this session."""
    under_way: "dict[str, Run | None]"
    """Threads that are driven now, by which call: LangGraph bears one run of a thread at a time."""
    newcomers: set[str]
    """Threads that are being submitted, and that nothing has driven since."""

    def collect(self, call: "Run", thread: Thread, asked: Iterable[Asked]) -> None:
        """Hand a parked thread's requests to their bridges."""
        ...

    async def outcomes(self, asks: Iterable[tuple[str, str]]) -> dict[str, Outcome]:
        """Read what is known of (request id, bridge) pairs."""
        ...

    def told(self, asks: Iterable[tuple[str, str]]) -> None:
        """Note that a thread was resumed with the outcomes of (request id, bridge) pairs."""
        ...

    def release(self, thread: Thread) -> None:
        """Release an ended thread's outcomes."""
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
        self._host = host
        self._is_single = traits.is_single
        self.leaves = traits.leaves
        self._inputs: Source | Feed | None = inputs if isinstance(inputs, Feed) else Source(inputs, self.pump)
        self._filter = LegFilter(options) if traits.streams else None
        self._configs = configs
        self.run_id = run_id
        self.run = run_id if traits.is_again and not traits.is_single else ""
        self._continued = traits.is_again
        self._limit = limit
        self._options = options
        self._ready: deque[Thread] = deque()
        self._running: set[asyncio.Task[None]] = set()
        self._lent = 0
        self._threads: dict[str, Thread] = {}
        self._joined: dict[str, list[asyncio.Future[Any]]] = {}
        self._results: asyncio.Queue[tuple[int, Any] | BaseException | None] = asyncio.Queue()
        self._cancelled = False
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
    def is_named(self) -> bool:
        """Whether the run can be continued."""
        return self._continued

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
        return self._filter is not None

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
        endless = self._configs is None or isinstance(self._configs, Mapping)
        if not self._is_single:  # which is looked at when it is begun
            await refuse_changed(self._host.graph, self._named_threads(), are_all=not endless)
        self.pump()
        while (result := await self._results.get()) is not None:
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
        if self._cancelled:
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
        if self._cancelled or (self._inputs is None and not self.live):
            return 0
        again = [each for each in self._failed if thread_id in (None, each) and each not in self._host.under_way]
        for each in again:
            old, code = self._failed.pop(each)
            self.failures[code] -= 1
            thread = Thread(old.index, old.id, old.digest, old.named)
            self._host.under_way[each] = self
            self._host.newcomers.discard(each)
            self._threads[each] = thread
            self.live += 1
            self.done -= 1
            self._spawn(self._begin, thread, None)
        return len(again)

    def leave(self, pending: Callable[[Thread], Any]) -> None:
        """End the call though threads wait. Each one's result is what `pending` makes of it."""
        self.leaves = False
        for thread in self._threads.values():
            self._results.put_nowait((thread.index, pending(thread)))
        self._results.put_nowait(None)

    def thread(self, thread_id: str) -> Thread:
        """Return a thread that this call drives."""
        return self._threads[thread_id]

    def fail(self, error: BaseException) -> None:
        """End the call with an error that is no thread's own."""
        self._results.put_nowait(error)

    async def cancel(self) -> None:
        """Stop what runs, and start nothing more. Parked threads stay as they are, and can be found again."""
        self._cancelled = True
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
                self._host.under_way.pop(thread_id, None)
            self._threads.clear()
            for joined in itertools.chain(*self._joined.values()):
                joined.cancel()

    def pump(self) -> None:
        """Start as many threads as there is room for: answered threads first, then new inputs."""
        while not self._cancelled and len(self._running) - self._lent < self._limit:
            if self._ready:
                self._spawn(self._resume, self._ready.popleft())
            elif not self._begin_next():
                break
        self._host.changed(self)

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
        self._spawn(self._begin, thread, value)
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
            self._results.put_nowait(error)
        self.pump()

    async def _run(self, step: Callable[..., Any], thread: Thread, *arguments: Any) -> None:
        place = Place(self._lend)
        place.take()
        try:
            await step(thread, *arguments)
        except (RunMismatchError, GraphChangedError, LegLostError) as error:
            if not self._stop(thread, error):
                raise
        except Exception as error:  # of a whole run: no interrupt leaves a root graph
            if self._host.has_given_up(error):  # it is not the thread that has failed
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
            self._end(thread, Failed(error))
        finally:
            place.give_up()

    async def _note(self, thread: Thread, error: Exception) -> None:
        """Write down that a thread has failed."""
        self._host.abandon(thread)
        if thread.named:  # its next run repeats what failed; an unsent request has not failed
            counts = not isinstance(error, BudgetExceeded)
            await self._host.failures.note(thread, self.run_id, _code(error), counts=counts)
        else:
            self._host.release(thread)

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
            self._results.put_nowait(None)

    def _end(self, thread: Thread, result: Any) -> None:
        self._host.under_way.pop(thread.id, None)
        self._threads.pop(thread.id, None)
        for joined in self._joined.pop(thread.id, ()):
            if not joined.done():
                joined.set_result(result)
        self.live -= 1
        self.done += 1
        self.rounds[thread.rounds] += 1
        self._results.put_nowait((thread.index, result))
        self._finish()

    # -- one thread ------------------------------------------------------------------------------------------

    def _named_threads(self) -> Iterator[RunnableConfig]:
        """Yield configs that name the threads which may exist already, in order; of a run it is not known how many."""
        several = self._configs is not None and not isinstance(self._configs, Mapping)
        for index in range(len(self._configs or ())) if several else itertools.count():
            config = self._config_of(index)
            given = config.get("configurable", {}).get("thread_id")
            if given is None and not self._continued:
                if not several:
                    return
                continue
            thread_id = f"{self.run_id}:{index}" if given is None else str(given)
            yield {**config, "configurable": {**config.get("configurable", {}), "thread_id": thread_id}}
            if given is not None and not several:
                return

    def _config_of(self, index: int) -> RunnableConfig:
        if self._configs is None:
            return {}
        if isinstance(self._configs, Mapping):
            return full_config(self._configs)
        if index >= len(self._configs):
            raise ValueError(
                f"config= is a list of {len(self._configs)}, and there is an input {index}; pass one config for "
                "each input, or one for all"
            )
        return full_config(self._configs[index])

    def thread_id(self, index: int) -> str:
        """Return the id of an input's thread."""
        given = self._config_of(index).get("configurable", {}).get("thread_id")
        return f"{self.run_id}:{index}" if given is None else str(given)

    def _thread(self, index: int, value: Any) -> Thread:
        given = self._config_of(index).get("configurable", {}).get("thread_id")
        if given is not None and isinstance(self._configs, Mapping) and index:
            raise ValueError(
                f"config= names thread {given!r} for all inputs, and there are several; pass a list, one config for "
                "each input, or omit the thread_id"
            )
        thread_id = self.thread_id(index)
        named = given is not None or self._continued
        digest = digest_of(value) if named and not _is_no_input(value) else ""
        thread = Thread(index, thread_id, digest, named)
        if thread_id in self._host.under_way:
            raise ThreadUnderWayError(
                f"thread {thread_id!r} is under way in this Runner already; await what drives it, then continue it"
            )
        self._host.under_way[thread_id] = self
        self._host.newcomers.discard(thread_id)
        self._threads[thread_id] = thread
        return thread

    def _config(self, thread: Thread, link: Link, *, replay: bool = False) -> RunnableConfig:
        config: dict[str, Any] = dict(self._config_of(thread.index))
        config["configurable"] = {**config.get("configurable", {}), "thread_id": thread.id, LINK: link}
        if not replay:  # where a replay has parked is the thread's newest checkpoint
            config["configurable"].pop("checkpoint_id", None)
        metadata = {"thread_id": thread.id, **config.get("metadata", {})}  # as LangGraph has it; without any it is slow
        if thread.digest:
            notes = {DIGEST: thread.digest, ROUNDS: thread.rounds}
            if _KEEPS_NOTES:  # LangChain merges a config's metadata ten times and more in each leg
                link.notes = notes
            else:
                metadata |= notes
        config["metadata"] = metadata
        return config  # type: ignore[return-value]

    async def _begin(self, thread: Thread, value: Any, *, is_new: bool = False) -> None:
        """Begin a thread, or find it again. With `is_new` it has no checkpoint, and has not failed before."""
        link = Link(self._host.bridges, by=self._host.by, untracked=self._host.untracked, grace=self._host.grace)
        replay = False
        if is_new:
            link.loaded = (None,)
        elif thread.digest or _is_no_input(value):
            await self._host.failures.read(thread)
            link.retries = thread.failures
            named = self._config(thread, link, replay=True)
            step = await start(self._host.graph, named, thread, value, continued=self._continued)
            if not isinstance(step, Begin):
                self._park(thread, step.interrupts)
                return
            value, replay = step.input, step.replay
            link.loaded = (None,) if step.is_new else None
            self.ended_before += step.ended
        await self._step(thread, value, self._config(thread, link, replay=replay), link)

    async def _resume(self, thread: Thread) -> None:
        link = Link(
            self._host.bridges,
            thread.failures,
            by=self._host.by,
            untracked=self._host.untracked,
            grace=self._host.grace,
        )
        config = self._config(thread, link)
        ready = thread.due()
        known = await self._host.outcomes({ask for interrupt in ready for ask in interrupt.asks})
        interrupts = await self._pending(config, link)  # last: nothing may change what it has read before the leg
        pending, _ = sort_interrupts(interrupts)
        due = [
            interrupt
            for interrupt in ready
            if {(each.id, each.batcher) for each in pending.get(interrupt.id, ())} == set(interrupt.asks)
        ]
        asked = {request_id for interrupt in due for request_id, _ in interrupt.asks}
        outcomes = {request_id: known[request_id] for request_id in known.keys() & asked}
        raise_over_budget(outcomes)  # it stays parked, so that it asks the same again once there is more to spend
        asked_by = authors(interrupts)
        answers = resume_map(due, outcomes, asked_by)
        link.inherited = any(asked_by[each.id] != self._host.by for each in due)
        if not answers:  # another process has continued this thread
            link.loaded = None
            await self._find_again(thread, config, link)
            return
        asks = tuple(ask for interrupt in due for ask in interrupt.asks if ask[0] in outcomes)
        thread.delivered += asks
        answered = [each for one in due for each in pending[one.id] if isinstance(outcomes.get(each.id), Succeeded)]
        try:
            await self._step(thread, Command(resume=answers), config, link, answered)
        finally:
            if not self._cancelled:
                self._host.told(asks)

    async def _pending(self, config: RunnableConfig, link: Link) -> list[Interrupt]:
        """Return the interrupts that are pending, as LangGraph has persisted them: an address alone proves nothing.

        A human's answer that an earlier run took is not there for the next. The leg need not read them again.
        """
        saver = self._host.graph.checkpointer
        saved = await saver.aget_tuple(config)
        if saved is None:
            return []
        writes = saved.pending_writes or ()
        if not await forget_old_answer(saver, saved.config, writes):
            link.loaded = (saved,)
        return [each for _, channel, value in writes if channel == "__interrupt__" for each in value]

    async def _find_again(self, thread: Thread, config: RunnableConfig, link: Link) -> None:
        step = await start(self._host.graph, config, thread, None, continued=True)
        if isinstance(step, Begin):
            await self._step(thread, step.input, config, link)
        else:
            self._park(thread, step.interrupts)

    async def _step(
        self,
        thread: Thread,
        value: Any,
        config: RunnableConfig,
        link: Link,
        answered: Sequence[Asked] = (),
    ) -> None:
        if self._filter is not None:
            result, interrupts = await self._stream(self._filter, thread, value, config, link)
            ours, others = sort_interrupts(interrupts)
        else:
            result, ours, others = await self._invoke(thread, value, config, link)
        if unclaimed := link.unclaimed(each.id for each in answered):
            await self._host.unclaimed.note(thread.id, unclaimed)
        asked_for = {each.id for asked in ours.values() for each in asked}
        thread.unseen = (thread.unseen | link.parked.keys()) - asked_for
        if thread.unseen and not ours and not others:
            raise SwallowedInterruptError(
                f"thread {thread.id!r} has ended without waiting for {len(thread.unseen)} answer(s) that it "
                "requested: a node caught the interrupt that a wait, or a call of a wrapped client, raises to park it. "
                "Catch RequestError, or the client's own errors, instead of Exception, and run again with another "
                "run_id or thread_id: this thread's state contains what the node returned instead"
            )
        if not ours:
            if not others:  # at a human's question its nodes still hold what has failed, and have it behind them
                await self._host.failures.clear(thread)
            self._host.release(thread)
            self._end(thread, result)
            return
        hidden = link.parked.keys() - asked_for
        thread.hidden = thread.hidden + 1 if hidden else 0
        for request_id in hidden:
            note_hidden(link.parked[request_id], thread.hidden)
        if link.consumed or not isinstance(value, Command):
            thread.strikes = 0
        elif not link.inherited:  # else it was asked for by code that may have been another
            thread.strikes += 1
        if thread.strikes > _STRIKES or (thread.strikes and not link.inherited and _is_asked_again(answered, ours)):
            raise NondeterministicNodeError(
                f"thread {thread.id!r} received its answers, took none of them, and built new requests. Is a subgraph "
                "compiled with checkpointer=False, or a node run under new names? A wait must be found again when "
                "its thread is resumed: compile the subgraph without checkpointer=, or wait outside of it"
            )
        self._park(thread, ours)

    async def _invoke(
        self, thread: Thread, value: Any, config: RunnableConfig, link: Link
    ) -> tuple[Any, dict[str, list[Asked]], bool]:
        """Run one leg; return its result, our interrupts by address, and whether there are others."""
        result = await self._host.graph.ainvoke(value, config, **self._options)
        if self._options.get("stream_mode", "values") == "values":
            return result, *split_interrupts(result)
        thread.chunks += tuple(result)  # which need not contain interrupts
        snapshot = await self._host.graph.aget_state(self._config(thread, link))
        return list(thread.chunks), *sort_interrupts(snapshot.interrupts)

    async def _stream(
        self, shown: LegFilter, thread: Thread, value: Any, config: RunnableConfig, link: Link
    ) -> tuple[Any, Sequence[Interrupt]]:
        """Run one leg, and show its chunks; return the state that it ended with, and its interrupts."""
        shown.begin()
        async for chunk in self._host.graph.astream(value, config, **self._options):
            for each in shown.pick(chunk):
                self._results.put_nowait((thread.index, StreamChunk(each)))
        snapshot = await self._host.graph.aget_state(self._config(thread, link))
        return snapshot.values, snapshot.interrupts

    def _park(self, thread: Thread, interrupts: dict[str, list[Asked]]) -> None:
        asked = [each for requests in interrupts.values() for each in requests]
        for each in asked:
            if each.batcher not in self._host.bridges:
                known = ", ".join(sorted(map(repr, self._host.bridges)))
                raise UnknownBatcherError(
                    f"thread {thread.id!r} waits for a bridge {each.batcher!r}, but this Runner has only {known}; "
                    "pass the Runner the bridge with which the thread was started"
                )
        thread.park(interrupts)
        self._count_wave(thread, 1)
        self._host.collect(self, thread, asked)

    def _count_wave(self, thread: Thread, change: int) -> None:
        self.waves[thread.rounds] += change
        self.asks[thread.rounds] += change * thread.asks


def _code(error: Exception) -> str:
    """Return what failures of threads are grouped by."""
    return error.code if isinstance(error, RequestError) else type(error).__name__


def _is_no_input(value: object) -> bool:
    """Return whether this continues an existing thread instead of beginning one."""
    return value is None or isinstance(value, Command)


def _is_asked_again(answered: Sequence[Asked], asked: Mapping[str, list[Asked]]) -> bool:
    """Return whether an item is asked for under another id than the one that it was answered under."""
    known = {each.id for each in answered}
    new = [each for requests in asked.values() for each in requests if each.id not in known]
    return any(each.batcher == old.batcher and each.item == old.item for each in new for old in answered)
