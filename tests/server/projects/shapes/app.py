"""Each shape in which nodes wait, as a graph of its own; they share one bridge."""

import asyncio
import operator
from typing import Annotated, Any

import desk
from langgraph.config import get_config
from langgraph.func import entrypoint, task
from langgraph.graph import START, StateGraph
from langgraph.runtime import Runtime
from langgraph.types import RetryPolicy, Send, interrupt
from typing_extensions import TypedDict

from batch_bridge import gather, wait, wait_many, wait_sync


class State(TypedDict, total=False):
    """What a thread knows."""

    name: str
    out: Annotated[list[Any], operator.add]


def _graph(node: Any, schema: Any = State, context: Any = None, **options: Any) -> StateGraph[Any, Any, Any, Any]:
    return StateGraph(schema, context_schema=context).add_node("node", node, **options).add_edge(START, "node")


async def ask_once(state: State) -> State:
    """Wait once."""
    return {"out": [await wait(state["name"])]}


async def ask_three(state: State) -> State:
    """Three at once, and one that needs them."""
    answers = await asyncio.gather(*(wait(f"{state['name']} {i}") for i in "abc"))
    return {"out": [*answers, await wait(f"{state['name']} last")]}


async def ask_part(state: State) -> State:
    """Wait in one of several branches."""
    return {"out": [await wait(f"{state['name']} part")]}


def split(state: State) -> list[Send]:
    """Fan out; two branches ask for the same."""
    return [Send("part", {"name": f"{state['name']} {i}"}) for i in ("a", "b", "b", "c")]


async def ask_in_turn(state: State) -> State:
    """Ask for the same in each turn of a loop."""
    return {"out": [await wait(f"{state['name']} turn")]}


def ask_sync(state: State) -> State:
    """Wait in a node that is not async."""
    return {"out": [wait_sync(f"{state['name']} sync"), wait_sync(f"{state['name']} then")]}


async def ask_many(state: State) -> State:
    """Two of three are answered."""
    items = [f"{state['name']} x", f"broken {state['name']}", f"{state['name']} z"]
    answers = await wait_many(items, return_exceptions=True)
    return {"out": [each if isinstance(each, str) else type(each).__name__ for each in answers]}


_executions: dict[str, int] = {}


async def ask_shuffled(state: State) -> State:
    """Ask in another order when it is run again."""
    turn = _executions[state["name"]] = _executions.get(state["name"], 0) + 1
    order = "abcd"[turn:] + "abcd"[:turn]
    answers = dict(zip(order, await asyncio.gather(*(wait(f"{state['name']} {i}") for i in order)), strict=True))
    return {"out": [answers[i] for i in "abcd"]}


async def ask_again(state: State) -> State:
    """Fail at first."""
    return {"out": [await wait(f"fail {state['name']}")]}


async def ask_human(state: State) -> State:
    """Wait for a person."""
    return {"out": [f"human said {interrupt({'approve': state['name']})}"]}


async def ask_then_human(state: State) -> State:
    """Wait for the bridge, for a person, and for the bridge again."""
    first = await wait(f"{state['name']} first")
    said = interrupt({"approve": first})
    return {"out": [first, f"human said {said}", await wait(f"{state['name']} after {said}")]}


class Context(TypedDict):
    """What a run is given."""

    tone: str


async def ask_settings(state: State, runtime: Runtime[Context]) -> State:
    """Tell what the run was started with, after it was resumed."""
    first, second = await wait(f"{state['name']} 1"), ""
    if first:
        second = await wait(f"{state['name']} 2")
    config = get_config()
    told = {
        "tone": (runtime.context or {}).get("tone"),
        "flavour": config["configurable"].get("flavour"),
        "recursion_limit": config.get("recursion_limit"),
        "tags": [tag for tag in config.get("tags") or [] if tag == "mine"],
        "note": (config.get("metadata") or {}).get("note"),
    }
    return {"out": [first, second, told]}


@task
async def ask_task(text: str) -> str:
    """Wait in a task."""
    return await wait(text)


@entrypoint()
async def functional(state: State) -> State:
    """Three tasks in one round."""
    return {"name": state["name"], "out": await gather(*(ask_task(f"{state['name']} {i}") for i in "abc"))}


one = _graph(ask_once)
three = _graph(ask_three)
fan = StateGraph(State).add_node("part", ask_part).add_conditional_edges(START, split, ["part"])
nested = StateGraph(State).add_node("inner", _graph(ask_three).compile()).add_edge(START, "inner")
loop = _graph(ask_in_turn).add_conditional_edges("node", lambda state: "node" if len(state["out"]) < 3 else "__end__")
sync = _graph(ask_sync)
many = _graph(ask_many)
shuffled = _graph(ask_shuffled)
retried = _graph(ask_again, retry_policy=RetryPolicy(initial_interval=0.1, jitter=False))
beside_human = _graph(ask_three).add_node("human", ask_human).add_edge(START, "human")
before_human = _graph(ask_then_human)
settings = _graph(ask_settings, context=Context)
bridge = desk.bridge()
