"""Graphs that wait in plain and in wrong ways, and several bridges."""

import asyncio
import operator
import os
import uuid
from typing import Annotated, Any

import desk
from langgraph.graph import START, StateGraph
from langgraph.types import interrupt
from typing_extensions import TypedDict

from batch_bridge import BatchFailed, Bridge, FlushPolicy, wait
from batch_bridge._core.models import Limits
from batch_bridge._server.delivery import DeliveryLimits
from batch_bridge.providers._callables import CallableProvider
from batch_bridge.providers.openai import OpenAIBatch


class State(TypedDict, total=False):
    """What a thread knows."""

    name: str
    do: str
    batcher: str
    out: Annotated[list[Any], operator.add]


def _graph(node: Any, **options: Any) -> StateGraph[Any, Any, Any, Any]:
    return StateGraph(State).add_node("node", node, **options).add_edge(START, "node")


async def ask_once(state: State) -> State:
    """Wait once."""
    return {"out": [await wait(state["name"])]}


async def ask_twice(state: State) -> State:
    """Wait twice in one node."""
    first = await wait(f"{state['name']} first")
    return {"out": [first, await wait(f"{state['name']} second")]}


async def ask_then_human(state: State) -> State:
    """Wait for the bridge, then for a person."""
    first = await wait(f"{state['name']} first")
    return {"out": [first, interrupt({"approve": first})]}


async def ask_both(state: State) -> State:
    """Wait for two bridges at once, then for a person."""
    names = ("bridge", "other")
    answers = await asyncio.gather(*(wait(f"{state['name']} {each}", batcher=each) for each in names))
    return {"out": [*answers, interrupt({"approve": answers})]}


async def ask_patiently(state: State) -> State:
    """Wait for a bridge that sends when it is told to."""
    return {"out": [await wait(state["name"], batcher="patient")]}


async def ask_on_demand(state: State) -> State:
    """Do what the input says."""
    match state["do"]:
        case "human":
            return {"out": [interrupt("what now?")]}
        case "end":
            return {"out": ["ended"]}
        case text:
            return {"out": [await wait(f"{state['name']} {text}", batcher="patient")]}


async def ask_slowly(state: State) -> State:
    """Be slow after the wait."""
    answer = await wait(state["name"])
    await asyncio.sleep(3)
    return {"out": [answer]}


_UNFIT = {"object": object(), "nan": float("nan"), "large": "x" * 2_000_000, "set": {1, 2}}


async def ask_item(state: State) -> State:
    """Ask for what the input says, of whom it says."""
    item = _UNFIT.get(state["do"], state["do"])
    return {"out": [await wait(item, batcher=state["batcher"])]}


async def ask_openai(state: State) -> State:
    """Ask the provider that nobody has given a key."""
    return {"out": [await wait([{"role": "user", "content": state["name"]}], batcher="poor")]}


async def ask_too_large(state: State) -> State:
    """Ask for more than a batch holds."""
    return {"out": [await wait("x" * 2000, batcher="small")]}


async def ask_unlike(state: State) -> State:
    """Ask for something else each time."""
    return {"out": [await wait(f"{state['name']} {uuid.uuid4()}")]}


async def swallow(state: State) -> State:
    """Catch what should have parked it."""
    try:
        return {"out": [await wait(f"{state['name']} swallowed")]}
    except Exception as error:
        return {"out": [type(error).__name__]}


one = _graph(ask_once)
twice = _graph(ask_twice)
human = _graph(ask_then_human)
both = _graph(ask_both)
patiently = _graph(ask_patiently)
on_demand = _graph(ask_on_demand)
slow = _graph(ask_slowly)
item = _graph(ask_item)
rich = _graph(ask_openai)
too_large = _graph(ask_too_large)
unlike = _graph(ask_unlike)
forgetful = _graph(_graph(ask_once).compile(checkpointer=False))
swallows = _graph(swallow)

bridge = desk.bridge()
other = desk.bridge("other")
patient = desk.bridge("patient", max_age=3600)


def refuse(_: Any) -> Any:
    """Fail."""
    raise RuntimeError("the desk is closed")


def fail(_: Any) -> Any:
    """Fail the batch; any other error of a `poll` means that it could not look."""
    raise BatchFailed("the desk is closed")


_AT_ONCE = FlushPolicy(max_age=0)
poor = Bridge(OpenAIBatch(model="gpt-4o-mini"), name="poor", flush=_AT_ONCE)


class _Small(CallableProvider):
    limits = Limits(bytes=1000)


small = Bridge(_Small(lambda items: items, lambda handle: handle), name="small", flush=_AT_ONCE)
no_submit = Bridge(submit=refuse, poll=refuse, name="no_submit", flush=_AT_ONCE)
no_poll = Bridge(submit=lambda items: items, poll=fail, name="no_poll", flush=_AT_ONCE)

if "MOST_FAILURES" in os.environ:
    for _bridge in [each for each in list(globals().values()) if isinstance(each, Bridge)]:
        _bridge._delivery_limits = DeliveryLimits(failures=int(os.environ["MOST_FAILURES"]))
