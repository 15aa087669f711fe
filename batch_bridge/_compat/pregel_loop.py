"""LangGraph's loop, as far as its limits must hold over our resumes. Every private name that they need stands here.

LangGraph has no public place in which a run that is resumed can be given the steps that are left to it, or the values
of `UntrackedValue` channels, in subgraphs too, before the first task reads them. So four methods of its loop are
wrapped: what it does first, with a task's writes, after a step, and with a checkpoint. All do what they did in runs
that are not ours, and where no interrupt of ours is. `tests/unit/node/test_pregel_legs.py` fails by name when one of
these names vanishes.
"""

import copy
import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from langgraph.channels import UntrackedValue
from langgraph.checkpoint.serde.types import INTERRUPT, TASKS
from langgraph.pregel import _loop
from langgraph.types import Interrupt, Send

RESUMING = "__pregel_resuming"
"""In the `configurable` of a subgraph: whether its parent continues where it was stopped."""
METHODS = ("_first", "_put_checkpoint", "after_tick", "put_writes")
ATTRIBUTES = (
    "channels",
    "checkpoint",
    "checkpoint_metadata",
    "checkpoint_pending_writes",
    "config",
    "input",
    "is_nested",
    "specs",
    "stop",
    "tasks",
)
Writes = Sequence[tuple[str, Any]]
_ONCE = "_batch_bridge_once"
"""Our own attribute of a loop: the channels that are set for one step."""
_HAS_UNTRACKED = "_batch_bridge_has_untracked"
"""Our own attribute of a loop: whether its graph has channels that LangGraph never writes down."""


class Loop:
    """One run of a graph, or of a subgraph in it, as LangGraph carries it out.

    Args:
        loop: LangGraph's `PregelLoop`.
        put: Its way to note a task's writes.
    """

    def __init__(self, loop: Any, put: Callable[..., None]) -> None:
        self._loop = loop
        self._put = put

    @property
    def configurable(self) -> Mapping[str, Any]:
        """What the run was given, and what LangGraph has put beside it."""
        configurable: Mapping[str, Any] = self._loop.config.get("configurable", {})
        return configurable

    @property
    def thread(self) -> str:
        """The thread's id; empty without a checkpointer."""
        return str(self.configurable.get("thread_id") or "")

    @property
    def namespace(self) -> str:
        """Where the graph is within the root graph, which has none."""
        return str(self.configurable.get("checkpoint_ns") or "")

    @property
    def checkpoint_id(self) -> str:
        """The checkpoint that the step at work has begun with."""
        return str(self._loop.checkpoint["id"])

    @property
    def metadata(self) -> Mapping[str, Any]:
        """What stands beside the checkpoint."""
        metadata: Mapping[str, Any] = self._loop.checkpoint_metadata
        return metadata

    @property
    def is_root(self) -> bool:
        """Whether no node runs this graph."""
        return not self._loop.is_nested

    @property
    def is_addressed(self) -> bool:
        """Whether the run's config names the checkpoint to begin at."""
        return bool(self.configurable.get("checkpoint_id"))

    @property
    def input(self) -> Any:
        """What the graph is run with."""
        return self._loop.input

    @property
    def is_resumed(self) -> bool:
        """Whether a subgraph continues where it was stopped."""
        return bool(self.configurable.get(RESUMING))

    def configure(self, key: str, value: object) -> None:
        """Put a value into `configurable`, for this graph and for those in it."""
        config = self._loop.config
        self._loop.config = {**config, "configurable": {**config.get("configurable", {}), key: value}}

    @property
    def stop(self) -> int:
        """The last step that may run."""
        return int(self._loop.stop)

    @stop.setter
    def stop(self, stop: int) -> None:
        self._loop.stop = stop

    def task_name(self, task: str) -> str:
        """The node that a task of this step runs."""
        found = self._loop.tasks.get(task)
        return "" if found is None else str(found.name)

    def tasks(self) -> Iterable[str]:
        """Return the ids of this step's tasks."""
        tasks: Iterable[str] = self._loop.tasks
        return tasks

    def has_task(self, task: str) -> bool:
        """Whether this step has a task. Before the first step of a run it has none."""
        return task in getattr(self._loop, "tasks", ())

    # -- untracked values --------------------------------------------------------------------------------------------

    def is_untracked(self, channel: str) -> bool:
        """Whether LangGraph never writes down what is in a channel."""
        return isinstance(self._loop.specs.get(channel), UntrackedValue)

    @property
    def has_untracked(self) -> bool:
        """Whether the graph has such channels. A run asks several times, and its graph does not change."""
        known = self._loop.__dict__.get(_HAS_UNTRACKED)
        if known is None:
            known = any(UntrackedValue in type(spec).__mro__ for spec in self._loop.specs.values())  # no ABC's look
            setattr(self._loop, _HAS_UNTRACKED, known)
        return bool(known)

    def untracked(self) -> dict[str, Any]:
        """Return the values of such channels that are set."""
        return {
            name: channel.get()
            for name, channel in self._loop.channels.items()
            if isinstance(channel, UntrackedValue) and channel.is_available()
        }

    def set_untracked(self, channel: str, value: object) -> None:
        """Set such a channel, if the graph still has it."""
        found = self._loop.channels.get(channel)
        if isinstance(found, UntrackedValue):
            found.update([value])

    @property
    def once(self) -> bool:
        """Whether untracked values are there for this step alone."""
        return hasattr(self._loop, _ONCE)

    def forget_after_step(self, channels: Iterable[str]) -> None:
        """Have these channels empty again when this step's writes are applied to them."""
        setattr(self._loop, _ONCE, tuple(channels))

    def sent(self) -> list[Any]:
        """Return what is sent to the tasks of this step. The list is the loop's own."""
        channel = self._loop.channels.get(TASKS)
        return getattr(channel, "values", [])

    # -- writes ------------------------------------------------------------------------------------------------------

    @property
    def writes(self) -> list[tuple[str, str, Any]]:
        """What the tasks of this step have written: task, channel, value."""
        writes: list[tuple[str, str, Any]] = self._loop.checkpoint_pending_writes
        return writes

    @writes.setter
    def writes(self, writes: list[tuple[str, str, Any]]) -> None:
        self._loop.checkpoint_pending_writes = writes

    def interrupts(self) -> list[Interrupt]:
        """Return the interrupts that tasks of this step have raised, answered ones too."""
        found = [each for _, channel, value in self.writes if channel == INTERRUPT for each in _several(value)]
        return [each for each in found if isinstance(each, Interrupt)]

    def put(self, task: str, writes: Writes) -> None:
        """Write something down beside what the tasks write."""
        self._put(self._loop, task, writes)


def interrupted(writes: Writes) -> bool:
    """Return whether these are the writes of a task that was interrupted."""
    return any(channel == INTERRUPT for channel, _ in writes)


def change_interrupts(writes: Writes, change: Callable[[Any], Any]) -> Writes:
    """Return the writes of a task with other values in its interrupts; their ids stay.

    What is no interrupt stays as it is: a node may raise `GraphInterrupt` with anything.
    """
    return [
        (channel, tuple(_changed(each, change) for each in _several(value)) if channel == INTERRUPT else value)
        for channel, value in writes
    ]


def _changed(interrupt: Any, change: Callable[[Any], Any]) -> Any:
    if not isinstance(interrupt, Interrupt):
        return interrupt
    other = copy.copy(interrupt)
    other.value = change(interrupt.value)
    return other


def _several(value: Any) -> Iterable[Any]:
    return value if isinstance(value, Sequence) else (value,)


def is_sent(channel: str, value: object) -> bool:
    """Return whether a write sends a state to a node."""
    return channel == TASKS and isinstance(value, Send)


def with_fields(packet: Any, fields: Mapping[str, Any]) -> Any:
    """Return what is sent to a node with more fields in its state."""
    if not isinstance(packet, Send) or not isinstance(packet.arg, dict):
        return packet
    other = copy.copy(packet)
    other.arg = {**packet.arg, **fields}
    return other


def missing() -> list[str]:
    """Return the names that this LangGraph has no more."""
    loop = getattr(_loop, "PregelLoop", None)
    if loop is None:
        return ["PregelLoop"]
    known = getattr(loop, "__annotations__", {})
    names = [name for name in METHODS if not callable(getattr(loop, name, None))]
    return names + [name for name in ATTRIBUTES if name not in known]


def wrap(
    first: Callable[[Loop], None],
    written: Callable[[Loop, str, Writes], Writes],
    noted: Callable[[Loop, dict[str, Any]], None],
    saved: Callable[[Loop], None],
) -> list[str]:
    """Wrap LangGraph's loop, once in a process.

    Args:
        first: Called before a run does what it does first; its checkpoint is loaded, and no task has been prepared.
        written: Called with a task and its writes; returns the writes to note.
        noted: Called with the metadata of a checkpoint that is about to be made, to add to it.
        saved: Called when a checkpoint has been made.

    Returns:
        The names that are missing; then nothing is wrapped.
    """
    if gone := missing():
        return gone
    kind = _loop.PregelLoop
    begin, put, after, save = kind._first, kind.put_writes, kind.after_tick, kind._put_checkpoint  # noqa: SLF001
    if hasattr(begin, "__wrapped__"):
        return []

    @functools.wraps(begin)
    def wrapped_first(self: Any, *arguments: Any, **named: Any) -> Any:
        first(Loop(self, put))
        return begin(self, *arguments, **named)

    @functools.wraps(put)
    def wrapped_put(self: Any, task_id: str, writes: Writes, *arguments: Any, **named: Any) -> None:
        put(self, task_id, written(Loop(self, put), task_id, writes), *arguments, **named)

    @functools.wraps(after)
    def wrapped_after(self: Any, *arguments: Any, **named: Any) -> Any:
        for channel in self.__dict__.pop(_ONCE, ()):
            self.channels[channel] = self.specs[channel].from_checkpoint(None)
        return after(self, *arguments, **named)

    @functools.wraps(save)
    def wrapped_save(self: Any, metadata: Any, *arguments: Any, **named: Any) -> Any:
        noted(Loop(self, put), metadata)
        result = save(self, metadata, *arguments, **named)
        saved(Loop(self, put))
        return result

    kind._put_checkpoint = wrapped_save  # type: ignore[method-assign]  # noqa: SLF001
    kind.after_tick = wrapped_after  # type: ignore[method-assign]
    kind._first = wrapped_first  # type: ignore[method-assign]  # noqa: SLF001
    kind.put_writes = wrapped_put  # type: ignore[method-assign]
    return []
