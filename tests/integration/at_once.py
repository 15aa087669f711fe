"""Graphs that run twice, with waits and with answers that are there at once: what both end with is the same."""

import operator
from typing import Annotated, Any

from helpers import TIMEOUT, Desk, config_of, memory, within
from langgraph.channels import UntrackedValue
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, StateGraph
from langgraph.managed import IsLastStep, RemainingSteps
from typing_extensions import TypedDict

from batch_bridge import wait


class State(TypedDict, total=False):
    out: Annotated[list, operator.add]
    runs: Annotated[int, UntrackedValue]
    left: RemainingSteps
    last: IsLastStep


class AtOnce:
    """Answers at once, and counts."""

    def __init__(self):
        self.requests = []

    async def __call__(self, item):
        self.requests.append(item)
        return f"{item}!"


async def ended(running):
    """What a thread ends with, or the kind of its exception."""
    try:
        return await within(running, TIMEOUT)
    except Exception as error:
        return type(error).__name__


async def both(make, *turns, **config):
    """Run a graph's turns with answers at once, and with answers from batches: ends, requests, and state after each."""
    ask, desk = AtOnce(), Desk()
    plain = make(ask).compile(checkpointer=InMemorySaver())
    settings = {**config_of("one"), **config}
    expected = [
        (await ended(plain.ainvoke(turn, settings)), (await plain.aget_state(settings)).values) for turn in turns
    ]
    saver = InMemorySaver()
    batched = make(wait).compile(checkpointer=saver)
    async with memory(batched, desk.bridge()) as runner:
        found = [
            (await ended(runner.ainvoke(turn, settings)), (await batched.aget_state(settings)).values) for turn in turns
        ]
    return (expected, sorted(ask.requests)), (found, sorted(desk.requests))


def same(plain, batched):
    """Ends and requests are the same, but for ids of interrupts."""
    assert _bare(batched) == _bare(plain)


def _bare(value):
    if isinstance(value, dict):
        return {key: _bare(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_bare(each) for each in value]
    return getattr(value, "value", value)


def loop(most=1000):
    """A node that asks, and is followed by itself `most` times."""

    def make(ask):
        async def node(state: State):
            said = await ask(f"turn {len(state.get('out', []))}")
            return {"out": [[said, state["left"], state["last"]]]}

        graph = StateGraph(State).add_node("node", node).add_edge(START, "node")
        return graph.add_conditional_edges("node", lambda state: "node" if len(state["out"]) < most else END)

    return make


class Thing:
    """What no checkpoint could hold."""

    def __init__(self, name):
        self.name = name

    def __reduce__(self):
        raise TypeError("a Thing was written down")

    def __eq__(self, other):
        return isinstance(other, Thing) and other.name == self.name

    __hash__ = None


class Holding(TypedDict, total=False):
    out: Annotated[list, operator.add]
    thing: Annotated[Any, UntrackedValue]
    runs: Annotated[int, UntrackedValue]
    n: int


def waits_in_turn(ask):
    """Several waits in one node are several runs of one step."""

    async def node(state: State):
        return {"out": [await ask(f"{len(state.get('out', []))} {i}") for i in range(4)]}

    return StateGraph(State).add_node("node", node).add_edge(START, "node").add_edge("node", "node")


def nested(inner_most, outer_most, inner_limit=None):
    """A loop around a loop; each invocation of the inner one has its own steps."""

    def make(ask):
        inner = loop(inner_most)(ask).compile()
        if inner_limit is not None:
            inner = inner.with_config(recursion_limit=inner_limit)

        async def call(state: State):
            found = await inner.ainvoke({"out": []})
            return {"out": [(len(found["out"]), found["out"], state["left"])]}

        graph = StateGraph(State).add_node("call", call).add_edge(START, "call")
        return graph.add_conditional_edges("call", lambda state: "call" if len(state["out"]) < outer_most else END)

    return make


def as_nodes(ask):
    """A subgraph as a node of a loop, and one inside of that."""
    innermost = loop(2)(ask).compile()
    middle = StateGraph(State).add_node("innermost", innermost).add_node("more", loop(99)(ask).nodes["node"].runnable)
    middle.add_edge(START, "innermost").add_edge("innermost", "more")
    graph = StateGraph(State).add_node("middle", middle.compile()).add_edge(START, "middle")
    return graph.add_conditional_edges("middle", lambda state: "middle" if len(state["out"]) < 12 else END)
