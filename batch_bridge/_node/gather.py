"""Waits of several tasks of one node, in one round."""

import asyncio
from collections.abc import Awaitable, Sequence
from types import TracebackType
from typing import TypeVar

from langgraph.errors import GraphInterrupt

from batch_bridge._node.pending_waits import ParkedInterrupt

T = TypeVar("T")


async def gather(*awaitables: Awaitable[T]) -> list[T]:
    """Await LangGraph `@task`s together, so that their waits share one round.

    `asyncio.gather` would raise the interrupts of several tasks one at a time. This function waits for all of them, and
    raises their interrupts as one. Other errors take precedence. It also works for any other awaitables.

    Returns:
        The results, in order.
    """
    results = await asyncio.gather(*awaitables, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException) and not isinstance(result, GraphInterrupt):
            raise result
    if interrupts := [result for result in results if isinstance(result, GraphInterrupt)]:
        raise _merge(interrupts)
    return [result for result in results if not isinstance(result, BaseException)]


class TaskGroup(asyncio.TaskGroup):
    """An `asyncio.TaskGroup` whose tasks may wait.

    The class of asyncio wraps the exceptions of its tasks into an `ExceptionGroup`, which LangGraph does not treat as
    an interrupt: the node would fail instead of parking. This class raises the interrupts of its tasks as one, and
    everything else as asyncio does.
    """

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Wait for the tasks; see `asyncio.TaskGroup`."""
        try:
            await super().__aexit__(kind, error, trace)
        except BaseExceptionGroup as group:
            interrupted, rest = group.split(GraphInterrupt)
            if interrupted is None or rest is not None:
                raise
            raise _merge(_leaves(interrupted)) from None


def _leaves(group: BaseExceptionGroup[GraphInterrupt]) -> list[GraphInterrupt]:
    return [
        leaf
        for each in group.exceptions
        for leaf in (_leaves(each) if isinstance(each, BaseExceptionGroup) else [each])
    ]


def _merge(raised: Sequence[GraphInterrupt]) -> GraphInterrupt:
    """Return one `GraphInterrupt` for several; waits of one execution share one interrupt, with one id."""
    merged = tuple({each.id: each for one in raised for each in one.args[0]}.values())
    return (
        ParkedInterrupt(merged) if all(isinstance(one, ParkedInterrupt) for one in raised) else GraphInterrupt(merged)
    )
