"""Runs a graph over many inputs in one process. Threads that wait for a batch are parked and use no resources."""

import asyncio
import contextlib
import os
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator, Sequence, Sized
from datetime import timedelta
from types import TracebackType
from typing import Any, Self, Unpack

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.store.base import BaseStore
from langgraph.store.memory import InMemoryStore

from batch_bridge._call import Call, Failed
from batch_bridge._closing import Closing, note_others
from batch_bridge._collector import relaxed
from batch_bridge._deadline import duration
from batch_bridge._given import check_items
from batch_bridge._ledger import Rows
from batch_bridge._listeners import Callbacks, OnEvent, OnItem, OnProgress, listen
from batch_bridge._memory import MemoryRows
from batch_bridge._options import InvokeOptions, check_options
from batch_bridge._patience import STORE_PATIENCE
from batch_bridge._progress import bar, is_wanted
from batch_bridge._report import Report
from batch_bridge._session import Session
from batch_bridge._sqlite import StrictSerializer, open_file
from batch_bridge._state_types import types_of
from batch_bridge.bridge import Bridge
from batch_bridge.errors import RunnerStateError
from batch_bridge.events import Progress

MAX_CONCURRENCY = 64
"""Default limit of threads that run at the same time. Parked threads do not count."""
_INVOKE_OPTIONS = ("input", "config", "context")
_BATCH_OPTIONS = ("inputs", "config", "run_id", "return_exceptions", "max_concurrency", "context")


class Runner:
    """Drives a graph and its bridges on one machine, and recovers from any crash.

    ::

        async with Runner(graph, bridge, path="run.db") as runner:
            results = await runner.abatch(inputs, run_id="eval-7")

    The same `run_id`, in this process or in another one after a crash, continues the run where it stopped: finished
    threads do not run again, batches in flight are adopted, and nothing is paid twice. Failed threads run again, and
    send their failed requests again.

    While a Runner is open, Python's garbage collector runs less often (see `_collector`), unless you have tuned it.

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
            (a `timedelta`, or seconds). After that, and by default immediately, `StoreInUseError` is raised. The claim
            of a killed process expires after half a minute, and immediately on the same machine (Linux).
        store_patience: How long a failed call of the store or the checkpointer is repeated (a `timedelta`, or
            seconds), with growing pauses. Only its caller waits. After that, the run
            ends with the store's error, and the same command continues it.
        give_up_after: The run ends with `Stalled` once every call of the providers, in all bridges, has failed for
            this long (a `timedelta`, or seconds). The same command continues the run, with the
            batches that are in flight. A successful poll counts as progress. `None` never gives up.
        progress: Whether to show a progress bar on standard error; by default only in a terminal.
        on_event: Called with each `Event`; see `batch_bridge.events`. Callbacks may be async. An exception in a
            callback is logged once and has no other effect. Closing the Runner waits for outstanding callbacks.
        on_progress: Called with the newest `Progress` when it has changed.
        on_item: `on_item(index, result)` is called for each thread that has ended; the result may be an exception.
        on_complete: Called with the `Progress` when all threads of a call, such as `abatch`, have ended.
        callback_workers: Threads in which callbacks run in parallel; `0` runs them in order, on the event loop.

    Raises:
        TypeError: `graph` is not a graph, `bridges` are not bridges, or there are two checkpointers.
        ValueError: No bridge was given, or two have the same name.
        StoreInUseError: On entering, and at the start of a run: another Runner owns it.
        RunFileError: On entering: the file is damaged, open elsewhere, or unreachable.
    """

    def __init__(
        self,
        graph: Any,
        bridges: Bridge | Sequence[Bridge],
        *,
        path: str | os.PathLike[str] = "run.db",
        checkpointer: BaseCheckpointSaver[Any] | None = None,
        store: BaseStore | None = None,
        types: Iterable[type] = (),
        patience: timedelta | float = 0,
        store_patience: timedelta | float = STORE_PATIENCE,
        give_up_after: timedelta | float | None = None,
        progress: bool | None = None,
        on_event: OnEvent | None = None,
        on_progress: OnProgress | None = None,
        on_item: OnItem | None = None,
        on_complete: OnProgress | None = None,
        callback_workers: int = 0,
    ) -> None:
        self._callbacks = Callbacks(on_event, on_progress, on_item, on_complete, callback_workers)
        self._callbacks.check("Runner")
        self._total: int | None = 0
        self._graph = graph
        several = isinstance(bridges, Iterable) and not isinstance(bridges, str)
        self._bridges: list[Bridge] = list(bridges) if several else [bridges]  # type: ignore[arg-type, list-item]
        self._own_saver = _own_saver(graph)
        self._path = path
        self._saver = checkpointer
        self._store = store
        self._types = set(types)
        self._patience = (duration(patience, "patience") if patience else None) or timedelta(0)
        self._store_patience = duration(store_patience, "store_patience") or STORE_PATIENCE
        self._give_up_after = duration(give_up_after, "give_up_after")
        self._progress = progress
        self._session: Session | None = None
        self._watched: Session | None = None
        self._stack: contextlib.AsyncExitStack | None = None
        self._sync: asyncio.Runner | None = None
        self._runs: set[str] = set()
        if checkpointer is not None and self._own_saver is not None:
            raise TypeError("Runner got checkpointer= and a graph that was compiled with one; leave one of the two out")
        for bridge in self._bridges:
            if not isinstance(bridge, Bridge):
                raise TypeError(f"Runner got {bridge!r} instead of a Bridge; pass Runner(graph, Bridge(…))")
        names = [bridge.name for bridge in self._bridges]
        if not names:
            raise ValueError("Runner got no bridge; pass Runner(graph, Bridge(…)), or a list of bridges")
        if len(set(names)) < len(names):
            raise ValueError(f"Runner got bridges with the same name: {names}; rename them with Bridge(…, name=…)")

    # -- life ----------------------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        if self._session is not None:
            raise RunnerStateError("this Runner is already open; use it, or create another one with another file")
        async with contextlib.AsyncExitStack() as stack:
            stack.enter_context(relaxed())
            saver = self._saver or self._own_saver
            store: Rows | None = self._store
            if saver is None or store is None:
                if os.fspath(self._path) == ":memory:":
                    own_saver: BaseCheckpointSaver[Any] = InMemorySaver()
                    own_store: Rows = MemoryRows()
                else:
                    own_saver, own_store = await stack.enter_async_context(
                        open_file(self._path, serde=StrictSerializer(types_of(self._graph) | self._types))
                    )
                saver, store = saver or own_saver, store or own_store
            listeners = listen(self._callbacks, self._look)
            if listeners is not None:
                stack.push_async_exit(Closing((listeners.close,)))
            heard = {bridge.name: own for bridge in self._bridges if (own := bridge.listen()) is not None}
            for own in heard.values():
                stack.push_async_exit(Closing((own.close,)))
            self._total = 0
            session = Session(
                self._graph,
                self._bridges,
                None if self._own_saver else saver,
                store,
                listeners,
                heard=heard,
                store_patience=self._store_patience,
                is_shared=self._store is not None,
                patience=self._patience,
                give_up_after=self._give_up_after,
                volatile=isinstance(saver, InMemorySaver) or isinstance(store, MemoryRows | InMemoryStore),
            )
            stack.push_async_exit(Closing((session.close,)))
            await session.open()
            self._session, self._watched, self._stack = session, session, stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        stack, self._stack, self._session = self._stack, None, None
        if stack is None:
            return
        try:
            await stack.aclose()  # callbacks that are still to be called are called here, and look at the session
        except Exception as failed:
            if error is None:
                raise
            note_others(error, (failed,))  # what has ended the block is what the caller is told
        finally:
            self._watched = None

    def __enter__(self) -> Self:
        _refuse_loop("with Runner(…)", "async with Runner(…)")
        self._sync = asyncio.Runner()
        try:
            self._sync.run(self.__aenter__())
        except BaseException:
            self._sync.close()
            self._sync = None
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._sync is not None:
            try:
                self._sync.run(self.__aexit__(kind, error, trace))
            finally:
                self._sync.close()
                self._sync = None

    # -- work ----------------------------------------------------------------------------------------------------

    async def abatch(
        self,
        inputs: Iterable[Any],
        config: RunnableConfig | Sequence[RunnableConfig] | None = None,
        *,
        run_id: str | None = None,
        return_exceptions: bool = False,
        max_concurrency: int | None = None,
        context: Any = None,
        **options: Unpack[InvokeOptions],
    ) -> list[Any]:
        """Run the graph once for each input, and return the results in order.

        Args:
            inputs: Any iterable. A lazy one is read whenever another thread can start.
            config: One config for all inputs, or a list with one for each.
            run_id: Names the run, so that it can be continued. The thread of input `i` is `"<run_id>:<i>"`, unless its
                config names one. A run without it cannot be continued.
            return_exceptions: Return the exception of a failed thread in its place. Otherwise the first one, by index,
                is raised once all other threads have ended, because their answers are paid for.
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
        check_options("abatch()", options, _BATCH_OPTIONS, self._graph)
        call = self._call(check_items(inputs, "abatch()", "input"), config, run_id, max_concurrency, context, options)
        results = {index: result async for index, result in self._results(call, run_id, total)}
        return _in_order(results, return_exceptions=return_exceptions)

    async def abatch_as_completed(
        self,
        inputs: Iterable[Any],
        config: RunnableConfig | Sequence[RunnableConfig] | None = None,
        *,
        run_id: str | None = None,
        return_exceptions: bool = False,
        max_concurrency: int | None = None,
        context: Any = None,
        **options: Unpack[InvokeOptions],
    ) -> AsyncIterator[tuple[int, Any]]:
        """Run the graph like `abatch`, and yield (index, result) as threads end.

        Without `return_exceptions`, the first exception is raised after the results of all other threads.
        """
        total = len(inputs) if isinstance(inputs, Sized) else None
        inputs = check_items(inputs, "abatch_as_completed()", "input")
        check_options("abatch_as_completed()", options, _BATCH_OPTIONS, self._graph)
        call = self._call(inputs, config, run_id, max_concurrency, context, options)
        failed: dict[int, Any] = {}
        async with contextlib.aclosing(self._results(call, run_id, total)) as results:  # when it is left early
            async for index, result in results:
                if not isinstance(result, Failed):
                    yield index, result
                elif return_exceptions:
                    yield index, result.error
                else:
                    failed[index] = result
        _in_order(failed, return_exceptions=False)

    async def ainvoke(
        self,
        input: Any,  # noqa: A002  # as LangGraph calls it
        config: RunnableConfig | None = None,
        *,
        context: Any = None,
        **options: Unpack[InvokeOptions],
    ) -> Any:
        """Run one thread, as `graph.ainvoke` does.

        A thread that waits for a batch, or was stopped by a crash, continues if `input` is `None` or its original
        input. A thread that has ended takes `input` as its next turn. `Command(resume=…)` answers a human's
        interrupt.

        Raises:
            RunMismatchError: The thread waits, and was started with another input.
            GraphChangedError: The thread waits at a node that the graph no longer has.
        """
        check_options("ainvoke()", options, _INVOKE_OPTIONS, self._graph)
        call = self._call([input], config, None, None, context, options)
        return _in_order(
            {index: result async for index, result in self._results(call, None, 1)}, return_exceptions=False
        )[0]

    def batch(
        self,
        inputs: Iterable[Any],
        config: RunnableConfig | Sequence[RunnableConfig] | None = None,
        *,
        run_id: str | None = None,
        return_exceptions: bool = False,
        max_concurrency: int | None = None,
        context: Any = None,
        **options: Unpack[InvokeOptions],
    ) -> list[Any]:
        """Run `abatch` outside an event loop."""
        _refuse_loop("batch()", "await abatch()")
        check_options("batch()", options, _BATCH_OPTIONS, self._graph)
        with self._opened_sync() as loop:
            return loop.run(
                self.abatch(
                    inputs,
                    config,
                    run_id=run_id,
                    return_exceptions=return_exceptions,
                    max_concurrency=max_concurrency,
                    context=context,
                    **options,
                )
            )

    def batch_as_completed(
        self,
        inputs: Iterable[Any],
        config: RunnableConfig | Sequence[RunnableConfig] | None = None,
        *,
        run_id: str | None = None,
        return_exceptions: bool = False,
        max_concurrency: int | None = None,
        context: Any = None,
        **options: Unpack[InvokeOptions],
    ) -> Iterator[tuple[int, Any]]:
        """Run `abatch_as_completed` outside an event loop.

        Threads run only while the caller waits for the next result.
        """
        _refuse_loop("batch_as_completed()", "async for … in abatch_as_completed()")
        check_options("batch_as_completed()", options, _BATCH_OPTIONS, self._graph)
        with self._opened_sync() as loop:
            results = self.abatch_as_completed(
                inputs,
                config,
                run_id=run_id,
                return_exceptions=return_exceptions,
                max_concurrency=max_concurrency,
                context=context,
                **options,
            )
            try:
                while (pair := loop.run(_next(results))) is not None:
                    yield pair
            finally:
                loop.run(_close(results))

    def invoke(
        self,
        input: Any,  # noqa: A002  # as LangGraph calls it
        config: RunnableConfig | None = None,
        *,
        context: Any = None,
        **options: Unpack[InvokeOptions],
    ) -> Any:
        """Run `ainvoke` outside an event loop."""
        _refuse_loop("invoke()", "await ainvoke()")
        check_options("invoke()", options, _INVOKE_OPTIONS, self._graph)
        with self._opened_sync() as loop:
            return loop.run(self.ainvoke(input, config, context=context, **options))

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
        return await self._open_session().cancel(**named)

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
        return await self._open_session().restart(str(thread_id))

    async def report(self) -> Report:
        """Return the totals of this Runner: threads, requests, batches, tokens, and times."""
        return await self._open_session().report()

    # -- inside --------------------------------------------------------------------------------------------------

    def _look(self) -> Progress:
        session = self._watched
        if session is None:
            return Progress(0, self._total, 0, 0, 0)
        return Progress(session.done, self._total, session.queued, session.in_flight, session.batches)

    def _open_session(self) -> Session:
        if self._session is None:
            raise RunnerStateError("this Runner is not open; write: async with Runner(…) as runner: …")
        return self._session

    def _call(  # noqa: PLR0917
        self,
        inputs: Iterable[Any],
        config: RunnableConfig | Sequence[RunnableConfig] | None,
        run_id: str | None,
        limit: int | None,
        context: Any,
        given: InvokeOptions,
    ) -> Call:
        session = self._open_session()
        if limit is not None and limit < 1:
            raise ValueError(f"max_concurrency={limit!r} would run nothing; pass at least 1, or None")
        if run_id in self._runs:
            raise RunnerStateError(f"run {run_id!r} is under way in this Runner; await it, or choose another run_id")
        options: dict[str, Any] = {**given} if context is None else {**given, "context": context}
        return Call(
            session,
            inputs,
            config,
            run_id or uuid.uuid4().hex,
            continued=run_id is not None,
            limit=limit or MAX_CONCURRENCY,
            options=options,
        )

    async def _results(
        self, call: Call, run_id: str | None, total: int | None
    ) -> AsyncGenerator[tuple[int, Any], None]:
        session = self._open_session()
        shown = bar(session, call, total) if is_wanted(self._progress) else contextlib.nullcontext()
        if run_id is not None:
            self._runs.add(run_id)
            try:
                await session.own(run_id)
            except BaseException:
                self._runs.discard(run_id)
                raise
        session.begin(call)
        self._total = None if total is None or self._total is None else self._total + total
        listeners = session.listeners
        try:
            async with shown:
                async for pair in call.results():
                    if listeners is not None:
                        index, result = pair
                        listeners.item(index, result.error if isinstance(result, Failed) else result)
                    yield pair
            call.tell_ended_before()
            if listeners is not None:
                listeners.complete()
        finally:
            try:
                await session.end(call)
            finally:
                if run_id is not None:
                    self._runs.discard(run_id)
                    await session.disown(run_id)

    @contextlib.contextmanager
    def _opened_sync(self) -> Iterator[asyncio.Runner]:
        if self._sync is not None:
            yield self._sync
            return
        with self:
            assert self._sync is not None  # noqa: S101  # `__enter__` has set it
            yield self._sync


def _in_order(results: dict[int, Any], *, return_exceptions: bool) -> list[Any]:
    ordered = [results[index] for index in sorted(results)]
    failed = [result for result in ordered if isinstance(result, Failed)]
    if failed and not return_exceptions:
        error = failed[0].error
        if len(failed) > 1:
            error.add_note(f"{len(failed)} threads failed, this is the first; return_exceptions=True returns them all")
        raise error
    return [result.error if isinstance(result, Failed) else result for result in ordered]


def _own_saver(graph: Any) -> BaseCheckpointSaver[Any] | None:
    if hasattr(graph, "compile") and not hasattr(graph, "ainvoke"):
        return None
    if not hasattr(graph, "ainvoke") or not hasattr(graph, "aget_state"):
        raise TypeError(f"Runner got {graph!r} instead of a graph; pass a StateGraph, or the result of its compile()")
    saver = getattr(graph, "checkpointer", None)
    return saver if isinstance(saver, BaseCheckpointSaver) else None


def _refuse_loop(called: str, instead: str) -> None:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise RunnerStateError(f"{called} was called inside a running event loop, which it would block; use {instead}")


async def _next(results: AsyncIterator[tuple[int, Any]]) -> tuple[int, Any] | None:
    return await anext(results, None)


async def _close(results: Any) -> None:
    await results.aclose()
