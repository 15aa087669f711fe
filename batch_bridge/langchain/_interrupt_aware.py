"""LangChain's retries, fallbacks and bindings, but interrupts pass: a thread that parks has not failed."""

from collections.abc import AsyncIterator, Iterator
from typing import Any, ClassVar

from langchain_core.runnables import Runnable, RunnableBinding, RunnableConfig, RunnableSequence, RunnableWithFallbacks
from langchain_core.runnables.retry import RunnableRetry
from langgraph.errors import GraphBubbleUp
from tenacity import retry_if_exception_type, retry_if_not_exception_type, wait_none

from batch_bridge.langchain._exception_tunnel import ExceptionTunnel


def pass_interrupts(runnable: Runnable[Any, Any]) -> Runnable[Any, Any]:
    """Return a binding or a sequence whose `with_retry` and `with_fallbacks` let interrupts pass."""
    if type(runnable) is RunnableSequence:
        first, *middle, last = runnable.steps
        return InterruptAwareSequence(first=first, middle=middle, last=last, name=runnable.name)
    if isinstance(runnable, RunnableBinding) and not isinstance(runnable, InterruptAwareBinding):
        return InterruptAwareBinding(**_fields(runnable))
    return runnable


def with_interrupt_aware_retry(retry: Runnable[Any, Any]) -> Runnable[Any, Any]:
    """Return a retry that lets interrupts pass."""
    return InterruptAwareRetry(**_fields(retry)) if type(retry) is RunnableRetry else retry


def with_interrupt_aware_fallbacks(fallbacks: RunnableWithFallbacks[Any, Any]) -> RunnableWithFallbacks[Any, Any]:
    """Return fallbacks that let interrupts pass."""
    return InterruptAwareFallbacks(**_fields(fallbacks)) if type(fallbacks) is RunnableWithFallbacks else fallbacks


class _InterruptAware:
    """What all of these share: they are serialised as what LangChain has for them."""

    _lc_name: ClassVar[str]

    @classmethod
    def lc_id(cls) -> list[str]:
        """Name LangChain's own class."""
        return [*cls.get_lc_namespace(), cls._lc_name]  # type: ignore[attr-defined]  # all are `Serializable`


class InterruptAwareBinding(_InterruptAware, RunnableBinding[Any, Any]):
    """A `RunnableBinding` whose wrappers let interrupts pass."""

    _lc_name: ClassVar = "RunnableBinding"

    def with_retry(self, **kwargs: Any) -> Runnable[Any, Any]:
        """Retry what failed."""
        return with_interrupt_aware_retry(Runnable.with_retry(self, **kwargs))

    def with_fallbacks(self, fallbacks: Any, **kwargs: Any) -> RunnableWithFallbacks[Any, Any]:
        """Ask others where it failed."""
        return with_interrupt_aware_fallbacks(super().with_fallbacks(fallbacks, **kwargs))


class InterruptAwareSequence(_InterruptAware, RunnableSequence[Any, Any]):
    """A `RunnableSequence` whose wrappers let interrupts pass."""

    _lc_name: ClassVar = "RunnableSequence"

    def with_retry(self, **kwargs: Any) -> Runnable[Any, Any]:
        """Retry what failed."""
        return with_interrupt_aware_retry(super().with_retry(**kwargs))

    def with_fallbacks(self, fallbacks: Any, **kwargs: Any) -> RunnableWithFallbacks[Any, Any]:
        """Ask others where it failed."""
        return with_interrupt_aware_fallbacks(super().with_fallbacks(fallbacks, **kwargs))


class InterruptAwareRetry(_InterruptAware, RunnableRetry[Any, Any]):
    """A `RunnableRetry` that lets interrupts pass, and does not wait: the next attempt waits for a batch anyway."""

    _lc_name: ClassVar = "RunnableRetry"

    @property
    def _kwargs_retrying(self) -> dict[str, Any]:
        kwargs = super()._kwargs_retrying
        retry = kwargs.get("retry", retry_if_exception_type())
        return {**kwargs, "wait": wait_none(), "retry": retry & retry_if_not_exception_type(GraphBubbleUp)}


class InterruptAwareFallbacks(_InterruptAware, RunnableWithFallbacks[Any, Any]):
    """A `RunnableWithFallbacks` that lets interrupts pass."""

    _lc_name: ClassVar = "RunnableWithFallbacks"

    @property
    def runnables(self) -> Iterator[Runnable[Any, Any]]:
        """The runnable, and what stands in for it; their interrupts as a `ExceptionTunnel`."""
        return map(_Through, super().runnables)

    def invoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:  # noqa: A002  # LangChain's name
        """Ask until one does not fail."""
        try:
            return super().invoke(input, config, **kwargs)
        except ExceptionTunnel as crossing:
            crossing.land()

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:  # noqa: A002
        """Ask until one does not fail."""
        try:
            return await super().ainvoke(input, config, **kwargs)
        except ExceptionTunnel as crossing:
            crossing.land()

    def batch(self, inputs: list[Any], config: Any = None, **kwargs: Any) -> list[Any]:
        """Ask for several."""
        try:
            return super().batch(inputs, config, **kwargs)
        except ExceptionTunnel as crossing:
            crossing.land()

    async def abatch(self, inputs: list[Any], config: Any = None, **kwargs: Any) -> list[Any]:
        """Ask for several."""
        try:
            return await super().abatch(inputs, config, **kwargs)
        except ExceptionTunnel as crossing:
            crossing.land()

    def stream(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Iterator[Any]:  # noqa: A002
        """Stream what the first gives that does not fail at its beginning."""
        try:
            yield from super().stream(input, config, **kwargs)
        except ExceptionTunnel as crossing:
            crossing.land()

    async def astream(
        self,
        input: Any,  # noqa: A002
        config: RunnableConfig | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[Any]:
        """Stream what the first gives that does not fail at its beginning."""
        try:
            async for chunk in super().astream(input, config, **kwargs):
                yield chunk
        except ExceptionTunnel as crossing:
            crossing.land()


class _Through(Runnable[Any, Any]):
    """A runnable whose interrupts leave it as a `ExceptionTunnel`."""

    def __init__(self, inner: Runnable[Any, Any]) -> None:
        self._inner = inner

    def invoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:  # noqa: A002
        try:
            return self._inner.invoke(input, config, **kwargs)
        except GraphBubbleUp as interrupt:
            raise ExceptionTunnel(interrupt) from None

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:  # noqa: A002
        try:
            return await self._inner.ainvoke(input, config, **kwargs)
        except GraphBubbleUp as interrupt:
            raise ExceptionTunnel(interrupt) from None

    def batch(self, inputs: list[Any], config: Any = None, **kwargs: Any) -> list[Any]:
        return _cross(self._inner.batch(inputs, config, **kwargs))

    async def abatch(self, inputs: list[Any], config: Any = None, **kwargs: Any) -> list[Any]:
        return _cross(await self._inner.abatch(inputs, config, **kwargs))

    def stream(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Iterator[Any]:  # noqa: A002
        try:
            yield from self._inner.stream(input, config, **kwargs)
        except GraphBubbleUp as interrupt:
            raise ExceptionTunnel(interrupt) from None

    async def astream(
        self,
        input: Any,  # noqa: A002
        config: RunnableConfig | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[Any]:
        try:
            async for chunk in self._inner.astream(input, config, **kwargs):
                yield chunk
        except GraphBubbleUp as interrupt:
            raise ExceptionTunnel(interrupt) from None


def _cross(outputs: list[Any]) -> list[Any]:
    """Return what a batch gave with `return_exceptions=True`; if a thread parks, all of it does."""
    for output in outputs:
        if isinstance(output, GraphBubbleUp):
            raise ExceptionTunnel(output)
    return outputs


def _fields(runnable: Any) -> dict[str, Any]:
    return {name: getattr(runnable, name) for name in type(runnable).model_fields}
