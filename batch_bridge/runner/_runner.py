"""Runs a graph over many inputs in one process. Threads that wait for a batch are parked and use no resources."""

import asyncio
import contextlib
import os
import uuid
from collections.abc import AsyncGenerator, AsyncIterable, Iterable, Sequence, Sized
from datetime import timedelta
from types import TracebackType
from typing import Any, Literal, Self, Unpack, overload
from weakref import WeakSet

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.graph.state import CompiledStateGraph, StateGraph
from langgraph.store.base import BaseStore
from langgraph.types import Command
from langgraph.typing import ContextT as GraphContextT
from langgraph.typing import StateT as GraphStateT

from batch_bridge._core.durations import Duration, Within, duration
from batch_bridge._core.pending import OnPending, Pending, check_on_pending
from batch_bridge._core.wording.log import logger_of
from batch_bridge._host.callbacks import Callbacks, OnEvent, OnItem, OnProgress
from batch_bridge._host.notify import Notify, notifier
from batch_bridge._host.report import Report
from batch_bridge._ledger.patience import STORE_PATIENCE
from batch_bridge._money import Budget, Quote, choose
from batch_bridge._node.given_items import check_inputs, check_items
from batch_bridge.bridge import Bridge
from batch_bridge.bridge._bridge import check_budget
from batch_bridge.errors import (
    RunnerStateError,
)
from batch_bridge.runner._blocking import Blocking
from batch_bridge.runner._calls import UNFINISHED, Calls, is_named
from batch_bridge.runner._opened import Opened
from batch_bridge.runner._options import (
    BATCH,
    INVOKE,
    InvokeOptions,
    SameResult,
    StreamOptions,
    check_options,
    full_config,
)
from batch_bridge.runner._results import Failed, in_order
from batch_bridge.runner._settings import RunTraits, SessionSettings
from batch_bridge.runner._storage import Storage
from batch_bridge.runner._submissions import MOVED_ON
from batch_bridge.runner._threads.place import lent
from batch_bridge.runner._threads.stream import StreamChunk
from batch_bridge.runner._types import ContextT, ModelT, RunnerOptions, StateT

logger = logger_of(__name__)

_STREAM_OPTIONS = ("input", "config", "context")
_QUOTE_OPTIONS = ("inputs", "sample", "run_id", "max_concurrency", "context")

_open: "WeakSet[Runner[Any, Any]]" = WeakSet()
"""Each is held by its session, and so by what runs for it."""


class Runner(Blocking[StateT, ContextT]):
    """Drives a graph and its bridges on one machine, and recovers from any crash.

    ::

        async with Runner(graph, bridge, path="run.db") as runner:
            results = await runner.abatch(inputs, run_id="eval-7")

    The same `run_id`, in this process or in another one after a crash, continues the run where it stopped: finished
    threads do not run again, batches in flight are adopted, and nothing is paid twice. Failed threads run again, and
    send their failed requests again.

    For a type checker it is a `Runner[State, Context]`: results are the graph's output, as its `TypedDict`, or a `dict`
    where the state is a Pydantic model or a dataclass. What is asked for in another form (`stream_mode=`, …), or may be
    a `Pending`, is `Any`.

    While a Runner is open, Python's garbage collector runs less often in the whole process; see `relax_gc`.

    Args:
        graph: A `StateGraph` builder, a compiled graph, or an `@entrypoint`. Without a checkpointer of its own it uses
            the Runner's.
        bridges: One or several bridges; nodes refer to them by name.
        path: The SQLite file of the ledger, and of the checkpoints if they have no other checkpointer.
            `":memory:"` keeps both in memory: nothing survives the process. Only one Runner at a time can open a file.
        checkpointer: Stores the checkpoints instead of the file. The caller opens and closes it.
        store: Stores the ledger instead of the file; any LangGraph `BaseStore`. The caller opens and closes it. In a
            store, a bridge and a run belong to one Runner at a time: see `patience`.
        types: Classes in the threads' state that neither an annotation of the graph's state nor the
            code of its nodes names. Other types in a checkpoint of the Runner's file are not built, because a
            manipulated file could run code. A checkpointer of your own has its own rules.
        patience: How long to wait for another Runner that owns a bridge or the run in `store`, as in a rolling deploy
            (a duration). After that, and by default at once, it is a `StoreInUseError`. A claim of a
            process that was killed runs out after half a minute, and at once on the same machine (Linux).
        store_patience: How long a call of the store or the checkpointer that fails is tried again (a duration), with
            growing pauses; what asked for it waits meanwhile, and the rest continues. After that the run
            ends with the store's error, and the same command continues it.
        give_up_after: How long nothing may move (a duration): every call of the providers fails, in all
            bridges. Then the run ends with `Stalled`, which says what failed last; the same command continues, with the
            batches that are in flight. A batch that runs moves with each look at it. `None`: it tries forever.
        budget: What may be spent, by all bridges together, and what one thread may ask for; see `Budget`. Without it a
            thread may ask for 1,000 requests, and bridges may have budgets of their own.
        max_concurrency: Threads that were submitted (`submit`) and run at the same time, 64 by default, or fewer while
            they keep the event loop busy; parked ones do not count, and others wait for their turn. Calls such as
            `abatch` have an argument of their own. Raise it where nodes wait long for something else than a batch.
        relax_gc: While the Runner is open, set the thresholds of Python's garbage collector to 20,000, 5 and 5, for the
            whole process, if they are Python's own; the last Runner that closes puts back what was there. LangGraph's
            steps make many objects and few cycles, and it saves up to a third of their time. `False` changes nothing.
        progress: A progress bar on standard error; by default in a terminal; in a notebook, an output of the cell.
        on_event: Called with each `Event`; see `batch_bridge.events`. Callbacks may be async; what they raise is logged
            once, and harms nothing. All have been told what there was when the Runner is closed.
        on_progress: Called with the newest `Progress` when something has changed.
        on_item: `on_item(index, result)` is called for each thread that has ended; the result may be an exception. If
            it has a parameter `cost`, it is given what the thread has cost in all, as a `Cost`.
        on_complete: Called with the `Progress` when all threads of a call, such as `abatch`, have ended.
        callback_workers: Threads in which callbacks run in parallel; `0` runs them in order, on the event loop.
        notify: A URL of apprise (Slack, e-mail, ntfy, webhooks), or several, to which a notice goes when a run has
            ended, an error has stopped it, or nothing moves: counts and the receipt, and no word of what was asked or
            answered. One that cannot be sent harms nothing. Besides those of the bridges. It needs the extra `notify`.

    Raises:
        MissingPackageError: `notify=` was passed, and its extra is not installed.
        TypeError: `graph` is not a graph, `bridges` are not bridges, or there are two checkpointers.
        ValueError: No bridge was given, or two have the same name.
        StoreInUseError: On entering, and at the start of a run: another Runner owns it.
        RunFileError: On entering: the file is damaged, open elsewhere, or unreachable.
    """

    @overload
    def __init__(
        self: "Runner[dict[str, Any], GraphContextT]",
        graph: StateGraph[Any, GraphContextT, Any, ModelT] | CompiledStateGraph[Any, GraphContextT, Any, ModelT],
        bridges: Bridge | Sequence[Bridge],
        **options: Unpack[RunnerOptions],
    ) -> None: ...
    @overload
    def __init__(
        self: "Runner[GraphStateT, GraphContextT]",
        graph: StateGraph[Any, GraphContextT, Any, GraphStateT]
        | CompiledStateGraph[Any, GraphContextT, Any, GraphStateT],
        bridges: Bridge | Sequence[Bridge],
        **options: Unpack[RunnerOptions],
    ) -> None: ...
    @overload
    def __init__(self, graph: Any, bridges: Bridge | Sequence[Bridge], **options: Unpack[RunnerOptions]) -> None: ...
    def __init__(
        self,
        graph: Any,
        bridges: Bridge | Sequence[Bridge],
        *,
        path: str | os.PathLike[str] = "run.db",
        checkpointer: BaseCheckpointSaver[Any] | None = None,
        store: BaseStore | None = None,
        types: Iterable[type] = (),
        patience: Duration = 0,
        store_patience: Duration = STORE_PATIENCE,
        give_up_after: Within = None,
        budget: Budget | None = None,
        max_concurrency: int | None = None,
        relax_gc: bool = True,
        progress: bool | None = None,
        on_event: OnEvent | None = None,
        on_progress: OnProgress | None = None,
        on_item: OnItem | None = None,
        on_complete: OnProgress | None = None,
        callback_workers: int = 0,
        notify: Notify | None = None,
    ) -> None:
        sender = notifier(notify, "Runner")
        callbacks = Callbacks(on_event, on_progress, on_item, on_complete, callback_workers)
        callbacks.check("Runner")
        self._graph = graph
        several = isinstance(bridges, Iterable) and not isinstance(bridges, str)
        self._bridges: list[Bridge] = list(bridges) if several else [bridges]  # type: ignore[arg-type, list-item]
        self._storage = Storage(graph, path=path, checkpointer=checkpointer, store=store, types=types)
        owner_patience = (duration(patience, "patience") if patience else None) or timedelta(0)
        blip_patience = duration(store_patience, "store_patience") or STORE_PATIENCE
        standstill = duration(give_up_after, "give_up_after")
        self._calls = Calls(progress, max_concurrency)
        for bridge in self._bridges:
            if not isinstance(bridge, Bridge):
                raise TypeError(f"Runner got {bridge!r} instead of a Bridge; pass Runner(graph, Bridge(…))")
        names = [bridge.name for bridge in self._bridges]
        if not names:
            raise ValueError("Runner got no bridge; pass Runner(graph, Bridge(…)), or a list of bridges")
        if len(set(names)) < len(names):
            raise ValueError(f"Runner got bridges with the same name: {names}; rename them with Bridge(…, name=…)")
        self._opened = Opened(
            graph,
            self._bridges,
            self._storage,
            SessionSettings(
                store_patience=blip_patience,
                patience=owner_patience,
                give_up_after=standstill,
                budget=check_budget(budget, self._bridges),
                is_shared=self._storage.is_shared,
            ),
            self._calls,
            callbacks=callbacks,
            notifier=sender,
            relax_gc=relax_gc,
        )

    # -- life ----------------------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        if self._opened.session is not None:
            raise RunnerStateError("this Runner is already open; use it, or create another one with another file")
        await self._opened.open(self)
        names = ", ".join(sorted(bridge.name for bridge in self._bridges))
        logger.info("the Runner is open on %s, with %s", self._storage.place, names)
        _open.add(self)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _open.discard(self)
        if self._opened.session is not None:
            logger.info("the Runner is closing")
        await self._opened.close(error)

    async def open(self) -> Self:
        """Do what `async with` does on entering, for a notebook, whose cells share the Runner; `aclose` ends it."""
        return await self.__aenter__()

    async def aclose(self) -> None:
        """Close the Runner, as the end of `async with` does; waiting threads continue with the next one. Idempotent."""
        await self.__aexit__(None, None, None)

    @classmethod
    def left_open(cls) -> "list[Runner[Any, Any]]":
        """Return the Runners that are open in this process: in a notebook, also one whose variable is gone."""
        return list(_open)

    # -- work ----------------------------------------------------------------------------------------------------

    @overload
    async def abatch(
        self,
        inputs: Iterable[Any] | AsyncIterable[Any],
        config: RunnableConfig | Sequence[RunnableConfig] | None = None,
        *,
        run_id: str | None = None,
        return_exceptions: Literal[False] = False,
        on_pending: Literal["wait"] = "wait",
        max_concurrency: int | None = None,
        context: ContextT | None = None,
        **options: Unpack[SameResult],
    ) -> list[StateT]: ...
    @overload
    async def abatch(
        self,
        inputs: Iterable[Any] | AsyncIterable[Any],
        config: RunnableConfig | Sequence[RunnableConfig] | None = None,
        *,
        run_id: str | None = None,
        return_exceptions: Literal[True],
        on_pending: Literal["wait"] = "wait",
        max_concurrency: int | None = None,
        context: ContextT | None = None,
        **options: Unpack[SameResult],
    ) -> list[StateT | Exception]: ...
    @overload
    async def abatch(
        self,
        inputs: Iterable[Any] | AsyncIterable[Any],
        config: RunnableConfig | Sequence[RunnableConfig] | None = None,
        *,
        run_id: str | None = None,
        return_exceptions: bool = False,
        on_pending: OnPending = "wait",
        max_concurrency: int | None = None,
        context: ContextT | None = None,
        **options: Unpack[InvokeOptions],
    ) -> list[Any]: ...
    async def abatch(
        self,
        inputs: Iterable[Any] | AsyncIterable[Any],
        config: RunnableConfig | Sequence[RunnableConfig] | None = None,
        *,
        run_id: str | None = None,
        return_exceptions: bool = False,
        on_pending: OnPending = "wait",
        max_concurrency: int | None = None,
        context: ContextT | None = None,
        **options: Unpack[InvokeOptions],
    ) -> list[Any]:
        """Run the graph once for each input, and return the results in order.

        Args:
            inputs: Any iterable. A lazy one is read whenever another thread can start. When the next
                one of an async iterable comes is not known: until its end, requests wait for others as those of
                single calls do.
            config: One config for all inputs, or a list with one for each.
            run_id: Names the run, so that it can be continued. The thread of input `i` is `"<run_id>:<i>"`, unless its
                config names one. Without it the run cannot be continued.
            return_exceptions: Return the exception of a thread that failed in its place. Else the first one, by index,
                is raised once all other threads have ended: their answers are paid for.
            on_pending: `"return"` returns once every thread that lives waits, and all that they ask is sent; a
                `Pending` stands in the place of each result that is not there yet. The same call later collects the
                answers and continues to the next wave. It needs `run_id`, or a `thread_id` in the config.
            max_concurrency: Threads that run at the same time; parked ones do not count.
            context: The graph's run context.
            **options: More keyword arguments for the graph's `ainvoke`; see `InvokeOptions`.

        Returns:
            What `graph.ainvoke` returns for each input. The result of a thread that waits for a human contains
            `__interrupt__`; continue it with `ainvoke(Command(resume=…), config)`.

        Raises:
            RunMismatchError: The run was started with other inputs.
            GraphChangedError: A thread waits at a node that the graph no longer has. Nothing ran and nothing was sent.
            RunnerStateError: The Runner is not open, or the run is already under way.
            TypeError: `inputs` is not an iterable of inputs, or `ainvoke` does not accept an argument.
        """
        total = len(inputs) if isinstance(inputs, Sized) else None
        check_options("abatch()", options, BATCH, self._graph)
        leaves = check_on_pending("abatch()", on_pending, is_named=is_named(run_id, config))
        inputs = check_inputs(inputs, "abatch()")
        call = self._calls.begin(inputs, config, run_id, max_concurrency, context, options, RunTraits(leaves=leaves))
        results = {index: result async for index, result in self._calls.results(call, run_id, total)}
        return in_order(results, return_exceptions=return_exceptions)

    @overload
    def abatch_as_completed(
        self,
        inputs: Iterable[Any] | AsyncIterable[Any],
        config: RunnableConfig | Sequence[RunnableConfig] | None = None,
        *,
        run_id: str | None = None,
        return_exceptions: Literal[False] = False,
        on_pending: Literal["wait"] = "wait",
        max_concurrency: int | None = None,
        context: ContextT | None = None,
        **options: Unpack[SameResult],
    ) -> AsyncGenerator[tuple[int, StateT], None]: ...
    @overload
    def abatch_as_completed(
        self,
        inputs: Iterable[Any] | AsyncIterable[Any],
        config: RunnableConfig | Sequence[RunnableConfig] | None = None,
        *,
        run_id: str | None = None,
        return_exceptions: Literal[True],
        on_pending: Literal["wait"] = "wait",
        max_concurrency: int | None = None,
        context: ContextT | None = None,
        **options: Unpack[SameResult],
    ) -> AsyncGenerator[tuple[int, StateT | Exception], None]: ...
    @overload
    def abatch_as_completed(
        self,
        inputs: Iterable[Any] | AsyncIterable[Any],
        config: RunnableConfig | Sequence[RunnableConfig] | None = None,
        *,
        run_id: str | None = None,
        return_exceptions: bool = False,
        on_pending: OnPending = "wait",
        max_concurrency: int | None = None,
        context: ContextT | None = None,
        **options: Unpack[InvokeOptions],
    ) -> AsyncGenerator[tuple[int, Any], None]: ...
    async def abatch_as_completed(
        self,
        inputs: Iterable[Any] | AsyncIterable[Any],
        config: RunnableConfig | Sequence[RunnableConfig] | None = None,
        *,
        run_id: str | None = None,
        return_exceptions: bool = False,
        on_pending: OnPending = "wait",
        max_concurrency: int | None = None,
        context: ContextT | None = None,
        **options: Unpack[InvokeOptions],
    ) -> AsyncGenerator[tuple[int, Any], None]:
        """Run the graph like `abatch`, and yield (index, result) as threads end.

        Without `return_exceptions`, the first exception is raised after the results of all other threads.
        """
        total = len(inputs) if isinstance(inputs, Sized) else None
        inputs = check_inputs(inputs, "abatch_as_completed()")
        check_options("abatch_as_completed()", options, BATCH, self._graph)
        leaves = check_on_pending("abatch_as_completed()", on_pending, is_named=is_named(run_id, config))
        call = self._calls.begin(inputs, config, run_id, max_concurrency, context, options, RunTraits(leaves=leaves))
        failed: dict[int, Any] = {}
        async with contextlib.aclosing(self._calls.results(call, run_id, total)) as results:  # when it is left early
            async for index, result in results:
                if not isinstance(result, Failed):
                    failed.pop(index, None)  # it was run again
                    yield index, result
                elif return_exceptions:
                    yield index, result.error
                else:
                    failed[index] = result
        in_order(failed, return_exceptions=False)

    @overload
    async def ainvoke(
        self,
        input: Any,  # as LangGraph calls it
        config: RunnableConfig | None = None,
        *,
        attach: bool = True,
        on_pending: Literal["wait"] = "wait",
        context: ContextT | None = None,
        **options: Unpack[SameResult],
    ) -> StateT: ...
    @overload
    async def ainvoke(
        self,
        input: Any,  # as LangGraph calls it
        config: RunnableConfig | None = None,
        *,
        attach: bool = True,
        on_pending: OnPending = "wait",
        context: ContextT | None = None,
        **options: Unpack[InvokeOptions],
    ) -> Any: ...
    async def ainvoke(
        self,
        input: Any,  # noqa: A002  # as LangGraph calls it
        config: RunnableConfig | None = None,
        *,
        attach: bool = True,
        on_pending: OnPending = "wait",
        context: ContextT | None = None,
        **options: Unpack[InvokeOptions],
    ) -> Any:
        """Run one thread, as `graph.ainvoke` does.

        It says nothing about what comes next: what it asks for waits a second for other calls
        (`FlushPolicy.when_idle`). Where the thread is under way in this Runner already, the call joins: it returns the
        same result, and continues the thread if the other call is cancelled meanwhile. What joins uses the config,
        the context and the options of the call that it joins.

        A thread that waits for a batch, or was stopped by a crash, continues with `input` `None` or the one that
        it was begun with. One that has ended takes `input` as its next turn. `Command(resume=…)` answers a human's
        interrupt.

        Args:
            input: The input, `None`, or a `Command`.
            config: Names the thread: `{"configurable": {"thread_id": …}}`.
            attach: `False` refuses a thread that is under way instead of joining.
            on_pending: `"return"` returns a `Pending` once the thread waits and what it asks is sent; see `abatch`.
            context: The graph's run context.
            **options: More keyword arguments for the graph's `ainvoke`; see `InvokeOptions`.

        Raises:
            RunMismatchError: The thread waits, and was begun with another input.
            GraphChangedError: The thread waits at a node that the graph does not have any more.
            RunnerStateError: The thread is under way, and the call may not join, as with a `Command`.
        """
        check_options("ainvoke()", options, INVOKE, self._graph)
        leaves = check_on_pending("ainvoke()", on_pending, is_named=is_named(None, config))
        result = await self._calls.one(input, config, context, options, RunTraits(leaves=leaves), attach=attach)
        return in_order({0: result}, return_exceptions=False)[0]

    async def astream(
        self,
        input: Any,  # noqa: A002  # as LangGraph calls it
        config: RunnableConfig | None = None,
        *,
        context: ContextT | None = None,
        **options: Unpack[StreamOptions],
    ) -> AsyncGenerator[Any, None]:
        """Run one thread like `ainvoke`, and yield what it streams, as `graph.astream` does.

        Waits for batches do not show: `values` and `updates` come as if the answers had been there at once. The other
        modes tell what runs: a node that waits runs again from its first line for each answer, and what it writes
        before is streamed each time. A human's question comes as `__interrupt__`.

        To end early is to close it (`contextlib.aclosing`): the thread stays as it is, and `astream(None, config)`, or
        `ainvoke`, continues it.

        Args:
            input: As for `ainvoke`.
            config: As for `ainvoke`.
            context: As for `ainvoke`.
            **options: More keyword arguments for the graph's `astream`, such as `stream_mode` and `subgraphs`.

        Raises:
            ThreadUnderWayError: Another call drives the thread: a stream cannot join.
            Exception: What `ainvoke` raises.
        """
        check_options("astream()", options, _STREAM_OPTIONS, self._graph)
        call = self._calls.begin([input], config, None, None, context, options, RunTraits(is_single=True, streams=True))
        async with contextlib.aclosing(self._calls.results(call, None, 1)) as results:
            async for _, result in results:
                if isinstance(result, Failed):
                    raise result.error
                if isinstance(result, StreamChunk):
                    yield result.value

    async def submit(
        self,
        input: Any,  # noqa: A002  # as LangGraph calls it
        *,
        thread_id: str | None = None,
        config: RunnableConfig | None = None,
    ) -> str:
        """Start a thread, and return at once; `result` returns what becomes of it, in this process or the next.

        ::

            handle = await runner.submit({"x": 1}, thread_id="order-17")  # a web request
            result = await runner.result(handle)                          # another one

        The thread is on disk when this returns. The next Runner of these bridges on the same file continues it.
        Idempotent: the same thread_id with the same input is the same thread, whose result is kept once it has ended.
        A thread that has failed is run again, and repeats the requests that failed.

        Args:
            input: What the graph is given.
            thread_id: Names the thread, and is the handle. Without it the handle is a new id.
            config: What of a config the checkpointer can keep: `configurable`, `metadata`, `tags`, but no callbacks.

        Returns:
            The handle: the thread's id.

        Raises:
            RunMismatchError: The thread was begun with another input.
            TypeError: `input` is a `Command`, which answers a human: give it to `ainvoke`.
            RunnerStateError: The Runner is not open.
        """
        if input is None or isinstance(input, Command):
            raise TypeError(f"submit() got {input!r}, which continues a thread; give it to ainvoke(…, config)")
        submissions = self._opened.submissions
        handle = uuid.uuid4().hex if thread_id is None else str(thread_id)
        await submissions.submit(handle, input, full_config(config or {}))
        return handle

    @overload
    async def result(self, handle: str, *, on_pending: Literal["wait"] = "wait") -> StateT: ...
    @overload
    async def result(self, handle: str, *, on_pending: OnPending) -> StateT | Pending: ...
    async def result(self, handle: str, *, on_pending: OnPending = "wait") -> Any:
        """Return the result of a thread that was submitted, once it has ended; any number of callers may wait for it.

        To stop waiting is to cancel this call, or `asyncio.timeout`: the thread continues. A node of this Runner may
        wait for a thread that it has submitted: its own thread does not count for `max_concurrency` meanwhile.

        Args:
            handle: The thread's id, as `submit` returned it.
            on_pending: `"return"` returns a `Pending` at once, if the thread has not ended.

        Raises:
            SubmittedThreadError: The thread has failed before. A caller that waits when it fails gets its error itself.
            UnknownThreadError: There is no such thread.
            RunnerStateError: The Runner is not open, or was closed meanwhile.
        """
        handle = str(handle)
        task = await self._opened.submissions.find(handle)
        config: RunnableConfig = {"configurable": {"thread_id": handle}}
        leaves = check_on_pending("result()", on_pending, is_named=True)
        if task is None:
            return await self._result_of(handle, config, leaves=leaves)
        if leaves and not task.done():
            return self._calls.pending(handle)
        with lent():
            await asyncio.wait((task,))
        if task.cancelled():
            raise RunnerStateError(f"the Runner was closed while thread {handle!r} ran; the next one continues it")
        result = task.result()
        return await self._result_of(handle, config, leaves=leaves) if result is MOVED_ON else result

    async def cancel(
        self,
        *,
        request_id: str | None = None,
        thread_id: str | None = None,
        run_id: str | None = None,
        batch: str | None = None,
    ) -> int:
        """Cancel requests of this Runner's threads; their waits raise `RequestCancelled`.

        Queued requests are not sent. A batch is cancelled at the provider once all its requests are cancelled; what it
        has answered by then is billed. Durable when it returns, and idempotent. Later requests of the threads are sent.
        Pass one of the arguments, or none to cancel everything:

        Args:
            request_id: Only this request.
            thread_id: Only the requests of this thread.
            run_id: Only the requests of this run, which is running in this Runner.
            batch: Only the requests in this batch, by our key of it (`bb-…`).

        Returns:
            The number of requests that were queued or in flight and are now cancelled.

        Raises:
            TypeError: More than one argument was passed.
            RunnerStateError: The Runner is not open.
        """
        given = {"request_id": request_id, "thread_id": thread_id, "run_id": run_id, "batch": batch}
        named = {name: value for name, value in given.items() if value is not None}
        if len(named) > 1:
            raise TypeError(
                f"Runner.cancel() got {' and '.join(f'{name}=' for name in named)}; pass one of request_id=, "
                "thread_id=, run_id= and batch=, or none of them to cancel everything"
            )
        return await self._calls.session.hands.cancel(**named)

    def poll_now(self, *batches: str) -> None:
        """Look at batches at once, whatever their next poll is due at, because there is news of them.

        A webhook's receiver calls it, see `batch_bridge.webhooks`. From any thread, idempotent, and harmless for
        batches that are not there: those of a Runner that is not open are polled when it is opened.

        Args:
            *batches: The provider's ids of batches, or of responses in the background; without any, all are polled.
        """
        session = self._opened.session
        if session is not None:
            session.hands.hear(batches or None)

    async def restart(self, thread_id: str) -> bool:
        """Delete the state of a thread, so that the next call that names it starts it again with its input.

        ::

            await runner.restart("eval-7:3")
            results = await runner.abatch(inputs, run_id="eval-7")  # runs only input 3 again

        Its checkpoints are deleted, and it sends, and pays for, all its requests again. To cancel its current requests,
        call `cancel(thread_id=…)` first. Paid answers that it has not taken are counted in
        `Report.unclaimed`. Other threads of the run are not affected. Durable when it returns, and idempotent.

        Args:
            thread_id: The id in its config; for input `i` of a run it is `"<run_id>:<i>"`.

        Returns:
            Whether the thread existed.

        Raises:
            RunnerStateError: The Runner is not open, the thread is running in it, or the checkpointer cannot delete.
        """
        return await self._calls.session.restart(str(thread_id))

    async def report(self, run_id: str | None = None) -> Report:
        """Return the totals of this Runner, or of one run: threads, requests, batches, tokens, money, and times.

        Args:
            run_id: The run, of this session or an earlier one; of an unknown run, all is zero.
        """
        return await self._calls.session.books.report(run_id)

    async def quote(
        self,
        inputs: Iterable[Any],
        *,
        sample: int = 20,
        run_id: str | None = None,
        max_concurrency: int | None = None,
        context: ContextT | None = None,
        **options: Unpack[InvokeOptions],
    ) -> Quote:
        """Run a sample of the inputs to its end, and return what all of them will come to, sample included.

        The sample is paid for. With the `run_id` of the run that is to follow it is part of that run: its threads have
        ended, and are not run again. It holds as many small inputs as large ones, by their size as JSON.

        Args:
            inputs: All inputs of the run.
            sample: How many of them are run.
            run_id: The run that is quoted for.
            max_concurrency: As for `abatch`.
            context: As for `abatch`.
            **options: As for `abatch`.

        Raises:
            ValueError: There is nothing to sample.
            Exception: The first one of the sample's threads that have failed.
        """
        check_options("quote()", options, _QUOTE_OPTIONS, self._graph)
        held = list(check_items(inputs, "quote()", "input"))
        if sample < 1 or not held:
            raise ValueError(f"quote(sample={sample!r}) of {len(held)} inputs runs nothing; give at least one of each")
        chosen = choose([len(repr(each)) for each in held], sample)  # by about how large they are
        session, run = self._calls.session, run_id or uuid.uuid4().hex
        threads = [f"{run}:{index}" for index in chosen]
        configs: list[RunnableConfig] = [{"configurable": {"thread_id": thread}} for thread in threads]
        call = self._calls.begin([held[index] for index in chosen], configs, None, max_concurrency, context, options)
        call.run = run_id or ""
        in_order(
            {i: result async for i, result in self._calls.results(call, None, len(chosen))}, return_exceptions=False
        )
        return await session.books.quote(threads, len(held))

    async def costs(self) -> list[dict[str, Any]]:
        """Return what was spent, a row for each bridge, run, thread, tenant, label, model and lane.

        Of all sessions on this ledger; batches count once they have ended. `pandas.DataFrame(rows)` reads it. A row has
        the names of these, and `currency`, `requests`, `input_tokens`, `output_tokens`, `cached_tokens`,
        `cache_write_tokens`, `reasoning_tokens`, and as `Decimal`, or `None` where a price is not known, `paid`,
        `list_price` and `saved`.
        """
        return await self._calls.session.books.costs()

    # -- inside --------------------------------------------------------------------------------------------------

    async def _result_of(self, thread_id: str, config: RunnableConfig, *, leaves: bool) -> Any:
        """Return the result of a thread that no submission drives."""
        result = await self._calls.result_of(thread_id, config)
        if result is not UNFINISHED:
            return result
        return await self.ainvoke(None, config, on_pending="return" if leaves else "wait")
