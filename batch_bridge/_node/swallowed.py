"""An interrupt that did not reach LangGraph: found in what was raised in its place, and what to do about it. Pure."""

from collections.abc import Iterator
from typing import Final

from langgraph.errors import GraphBubbleUp, GraphInterrupt

from batch_bridge._core.payload.interrupt_payload import is_bridge_interrupt
from batch_bridge.errors import BatchBridgeError

_DEEPEST: Final = 32
"""Errors in a chain that are looked at."""
_ADVICE: Final = {
    "tenacity": "pass tenacity retry=retry_if_not_exception_type(GraphBubbleUp), from langgraph.errors; or use "
    "a RetryPolicy on the node instead",
    "instructor": "pass instructor a client of wrap_openai, whose interrupts it does not catch; call it with "
    "another client in a node that does not wait",
    "anyio": "wait with batch_bridge.gather, or in batch_bridge.TaskGroup",
    "group": "use batch_bridge.TaskGroup, or asyncio.gather, instead of the task group",
    "": "re-raise GraphBubbleUp, from langgraph.errors, before other exceptions are caught: "
    "`except GraphBubbleUp: raise`; for failed requests, catch RequestError, or the client's own errors",
}


def interrupt_in(error: BaseException) -> GraphInterrupt | None:
    """Return our interrupt that an error holds: as its cause, its context, in a group, or as a library keeps it."""
    seen: set[int] = set()
    found = [error]
    while found and len(seen) < _DEEPEST:
        each = found.pop()
        if id(each) in seen:
            continue
        seen.add(id(each))
        if isinstance(each, GraphInterrupt):
            if each.args and isinstance(each.args[0], list | tuple) and any(map(is_bridge_interrupt, each.args[0])):
                return each
            continue
        if not isinstance(each, BatchBridgeError):  # ours are raised on purpose, and say themselves what to do
            found += _inside(each)
    return None


def without_interrupts(error: Exception) -> Exception | None:
    """Return what else a group of errors holds: that is what would have been raised, had the answers been there."""
    if isinstance(error, ExceptionGroup):
        return error.split(GraphInterrupt)[1]
    return None


def advice_for(error: BaseException) -> str:
    """Return the advice that fits the code which raised an error in place of an interrupt."""
    modules = {type(each).__module__.partition(".")[0] for each in _chain(error)}
    for library in ("instructor", "tenacity"):
        if library in modules:
            return _ADVICE[library]
    if any(isinstance(each, BaseExceptionGroup) for each in _chain(error)):
        return _ADVICE["group"]
    return _ADVICE["anyio"] if "anyio" in modules else _ADVICE[""]


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and what it holds, until the interrupt."""
    seen: set[int] = set()
    found = [error]
    while found and len(seen) < _DEEPEST:
        each = found.pop()
        if id(each) not in seen and not isinstance(each, GraphBubbleUp):
            seen.add(id(each))
            yield each
            found += _inside(each)


def _inside(error: BaseException) -> list[BaseException]:
    held: list[object] = [error.__cause__, error.__context__, *error.args]
    if isinstance(error, BaseExceptionGroup):
        held += error.exceptions
    attempt = getattr(error, "last_attempt", None)  # tenacity's future
    if attempt is not None and callable(getattr(attempt, "exception", None)) and attempt.done():
        held.append(attempt.exception())
    for failed in getattr(error, "failed_attempts", None) or ():  # instructor's
        held.append(getattr(failed, "exception", None))
    return [each for each in held if isinstance(each, BaseException)]
