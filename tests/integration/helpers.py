"""What the behaviour tests share: a desk that answers batches, and short ways to write a graph and a Runner."""

import asyncio
import operator
from collections import Counter
from typing import Annotated, Any, TypedDict

from langgraph.graph import END, START, StateGraph

from batch_bridge import Bridge, FlushPolicy, Runner, wait

TIMEOUT = 60
"""Seconds after which a call that hangs is a failed test."""


class Desk:
    """The far side of a bridge: a `submit` that counts what it is given, and a `poll` that answers.

    `answer` is a function of the item; an exception that it returns fails that request. While it is `hold()`, batches
    stay in progress.
    """

    def __init__(self, answer=lambda item: f"{item}!"):
        self.batches = []
        self._answer = answer
        self._may_answer = asyncio.Event()
        self._may_answer.set()
        self.submitted = asyncio.Event()

    async def submit(self, items):
        self.batches.append(items)
        self.submitted.set()
        return len(self.batches) - 1

    async def poll(self, handle):
        if not self._may_answer.is_set():
            return None
        return [self._answer(item) for item in self.batches[handle]]

    def hold(self):
        self._may_answer.clear()
        return self

    def let_go(self):
        self._may_answer.set()

    def bridge(self, **options):
        at_once = FlushPolicy(when_idle=True)  # a test that is about something else does not wait for quiet
        return Bridge(**{"submit": self.submit, "poll": self.poll, "poll_interval": 0.02, "flush": at_once, **options})

    @property
    def requests(self):
        return [item for batch in self.batches for item in batch]

    @property
    def sizes(self):
        return [len(batch) for batch in self.batches]

    @property
    def counts(self):
        return Counter(self.requests)


class State(TypedDict, total=False):
    x: Any
    batcher: str
    out: Annotated[list, operator.add]


def one_node(node, schema=State, **options):
    """A graph of one node."""
    return StateGraph(schema).add_node("node", node, **options).add_edge(START, "node").add_edge("node", END)


def chain(*nodes, schema=State, **options):
    """A graph of nodes one after the other, each called by its function's name."""
    graph = StateGraph(schema)
    for node in nodes:
        graph.add_node(node.__name__, node, **options)
    names = [node.__name__ for node in nodes]
    for before, after in zip([START, *names], [*names, END], strict=True):
        graph.add_edge(before, after)
    return graph


def memory(graph, *bridges, **options):
    """A Runner that keeps everything in memory."""
    return Runner(graph, list(bridges), **{"path": ":memory:", "progress": False, **options})


async def run(graph, *bridges, inputs=({},), grace=None, **options):
    """Run a graph over inputs with a Runner of its own; a stall fails. `grace`: what slow siblings are given."""
    async with memory(graph, *bridges) as runner:
        if grace is not None:
            runner._opened.session.grace = grace
        return await within(runner.abatch(list(inputs), **options))


async def within(awaitable, seconds=TIMEOUT):
    """Await, but not for ever."""
    return await asyncio.wait_for(awaitable, seconds)


def config_of(thread, **configurable):
    return {"configurable": {"thread_id": thread, **configurable}}


async def ask(state):
    return {"out": [await wait(state["x"])]}


async def again(state):
    return {"out": [await wait(state["out"][-1])]}


def inputs_of(*names):
    return [{"x": each} for each in names]


def answers_of(results):
    return [result["out"] for result in results]


def says(error, *parts):
    """Every part is in the error's text."""
    return [part for part in parts if part not in str(error)] == []
