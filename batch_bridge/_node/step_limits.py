"""What a resumed run continues with: the steps that it had left, and its untracked state.

To its user a thread runs once for each input; that it is resumed in between is our business. So a graph that parks at
our waits leaves a note in its interrupts: its last step, and what LangGraph does not write down of its state. Each
graph that is part of the way to the wait, the root and the subgraphs, has its own note in its own checkpoint. When it
is resumed with our answers it takes that up before its tasks are prepared. A human's answer starts limits and untracked
state again, as it does in LangGraph; but tasks that still wait for us have begun before it, and find the state that
they began with.
"""

import uuid
from collections.abc import Mapping
from typing import Any, Final, Protocol

from langgraph.types import Command

from batch_bridge._compat.pregel_loop import Loop, Writes, change_interrupts, interrupted, is_sent, with_fields, wrap
from batch_bridge._core.payload.interrupt_payload import MARKER, VERSION
from batch_bridge._core.wording.log import logger_of
from batch_bridge._node.untracked_state import TaskWrites, Untracked, UntrackedMemory, from_json
from batch_bridge.errors import LostStateError

logger = logger_of(__name__)

LINK: Final = "__batch_bridge__"
"""Where, in a run's `configurable`, the host that drives the graph leaves its `Link`."""
_TURN: Final = "__batch_bridge_turn__"
"""The key of a run's `configurable` that tells its subgraphs which side resumed it."""
_OURS: Final = "ours"
_HUMAN: Final = "human"
_NOTE: Final = "leg"
"""The key of the note in the value of an interrupt."""
_METADATA: Final = "batch_bridge_leg"
"""The key of a note in a checkpoint's metadata."""
_MARK: Final = "__batch_bridge_leg__"
"""The channel of a note that a task leaves which ends after another one of its step has parked."""
_MOST_THREADS: Final = 10_000
_server_memory = UntrackedMemory(_MOST_THREADS)
"""On a server no code is notified of a thread's end, so the number of threads is bounded."""


class StepLimitsHost(Protocol):
    """What this needs of the `Link` that a Runner leaves.

    Attributes:
        retries: How often the thread has failed and been run again.
        untracked: What the Runner's threads hold in no checkpoint.
        notes: What stands beside each checkpoint.
    """

    retries: int
    untracked: UntrackedMemory
    notes: Mapping[str, Any]


def install() -> None:
    """Let limits and untracked state hold over our resumes, in every graph of this process. Idempotent."""
    if gone := wrap(_first, _written, _noted, _saved):
        logger.warning(
            "this LangGraph has changed: its loop has no %s. recursion_limit, RemainingSteps and run limits start "
            "again with each answer of a batch, and UntrackedValue state is lost; use an older LangGraph, or a newer "
            "BatchBridge",
            ", ".join(gone),
        )


# -- when a graph parks --------------------------------------------------------------------------------------------


def _written(loop: Loop, task: str, writes: Writes) -> Writes:
    """Leave a note in our interrupts among a task's writes; or beside them, if a task has parked already."""
    if interrupted(writes):
        note: dict[str, Any] | None = None

        def with_note(value: Any) -> Any:
            nonlocal note
            if not _is_ours(value):
                return value
            if note is None:
                note = {**_limit(loop), "node": loop.task_name(task), **_keep(loop, task, writes)}
                if loop.once:
                    note["once"] = True
            return {**value, _NOTE: note}

        return change_interrupts(writes, with_note)
    if loop.has_untracked and loop.has_task(task) and any(_is_ours(each.value) for each in loop.interrupts()):
        untracked = _collect(loop, task, writes)
        if task in untracked.tasks:  # before its own writes: without the note they are not all there is
            mark = str(uuid.uuid5(uuid.UUID(loop.checkpoint_id), f"batch_bridge:{task}"))
            loop.put(mark, [(_MARK, {"node": loop.task_name(task), **_keep(loop, task, writes)})])
    return writes


def _limit(loop: Loop) -> dict[str, Any]:
    limit: dict[str, Any] = {"stop": loop.stop}
    if (host := _host(loop)) is not None and host.retries:
        limit["retries"] = host.retries
    return limit


def _noted(loop: Loop, metadata: dict[str, Any]) -> None:
    """Leave a note in a checkpoint's metadata, so that it is there when the process ends in the middle of a run."""
    if _is_ours_to_note(loop):
        note = _limit(loop)
        if loop.has_untracked:
            untracked = _state(loop)
            note |= untracked.to_json()
            if kept := untracked.in_memory():
                note["in_memory"] = kept
        metadata[_METADATA] = note
        if (host := _host(loop)) is not None:
            metadata.update(host.notes)


def _saved(loop: Loop) -> None:
    """Keep in memory what a new checkpoint does not hold."""
    if loop.has_untracked and _is_ours_to_note(loop):
        untracked = _state(loop)
        kept = untracked if untracked.in_memory() else None
        _memory(loop).keep(loop.thread, loop.namespace, loop.checkpoint_id, kept)


def _is_ours_to_note(loop: Loop) -> bool:
    """Return whether a run is a Runner's, or one that a server resumes with our answers."""
    return _host(loop) is not None or loop.configurable.get(_TURN) == _OURS


def _keep(loop: Loop, task: str, writes: Writes) -> dict[str, Any]:
    """Keep the untracked state of a graph in memory, and return what of it is written down."""
    if not loop.has_untracked and _memory(loop).is_empty:
        return {}
    untracked = _collect(loop, task, writes)
    memory, thread = _memory(loop), loop.thread
    memory.leave_only(thread, loop.namespace, set(loop.tasks()))
    note: dict[str, Any] = untracked.to_json()
    kept = untracked.in_memory()
    memory.keep(thread, loop.namespace, loop.checkpoint_id, untracked if kept else None)
    if kept:
        note["in_memory"] = kept
    return note


def _state(loop: Loop) -> Untracked:
    """Return the untracked state that a graph has at the beginning of a step."""
    untracked = Untracked()
    if loop.has_untracked:
        untracked.values = loop.untracked()
        for place, packet in enumerate(loop.sent()):
            if fields := _untracked_fields(loop, packet):
                untracked.sent[place] = fields
    return untracked


def _collect(loop: Loop, task: str, writes: Writes) -> Untracked:
    """Return the untracked state of a graph, in which a task is about to write."""
    untracked = _state(loop)
    if not loop.has_untracked:
        return untracked
    by_task: dict[str, list[tuple[str, Any]]] = {}
    for each, channel, value in loop.writes:
        if each != task and loop.has_task(each):
            by_task.setdefault(each, []).append((channel, value))
    by_task[task] = list(writes)
    for each, written in by_task.items():
        own = TaskWrites(sum(not loop.is_untracked(channel) for channel, _ in written))
        own.writes = [(channel, value) for channel, value in written if loop.is_untracked(channel)]
        packets = [value for channel, value in written if is_sent(channel, value)]
        own.sent = {
            place: fields for place, packet in enumerate(packets) if (fields := _untracked_fields(loop, packet))
        }
        if own.writes or own.sent:
            untracked.tasks[each] = own
    return untracked


def _untracked_fields(loop: Loop, packet: Any) -> dict[str, Any]:
    state = getattr(packet, "arg", None)
    return {name: value for name, value in state.items() if loop.is_untracked(name)} if isinstance(state, dict) else {}


# -- when it is resumed --------------------------------------------------------------------------------------------


def _first(loop: Loop) -> None:
    """Take up the notes that a graph left where it parked, if it is resumed with our answers."""
    marks = [value for _, channel, value in loop.writes if channel == _MARK]
    if marks:
        loop.writes = [each for each in loop.writes if each[1] != _MARK]
    turn = _turn(loop)
    if turn is None:
        return
    if loop.is_root:
        loop.configure(_TURN, turn)
    notes = [each.value[_NOTE] for each in loop.interrupts() if _is_ours(each.value) and _NOTE in each.value]
    if not notes and turn == _OURS and (saved := loop.metadata.get(_METADATA)):
        notes = [saved]
    if not notes:
        return
    untracked = _found(loop, [*notes, *marks])
    if turn == _OURS:
        host = _host(loop)
        limits = [note for note in notes if host is None or note.get("retries", 0) == host.retries]
        if limits:  # else it has failed since, and its next run starts with full limits
            loop.stop = max(note["stop"] for note in limits)
    else:
        untracked.tasks = {}
    _put_back(loop, untracked)
    if turn == _HUMAN or any(note.get("once") for note in notes):
        loop.forget_after_step(untracked.values)


def _turn(loop: Loop) -> str | None:
    """Return which side continues a parked graph; `None` if it starts, or receives a state with its resume."""
    given = loop.input
    if not loop.is_root:
        turn = loop.configurable.get(_TURN)
        return str(turn) if turn and loop.is_resumed else None
    if given is None:  # there is no answer yet, or it is a replay
        return None if loop.is_addressed else _OURS
    if not isinstance(given, Command) or given.update or given.goto:
        return None
    return _OURS if _is_answer(given.resume) else _HUMAN


def _found(loop: Loop, notes: list[Mapping[str, Any]]) -> Untracked:
    if kept := sorted({channel for note in notes for channel in note.get("in_memory", ())}):
        found = _memory(loop).find(loop.thread, loop.namespace, loop.checkpoint_id)
        if found is None:
            nodes = sorted({note["node"] for note in notes if note.get("in_memory") and "node" in note})
            raise _lost(loop, ", ".join(nodes), kept)
        return found
    untracked = Untracked()
    for note in notes:
        untracked.update(from_json(note))
    return untracked


def _lost(loop: Loop, node: str, channels: list[str]) -> LostStateError:
    where = f" at node {node!r}" if node else ""
    return LostStateError(
        f"thread {loop.thread!r} cannot continue{where}: it had a value in {', '.join(map(repr, channels))}, "
        "which is an "
        "UntrackedValue and in no checkpoint, and the process that held it in memory has ended, or has dropped it. "
        "Keep values that must survive a wait in an ordinary channel, create them in the node that uses them, or pass "
        "them as context; then run the thread again with another run_id or thread_id. If the channel is in the root "
        "graph, Command(update={…}) restores it",
        thread_id=loop.thread,
        node=node,
        channels=channels,
    )


def _put_back(loop: Loop, untracked: Untracked) -> None:
    for channel, value in untracked.values.items():
        loop.set_untracked(channel, value)
    sent = loop.sent()
    for place, fields in untracked.sent.items():
        if place < len(sent):
            sent[place] = with_fields(sent[place], fields)
    for task, own in untracked.tasks.items():
        others = [each for each in loop.writes if each[0] == task and not loop.is_untracked(each[1])]
        if len(others) != own.others:
            continue  # it was stopped in the middle of its writes, and runs again
        place = 0
        for index, (_, channel, value) in enumerate(others):
            if is_sent(channel, value):
                others[index] = (task, channel, with_fields(value, own.sent.get(place, {})))
                place += 1
        theirs = [each for each in loop.writes if each[0] != task]
        loop.writes = [*theirs, *others, *((task, channel, value) for channel, value in own.writes)]


def _host(loop: Loop) -> StepLimitsHost | None:
    host: StepLimitsHost | None = loop.configurable.get(LINK)
    return host


def _memory(loop: Loop) -> UntrackedMemory:
    host = _host(loop)
    return _server_memory if host is None else host.untracked


def _is_ours(value: Any) -> bool:
    return isinstance(value, Mapping) and value.get(MARKER) == VERSION and "requests" in value


def _is_answer(resume: Any) -> bool:
    """Return whether a graph is resumed with our answers alone."""
    return (
        isinstance(resume, dict)
        and bool(resume)
        and all(
            isinstance(each, Mapping) and each.get(MARKER) == VERSION and "outcomes" in each for each in resume.values()
        )
    )
