"""Whether a graph still has the nodes that a thread is to continue with.

LangGraph runs what a checkpoint's channels trigger. A channel that the graph does not have triggers nothing, so a
thread whose node was renamed or removed seems to have ended: its state is returned as if it were its result. The
channels of a checkpoint name the nodes: `branch:to:<node>`, `join:<nodes>:<node>`, and packets of `Send`.
"""

import asyncio
import difflib
import inspect
import itertools
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import BaseCheckpointSaver, CheckpointTuple
from langgraph.pregel import Pregel
from langgraph.types import Send

from batch_bridge._compat.langgraph import SENDS
from batch_bridge.errors import GraphChangedError

AnyGraph: TypeAlias = Pregel[Any, Any, Any, Any]

_BRANCH: Final = "branch:to:"
_JOIN: Final = "join:"
_INTERRUPT: Final = "__interrupt__"
_AT_ONCE: Final = 64
"""Threads that are looked at side by side. So many in a row that do not exist are taken for the end of a run."""


@dataclass(frozen=True, slots=True)
class Gone:
    """A node that a thread is to continue with, and that the graph does not have.

    Attributes:
        thread: LangGraph's `thread_id`.
        node: Its name; that of a subgraph's node follows those of the nodes around it: `outer/inner`.
        known: The nodes that there are in its place.
    """

    thread: str
    node: str
    known: tuple[str, ...]


async def refuse_changed(graph: Any, configs: Iterable[RunnableConfig], *, are_all: bool) -> None:
    """Check that the graph has all nodes that the threads of a run wait at, before any of them runs.

    A thread that cannot be read now is left to `refuse_gone`, when it is begun.

    Args:
        graph: The compiled graph.
        configs: Name the threads, in order.
        are_all: All of them are to be looked at. Else they have no end, and are read until many in a row do not
            exist.

    Raises:
        GraphChangedError: A node is missing.
        Exception: What the checkpointer raised, where no thread could be read and there may be more.
    """
    saver: BaseCheckpointSaver[Any] = graph.checkpointer
    gone: list[Gone] = []

    async def look(config: RunnableConfig) -> bool:
        saved = await saver.aget_tuple(config)
        found = None if saved is None else await _find_gone(graph, config, saved)
        if found is not None:
            gone.append(found)
        return saved is not None

    threads = iter(configs)
    while page := list(itertools.islice(threads, _AT_ONCE)):
        there = await asyncio.gather(*map(look, page), return_exceptions=True)
        if not are_all and not any(each is True for each in there):
            for each in there:
                if isinstance(each, BaseException):  # the end of the run is unknown, and the next page fails too
                    raise each
            break
    if gone:
        raise _refusal(sorted(gone, key=lambda each: (len(each.thread), each.thread)))


async def refuse_gone(graph: Any, config: RunnableConfig, saved: CheckpointTuple) -> None:
    """Check that the graph has the nodes that one thread continues with.

    Not found are: a node of another function under the same name; a `@task` that was renamed; and a node of a subgraph
    that a node's function reaches otherwise than by a name, or beside another one.

    Args:
        graph: The compiled graph.
        config: Names the thread.
        saved: Its checkpoint.

    Raises:
        GraphChangedError: A node is missing.
    """
    if (gone := await _find_gone(graph, config, saved)) is not None:
        raise _refusal([gone])


def _refusal(gone: list[Gone]) -> GraphChangedError:
    first = gone[0]
    near = difflib.get_close_matches(first.node.rpartition("/")[2], first.known, n=1)
    hint = f" (was it renamed to {near[0]!r}?)" if near else ""
    more = f" It is the first of {len(gone):,} such threads." if len(gone) > 1 else ""
    return GraphChangedError(
        f"thread {first.thread!r} waits at node {first.node!r}, but this graph no longer has that node, only "
        f"{', '.join(map(repr, first.known)) or 'none'}{hint}. LangGraph would return its state as if it had ended, so "
        f"nothing was run and nothing was sent.{more} To continue, pass the Runner the original graph, or restore the "
        "node's old name. Otherwise start another run, with another run_id or thread_id, or restart this "
        f"thread: await runner.restart({first.thread!r})",
        thread_id=first.thread,
        node=first.node,
    )


async def _find_gone(graph: Any, config: RunnableConfig, saved: CheckpointTuple) -> Gone | None:
    if not isinstance(graph, Pregel):
        return None
    saver: Any = graph.checkpointer
    thread = str(config["configurable"]["thread_id"])
    async for path, known in _Look(saver, thread).gone(graph, saved):
        return Gone(thread, "/".join(path), known)
    if not hasattr(graph, "builder") and await _is_another(graph, config, saved):
        return Gone(thread, "of another entrypoint", tuple(_names(graph)))
    return None


@dataclass(frozen=True, slots=True)
class _Look:
    """A look at the checkpoints of one thread."""

    saver: BaseCheckpointSaver[Any]
    thread: str

    async def gone(
        self, graph: AnyGraph, saved: CheckpointTuple, path: tuple[str, ...] = (), namespace: str = ""
    ) -> AsyncIterator[tuple[tuple[str, ...], tuple[str, ...]]]:
        """Yield the nodes that are gone, of a graph and of its subgraphs that wait, each with those that there are."""
        nodes = list(_pending(saved))
        for node, channel in nodes:
            if (node not in graph.nodes) if channel is None else (channel not in graph.channels):
                yield (*path, node), tuple(_names(graph))
        tasks = sorted({task for task, channel, _ in saved.pending_writes or () if channel == _INTERRUPT})
        for node in dict.fromkeys(node for node, _ in nodes):
            subgraph = _subgraph_of(graph, node)
            for task in tasks if subgraph is not None else ():
                found = await self._only_one(f"{namespace}{node}", task)
                if found is not None and subgraph is not None:
                    inner, inner_saved = found
                    async for each in self.gone(subgraph, inner_saved, (*path, node), f"{inner}|"):
                        yield each

    async def _only_one(self, node: str, task: str) -> tuple[str, CheckpointTuple] | None:
        """Return the namespace and checkpoint of the subgraph that a task has run; `None` if it ran several, or none.

        A subgraph's namespace names the task, with a number from the second one on, unless it keeps its own state
        (`checkpointer=True`).
        """
        for name in (f"{node}:{task}", node):
            saved = await self._read(name)
            if saved is not None:
                return (name, saved) if await self._read(f"{name}|1") is None else None
        return None

    async def _read(self, namespace: str) -> CheckpointTuple | None:
        return await self.saver.aget_tuple({"configurable": {"thread_id": self.thread, "checkpoint_ns": namespace}})


def _pending(saved: CheckpointTuple) -> Iterator[tuple[str, str | None]]:
    """Yield what a thread continues with: a node, and the channel that triggers it unless a `Send` does."""
    values: Mapping[str, Any] = saved.checkpoint["channel_values"]
    writes = [(channel, value) for _, channel, value in saved.pending_writes or ()]
    triggered = [*values.items(), *writes]
    waits = any(channel == _INTERRUPT for channel, _ in writes) or any(map(_is_full, values, values.values()))
    for channel, value in triggered:
        if channel.startswith(_BRANCH):
            waits = True
            yield channel.removeprefix(_BRANCH), channel
        elif channel == SENDS:
            for packet in value if isinstance(value, list | tuple) else [value]:
                if isinstance(packet, Send):
                    waits = True
                    yield packet.node, None
    for channel, value in triggered if waits else ():  # else a join is what is left of a thread that has ended
        if channel.startswith(_JOIN) and value:
            yield channel.rpartition(":")[2], channel


def _is_full(channel: str, value: object) -> bool:
    """Return whether a channel is a join that has all that it waits for."""
    awaited = set(channel.removeprefix(_JOIN).rpartition(":")[0].split("+"))
    return channel.startswith(_JOIN) and isinstance(value, set) and value == awaited


def _subgraph_of(graph: AnyGraph, name: str) -> AnyGraph | None:
    """Return the one graph that a node runs, if it seems to run no other."""
    node = graph.nodes.get(name)
    if node is None:
        return None
    if isinstance(node.bound, Pregel):
        return node.bound
    functions = [each for each in (getattr(node.bound, "func", None), getattr(node.bound, "afunc", None)) if each]
    reached = {id(each): each for function in functions for each in _reached(function)}
    return next(iter(reached.values())) if len(reached) == 1 else None


def _reached(function: Any) -> list[AnyGraph]:
    """Return the graphs that a function names."""
    try:
        closure = inspect.getclosurevars(inspect.unwrap(getattr(function, "__func__", function)))
    except (TypeError, ValueError):  # no function of Python's, or one whose closure is not filled yet
        return []
    named = [*closure.nonlocals.values(), *closure.globals.values()]
    return [each for each in (getattr(one, "__self__", one) for one in named) if isinstance(each, Pregel)]


async def _is_another(graph: Any, config: RunnableConfig, saved: CheckpointTuple) -> bool:
    """Return whether a graph that no builder has made knows none of the tasks that wait."""
    waiting = {task for task, channel, _ in saved.pending_writes or () if channel == _INTERRUPT}
    if not waiting:
        return False
    snapshot = await graph.aget_state(config)
    return not waiting & {task.id for task in snapshot.tasks}


def _names(graph: AnyGraph) -> list[str]:
    return [name for name in graph.nodes if not name.startswith("__")]
