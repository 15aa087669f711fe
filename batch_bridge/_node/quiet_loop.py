"""Nothing is printed of tasks that parked and that no caller looks at again.

`asyncio.as_completed` and `asyncio.wait` leave the other tasks alone once one of them has raised. When such a task is
collected, asyncio reports "Task exception was never retrieved" to its loop's exception handler. For an interrupt that
is no news: the node has parked, and is run again.
"""

import asyncio
from collections.abc import Callable
from typing import Any

from langgraph.errors import GraphInterrupt

from batch_bridge._core.payload.interrupt_payload import is_bridge_interrupt

_Handler = Callable[[asyncio.AbstractEventLoop, dict[str, Any]], Any]


class _Quiet:
    """An exception handler that leaves unclaimed interrupts of ours out, and hands on everything else.

    Args:
        before: The handler that the loop had.
    """

    def __init__(self, before: _Handler | None) -> None:
        self._before = before

    def __call__(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        if _is_parked(context.get("exception")) and "never retrieved" in str(context.get("message")):
            return
        if self._before is None:
            loop.default_exception_handler(context)
        else:
            self._before(loop, context)


def keep_quiet(loop: asyncio.AbstractEventLoop) -> None:
    """Let an event loop report no interrupt of ours as an exception that was never retrieved. Idempotent."""
    before = loop.get_exception_handler()
    if not isinstance(before, _Quiet):
        loop.set_exception_handler(_Quiet(before))


def _is_parked(error: object) -> bool:
    return (
        isinstance(error, GraphInterrupt)
        and bool(error.args)
        and bool(error.args[0])
        and all(is_bridge_interrupt(each) for each in error.args[0])
    )
