"""How a thread is begun, or found again after a restart."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

from langchain_core.messages import BaseMessage
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.store.base import GetOp, PutOp
from langgraph.types import Command
from pydantic import BaseModel

from batch_bridge._compat.langgraph import is_by_id
from batch_bridge._core.payload.interrupt_payload import Asked
from batch_bridge._ledger.rows import Rows
from batch_bridge.errors import RunMismatchError
from batch_bridge.runner._threads.changed_graphs import refuse_gone
from batch_bridge.runner._threads.thread import Thread, sort_interrupts

DIGEST = "batch_bridge_input"
"""The metadata of a thread's checkpoints under which the digest of its input is kept."""
ROUNDS = "batch_bridge_rounds"
"""The metadata under which is kept how often a thread had parked."""
_FAILURES = ("batch_bridge_failures",)
_serializer = JsonPlusSerializer()


@dataclass(frozen=True, slots=True)
class Begin:
    """Run the graph with this: an input, a `Command`, or `None` to continue from the last checkpoint.

    With `replay` it starts from the checkpoint that the config names, which the thread has moved past. With `ended` the
    thread has ended before, and its result is only read again. With `is_new` it has no checkpoint: none was
    found, and the config did not ask for a certain one.
    """

    input: Any
    replay: bool = False
    ended: bool = False
    is_new: bool = False


@dataclass(frozen=True, slots=True)
class Collect:
    """The thread is parked already: do not run it, collect what it asks for."""

    interrupts: dict[str, list[Asked]]


def digest_of(value: object) -> str:
    """Return what an input is recognised by: 32 hex digits, the same in every process."""
    kind, data = _serializer.dumps_typed(_stable(value))
    return hashlib.blake2b(kind.encode() + data, digest_size=16).hexdigest()


def _stable(value: object) -> object:
    """Leave out what changes though the input does not: ids that LangGraph gives to its messages, a set's order."""
    match value:
        case BaseMessage():
            return value.model_copy(update={"id": None})
        case Mapping():
            return {key: _stable(each) for key, each in value.items()}
        case list() | tuple():
            return [_stable(each) for each in value]
        case set() | frozenset():
            return sorted(_serializer.dumps_typed(_stable(each)) for each in value)
        case BaseModel():
            return {name: _stable(getattr(value, name)) for name in type(value).model_fields}
        case _ if is_dataclass(value) and not isinstance(value, type):
            return {each.name: _stable(getattr(value, each.name)) for each in fields(value)}
        case _:
            return value


async def start(graph: Any, config: Any, thread: Thread, value: Any, *, continued: bool) -> Begin | Collect:
    """Return how to continue with a thread that may exist already.

    - no checkpoint: give it its input
    - something next and no interrupt: it was stopped between two steps, or failed; continue (its input would pay again)
    - parked at our interrupts: collect
    - an earlier checkpoint is named: a replay, which LangGraph makes a fork; it makes its requests again
    - a human has answered, see `_command`
    - ended: with `continued`, its result is read again; else the input is a new turn, as in LangGraph

    Args:
        graph: The compiled graph.
        config: The thread's config.
        thread: Its `digest` is that of `value`; where `value` is no input, that of the input the thread was begun with
            is put there, so that its checkpoints continue to name it.
        value: The input.
        continued: The caller named a run, whose threads are not run twice.

    Raises:
        RunMismatchError: The thread was begun with another input and has not ended, or `continued` is set.
        GraphChangedError: It waits at a node that the graph does not have.
    """
    saved = await graph.checkpointer.aget_tuple(config)
    if saved is None:
        return Begin(value, is_new=not config["configurable"].get("checkpoint_id"))
    await refuse_gone(graph, config, saved)
    known = saved.metadata.get(DIGEST)
    rounds = saved.metadata.get(ROUNDS)
    thread.rounds = rounds if isinstance(rounds, int) else 0
    if value is None or isinstance(value, Command):
        thread.digest = known or ""
    if await _is_replay(graph, config, saved.checkpoint["id"]):
        return Begin(value, replay=True)
    if isinstance(value, Command):
        return await _command(graph, config, value)
    snapshot = await graph.aget_state(config)
    ended = not snapshot.next and not snapshot.interrupts
    if ended and not continued:
        return Begin(value)
    if value is not None and known not in (None, thread.digest):
        raise mismatch(thread.index, thread.id)
    ours, others = sort_interrupts(snapshot.interrupts)
    if ours and not others:
        return Collect(ours)
    return Begin(None, ended=ended)


def mismatch(index: int, thread_id: str) -> RunMismatchError:
    """Return the error of a thread that was begun with another input."""
    return RunMismatchError(
        f"input {index} is not the one that thread {thread_id!r} was begun with; the same run_id (or thread_id) goes "
        "on with the same inputs in the same order. Use another run_id, or thread_id, for other inputs",
        index=index,
    )


async def _command(graph: Any, config: Any, command: Command[Any]) -> Begin | Collect:
    """Return how to continue with a thread that is given a `Command`, and may wait for us and for a human at once.

    Where our waits would have been answered at once, only the human's question would be pending, and a plain answer
    would do. So it is addressed to that question; and where none is pending (it has been answered), to no question.
    """
    if command.resume is None or is_by_id(command.resume):
        return Begin(command)
    pending = (await graph.aget_state(config)).interrupts
    ours, _ = sort_interrupts(pending)
    questions = [each.id for each in pending if each.id not in ours]
    if ours and len(questions) == 1:
        return Begin(replace(command, resume={questions[0]: command.resume}))
    if ours and not questions and not command.update and not command.goto:
        return Collect(ours)
    return Begin(command)


async def _is_replay(graph: Any, config: Any, checkpoint_id: str) -> bool:
    if not config["configurable"].get("checkpoint_id"):
        return False
    configurable = {key: value for key, value in config["configurable"].items() if key != "checkpoint_id"}
    newest = await graph.checkpointer.aget_tuple({**config, "configurable": configurable})
    return newest is None or newest.checkpoint["id"] != checkpoint_id


class Failures:
    """How often threads have failed and are to be run again. Each retry may repeat failed requests."""

    def __init__(self, store: Rows) -> None:
        self._store = store

    async def read(self, thread: Thread) -> None:
        """Read a thread's count."""
        (item,) = await self._store.abatch([GetOp(_FAILURES, thread.id)])
        thread.has_failed = item is not None
        thread.failures = 0 if item is None else int(item.value["failures"])

    async def note(self, thread: Thread, run_id: str, failure: str, *, counts: bool = True) -> None:
        """Note that a thread has failed; after the failure, so a crash in between only shows the same failure again.

        Args:
            thread: It was driven by this process.
            run_id: The run of the thread.
            failure: What failures are grouped by: a request's code, or the name of the error's type.
            counts: Whether the failure counts, so that ended requests are repeated instead of looked up again.
        """
        thread.has_failed = True
        thread.failures += counts
        row = {"failures": thread.failures, "run": run_id, "failure": failure}
        await self._store.abatch([PutOp(_FAILURES, thread.id, row, index=False)])

    async def clear(self, thread: Thread) -> None:
        """Drop the count of a thread that has ended well."""
        if thread.has_failed:
            await self.forget(thread.id)

    async def forget(self, thread_id: str) -> None:
        """Drop the count of a thread, if there is one."""
        await self._store.abatch([PutOp(_FAILURES, thread_id, None)])
