"""The methods of a Runner that block: each runs its async twin, outside an event loop."""

import asyncio
import contextlib
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator, Sequence
from types import TracebackType
from typing import Any, Generic, Literal, Self, Unpack, overload

from langchain_core.runnables import RunnableConfig

from batch_bridge._core.pending import OnPending
from batch_bridge._node.running_loop import is_on_loop
from batch_bridge.errors import RunnerStateError
from batch_bridge.runner._options import BATCH, INVOKE, InvokeOptions, SameResult, check_options
from batch_bridge.runner._types import ContextT, StateT


class Blocking(Generic[StateT, ContextT]):
    """The blocking half of a `Runner`."""

    _graph: Any
    _sync: asyncio.Runner | None = None

    @property
    def _me(self) -> Any:
        """The Runner, whose other half has the coroutines."""
        return self

    def __enter__(self) -> Self:
        _refuse_loop("with Runner(…)", "async with Runner(…)")
        self._sync = asyncio.Runner()
        try:
            self._sync.run(self._me.__aenter__())
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
                self._sync.run(self._me.__aexit__(kind, error, trace))
            finally:
                self._sync.close()
                self._sync = None

    @overload
    def batch(
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
    def batch(
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
    def batch(
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
    def batch(
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
        """Run `abatch` outside an event loop."""
        _refuse_loop("batch()", "await abatch()")
        check_options("batch()", options, BATCH, self._graph)
        with self._opened_sync() as loop:
            return loop.run(
                self._me.abatch(
                    inputs,
                    config,
                    run_id=run_id,
                    return_exceptions=return_exceptions,
                    on_pending=on_pending,
                    max_concurrency=max_concurrency,
                    context=context,
                    **options,
                )
            )

    @overload
    def batch_as_completed(
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
    ) -> Iterator[tuple[int, StateT]]: ...
    @overload
    def batch_as_completed(
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
    ) -> Iterator[tuple[int, StateT | Exception]]: ...
    @overload
    def batch_as_completed(
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
    ) -> Iterator[tuple[int, Any]]: ...
    def batch_as_completed(
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
    ) -> Iterator[tuple[int, Any]]:
        """Run `abatch_as_completed` outside an event loop.

        Threads run only while the caller waits for the next result.
        """
        _refuse_loop("batch_as_completed()", "async for … in abatch_as_completed()")
        check_options("batch_as_completed()", options, BATCH, self._graph)
        with self._opened_sync() as loop:
            results = self._me.abatch_as_completed(
                inputs,
                config,
                run_id=run_id,
                return_exceptions=return_exceptions,
                on_pending=on_pending,
                max_concurrency=max_concurrency,
                context=context,
                **options,
            )
            try:
                while (pair := loop.run(_next(results))) is not None:
                    yield pair
            finally:
                loop.run(_close(results))

    @overload
    def invoke(
        self,
        input: Any,  # as LangGraph calls it
        config: RunnableConfig | None = None,
        *,
        context: ContextT | None = None,
        **options: Unpack[SameResult],
    ) -> StateT: ...
    @overload
    def invoke(
        self,
        input: Any,  # as LangGraph calls it
        config: RunnableConfig | None = None,
        *,
        context: ContextT | None = None,
        **options: Unpack[InvokeOptions],
    ) -> Any: ...
    def invoke(
        self,
        input: Any,  # noqa: A002  # as LangGraph calls it
        config: RunnableConfig | None = None,
        *,
        context: ContextT | None = None,
        **options: Unpack[InvokeOptions],
    ) -> Any:
        """Run `ainvoke` outside an event loop."""
        _refuse_loop("invoke()", "await ainvoke()")
        check_options("invoke()", options, INVOKE, self._graph)
        with self._opened_sync() as loop:
            return loop.run(self._me.ainvoke(input, config, context=context, **options))

    @contextlib.contextmanager
    def _opened_sync(self) -> Iterator[asyncio.Runner]:
        if self._sync is not None:
            yield self._sync
            return
        with self:
            assert self._sync is not None  # noqa: S101  # `__enter__` has set it
            yield self._sync


def _refuse_loop(called: str, instead: str) -> None:
    if is_on_loop():
        raise RunnerStateError(f"{called} was called inside a running event loop, which it would block; use {instead}")


async def _next(results: AsyncIterator[tuple[int, Any]]) -> tuple[int, Any] | None:
    return await anext(results, None)


async def _close(results: Any) -> None:
    await results.aclose()
