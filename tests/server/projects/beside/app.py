"""Graphs in which a person is asked beside a wait, and nodes that do not let their interrupt pass."""

import operator
from typing import Annotated, Any

import desk
import tenacity
from langgraph.graph import START, StateGraph
from langgraph.types import interrupt
from typing_extensions import TypedDict

from batch_bridge import TaskGroup, wait, wait_sync


class State(TypedDict, total=False):
    """What a thread knows."""

    name: str
    batcher: str
    out: Annotated[list[Any], operator.add]


def _graph(**nodes: Any) -> StateGraph[Any, Any, Any, Any]:
    """Return a graph of nodes that run side by side."""
    graph = StateGraph(State)
    for name, node in nodes.items():
        graph.add_node(name, node)
        graph.add_edge(START, name)
    return graph


async def ask(state: State) -> State:
    """Wait once."""
    return {"out": [await wait(state["name"], batcher=state.get("batcher", "bridge"))]}


async def approve(state: State) -> State:
    """Ask a person, and what follows from the answer once more."""
    first = interrupt(f"may I, {state['name']}?")
    return {"out": [f"first {first}", f"second {interrupt(f'really, after {first}?')}"]}


async def review(state: State) -> State:
    """Ask another person."""
    return {"out": [f"review {interrupt('is it good?')}"]}


_tried: dict[str, int] = {}


async def fail_once(state: State) -> State:
    """Fail when a person's answer has come, for the first time."""
    said = interrupt("shall I?")
    _tried[state["name"]] = _tried.get(state["name"], 0) + 1
    if _tried[state["name"]] == 1:
        raise ValueError("of the node's own")
    return {"out": [f"{said}, {_tried[state['name']]} times"]}


async def swallow(state: State) -> State:
    """Catch what should have parked it."""
    try:
        return {"out": [await wait(state["name"])]}
    except Exception:
        return {"out": ["made up"]}


def swallow_sync(state: State) -> State:
    """Do the same, and not be async."""
    try:
        return {"out": [wait_sync(state["name"])]}
    except Exception:
        return {"out": ["made up"]}


@tenacity.retry(stop=tenacity.stop_after_attempt(2))
async def wrap(state: State) -> State:
    """Let a library raise an error of its own."""
    return {"out": [await wait(state["name"])]}


async def group(state: State) -> State:
    """Wait in a group of tasks."""
    async with TaskGroup() as tasks:
        task = tasks.create_task(wait(state["name"]))
    return {"out": [task.result()]}


beside = _graph(ask=ask, approve=approve)
two_humans = _graph(ask=ask, approve=approve, review=review)
failing = _graph(ask=ask, fail_once=fail_once)
swallows = _graph(swallow=swallow)
swallows_sync = _graph(swallow_sync=swallow_sync)
swallows_inside = _graph(inner=_graph(swallow=swallow).compile())
swallows_beside = _graph(ask=ask, swallow=swallow)
wraps = _graph(wrap=wrap)
groups = _graph(group=group)
bridge = desk.bridge(poll_interval=1)
patient = desk.bridge("patient", max_age=3600)
