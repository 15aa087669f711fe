"""One input, many runs: what LangGraph counts and holds in one run goes on over the runs that we resume a thread with.

To its user a thread runs once. LangGraph sees a run for each resume, and begins three things again with each: the steps
that `recursion_limit`, `RemainingSteps` and `IsLastStep` count, and the values of `UntrackedValue` channels, in which
LangChain's middleware counts the calls of a run. So each checkpoint says at which step its input must end, and what its
untracked counters hold; a run that answers our interrupts goes on from there. A human's answer and a new input begin
again, as they do without us.

Numbers, and dicts of numbers, stand in the checkpoint's metadata. Other untracked values are what their author wants in
no checkpoint: they are held in memory, by the `Link` of the thread, and where that is gone the run says so.

LangGraph has no public way to do this. What is used of it is here alone, and `tests/unit/test_pregel_legs.py` names
what is missing when it moves.
"""

import functools
import sys
from collections.abc import Mapping
from typing import Any, Final, Protocol

from langgraph.channels.untracked_value import UntrackedValue
from langgraph.pregel._loop import PregelLoop
from langgraph.types import Command

from batch_bridge._wire import MARKER
from batch_bridge.errors import LostStateError

LINK: Final = "__batch_bridge__"
"""Where, in a run's `configurable`, the host that drives the graph leaves its `Link`."""
_STOP: Final = "batch_bridge_stop"
"""In a checkpoint's metadata: the step at which what was begun with its input must end."""
_COUNTERS: Final = "batch_bridge_counters"
"""In a checkpoint's metadata: untracked channels that hold numbers, by name."""
_HELD: Final = "batch_bridge_untracked"
"""In a checkpoint's metadata: the names of untracked channels that hold anything else."""
_RESUME_MAP: Final = "__pregel_resume_map"


class Turn(Protocol):
    """What a thread's host remembers of one input of it.

    Attributes:
        goes_on: This run goes on with the input of the one before.
        stops: At which step each loop must end, by checkpoint namespace.
        untracked: Values of untracked channels, by checkpoint namespace and name.
    """

    goes_on: bool
    stops: dict[str, int]
    untracked: dict[str, dict[str, Any]]


def install() -> None:
    """Have LangGraph's loops go on where a resume of ours takes them up. Idempotent; other runs are as they were."""
    if not getattr(PregelLoop._first, "is_batch_bridge", False):  # noqa: SLF001
        PregelLoop._first = _first(PregelLoop._first)  # type: ignore[method-assign]  # noqa: SLF001
        PregelLoop._put_checkpoint = _put_checkpoint(PregelLoop._put_checkpoint)  # type: ignore[method-assign]  # noqa: SLF001


def _first(original: Any) -> Any:
    @functools.wraps(original)
    def first(loop: Any, *args: Any, **kwargs: Any) -> Any:
        turn = _turn_of(loop)
        if _goes_on(loop):
            _go_on(loop)
        elif turn is not None and not loop.is_nested:
            turn.stops.clear()
            turn.untracked.clear()
        if turn is not None:
            turn.stops[_namespace(loop)] = loop.stop
        return original(loop, *args, **kwargs)

    first.is_batch_bridge = True  # type: ignore[attr-defined]
    return first


def _put_checkpoint(original: Any) -> Any:
    @functools.wraps(original)
    def put_checkpoint(loop: Any, metadata: Any) -> Any:
        if loop.checkpointer and (_turn_of(loop) is not None or "langgraph_api" in sys.modules):
            _note(loop, metadata)
        return original(loop, metadata)

    return put_checkpoint


def _turn_of(loop: Any) -> Turn | None:
    turn: Turn | None = loop.config["configurable"].get(LINK)
    return turn


def _goes_on(loop: Any) -> bool:
    """Return whether a run goes on with the input of the one before: we have resumed it, and no human."""
    turn = _turn_of(loop)
    if turn is not None:
        return turn.goes_on
    answers = loop.config["configurable"].get(_RESUME_MAP) if loop.is_nested else None
    if isinstance(loop.input, Command):
        answers = loop.input.resume
    return (
        isinstance(answers, Mapping)
        and bool(answers)
        and all(isinstance(each, Mapping) and MARKER in each for each in answers.values())
    )


def _go_on(loop: Any) -> None:
    saved, turn, namespace = loop.checkpoint_metadata, _turn_of(loop), _namespace(loop)
    stop = (
        turn.stops.get(namespace) if turn is not None else None
    )  # a human's answer may have come since the checkpoint
    if stop is not None or isinstance(stop := saved.get(_STOP), int):
        loop.stop = stop
    held = turn.untracked.get(namespace, {}) if turn is not None else {}
    lost = [name for name in saved.get(_HELD) or () if name not in held]
    if lost:
        thread = loop.config["configurable"].get("thread_id")
        raise LostStateError(
            f"thread {thread!r}{f' in {namespace!r}' if namespace else ''} waited for a batch with a value in "
            f"{', '.join(map(repr, lost))}, which is an UntrackedValue and in no checkpoint, and the process that held "
            "it is gone. Put what must outlive a wait into an ordinary channel, or set it again in the node that needs "
            "it; then run the thread again under another run_id or thread_id"
        )
    for name, value in {**(saved.get(_COUNTERS) or {}), **held}.items():
        channel = loop.channels.get(name)
        if isinstance(channel, UntrackedValue):
            channel.update([value])


def _note(loop: Any, metadata: dict[str, Any]) -> None:
    metadata[_STOP] = loop.stop
    untracked = {
        name: channel.get()
        for name, channel in loop.channels.items()
        if isinstance(channel, UntrackedValue) and channel.is_available()
    }
    counters = {name: value for name, value in untracked.items() if _is_counter(value)}
    held = {name: value for name, value in untracked.items() if name not in counters}
    metadata |= {key: value for key, value in ((_COUNTERS, counters), (_HELD, sorted(held))) if value}
    turn = _turn_of(loop)
    if turn is not None and (held or turn.untracked):
        turn.untracked[_namespace(loop)] = held


def _namespace(loop: Any) -> str:
    return str(loop.config["configurable"].get("checkpoint_ns", ""))


def _is_counter(value: object) -> bool:
    if isinstance(value, dict):
        return all(isinstance(name, str) and isinstance(each, int | float) for name, each in value.items())
    return isinstance(value, int | float)
