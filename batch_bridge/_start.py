"""How a thread is begun, or found again after a restart."""

import hashlib
from dataclasses import dataclass
from typing import Any

from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.store.base import GetOp, PutOp
from langgraph.types import Command

from batch_bridge._ledger import Rows
from batch_bridge._thread import Thread, sort_interrupts
from batch_bridge._wire import Asked
from batch_bridge.errors import RunMismatchError

DIGEST = "batch_bridge_input"
"""The metadata of a thread's checkpoints under which the digest of its input is kept."""
_FAILURES = ("batch_bridge_failures",)
_serializer = JsonPlusSerializer()


@dataclass(frozen=True, slots=True)
class Begin:
    """Run the graph with this: an input, a `Command`, or `None` to go on from the last checkpoint."""

    input: Any


@dataclass(frozen=True, slots=True)
class Collect:
    """The thread is parked already: do not run it, collect what it asks for."""

    interrupts: dict[str, list[Asked]]


def digest_of(value: object) -> str:
    """Return what an input is recognised by: 32 hex digits."""
    kind, data = _serializer.dumps_typed(value)
    return hashlib.blake2b(kind.encode() + data, digest_size=16).hexdigest()


async def start(graph: Any, config: Any, thread: Thread, value: Any, *, continued: bool) -> Begin | Collect:
    """Tell how to go on with a thread that may exist already.

    - no checkpoint: give it its input
    - something next and no interrupt: it was stopped between two steps, or failed; go on (the input again would pay again)
    - parked at our interrupts: collect
    - ended: with `continued`, its result is read again; else the input is a new turn, as in LangGraph

    Args:
        graph: The compiled graph.
        config: The thread's config.
        thread: Its `digest` is that of `value`.
        value: The input.
        continued: The caller named a run, whose threads are not run twice.

    Raises:
        RunMismatchError: The thread was begun with another input and has not ended, or `continued` is set.
    """
    if isinstance(value, Command):
        return Begin(value)
    if await graph.checkpointer.aget_tuple(config) is None:
        return Begin(value)
    snapshot = await graph.aget_state(config)
    ended = not snapshot.next and not snapshot.interrupts
    if ended and not continued:
        return Begin(value)
    known = (snapshot.metadata or {}).get(DIGEST)
    if value is not None and known not in (None, thread.digest):
        raise RunMismatchError(
            f"input {thread.index} is not the one that thread {thread.id!r} was begun with; the same run_id (or "
            "thread_id) goes on with the same inputs in the same order. Use another run_id for other inputs",
            index=thread.index,
        )
    ours, others = sort_interrupts(snapshot.interrupts)
    if ours and not others:
        return Collect(ours)
    return Begin(None)


class Failures:
    """How often threads have failed and are to be run again: each allows failed requests to be asked anew."""

    def __init__(self, store: Rows) -> None:
        self._store = store

    async def of(self, thread_id: str) -> int:
        """Read a thread's count."""
        (item,) = await self._store.abatch([GetOp(_FAILURES, thread_id)])
        return 0 if item is None else int(item.value["failures"])

    async def note(self, thread: Thread) -> None:
        """Count one more; written after the failure, so a crash in between only shows the same failure again."""
        thread.failures += 1
        await self._store.abatch([PutOp(_FAILURES, thread.id, {"failures": thread.failures}, index=False)])

    async def clear(self, thread: Thread) -> None:
        """Drop the count of a thread that has ended well."""
        if thread.failures:
            await self._store.abatch([PutOp(_FAILURES, thread.id, None)])
