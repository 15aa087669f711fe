"""Graphs that ask a human, wait for the bridge, and ask the human again."""

import operator
from typing import Annotated, Any

import desk
from langchain.agents import create_agent
from langchain.agents.middleware import HumanInTheLoopMiddleware
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, ToolCall
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.tools import tool
from langgraph.func import entrypoint, task
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.types import interrupt
from typing_extensions import TypedDict

from batch_bridge import wait, wait_sync


class State(TypedDict, total=False):
    """What a thread knows."""

    name: str
    out: Annotated[list[Any], operator.add]


async def ask_in_turn(state: State) -> State:
    """Ask the human, the bridge, and so on."""
    name = state["name"]
    return {
        "out": [interrupt("A?"), await wait(f"{name} x"), interrupt("B?"), await wait(f"{name} y"), interrupt("C?")]
    }


def ask_in_turn_sync(state: State) -> State:
    """Do so in a node that is not async."""
    name = state["name"]
    return {"out": [interrupt("A?"), wait_sync(f"{name} x"), interrupt("B?"), wait_sync(f"{name} y"), interrupt("C?")]}


async def ask_until_valid(state: State) -> State:
    """Ask until the answer is a number; each answer is looked at by the bridge."""
    while True:
        said = interrupt("a number?")
        checked = await wait(f"{state['name']} is {said} a number")
        if said.isdigit():
            return {"out": [checked]}


async def opening(state: State) -> State:
    """Ask first."""
    return {"out": [interrupt("A?")]}


async def asking(state: State) -> State:
    """Ask, beside a branch that waits."""
    return {"out": [interrupt("B?")]}


async def waiting(state: State) -> State:
    """Wait twice, beside a branch that asks."""
    return {"out": [await wait(f"{state['name']} x"), await wait(f"{state['name']} y")]}


async def closing(state: State) -> State:
    """Ask once more."""
    return {"out": [interrupt("C?")]}


@task
async def ask_model(item: str) -> str:
    """Wait in a task."""
    return await wait(item)


@entrypoint()
async def functional(state: State) -> State:
    """Ask in the entrypoint, wait in tasks."""
    name = state["name"]
    out = [
        interrupt("A?"),
        await ask_model(f"{name} x"),
        interrupt("B?"),
        await ask_model(f"{name} y"),
        interrupt("C?"),
    ]
    return {"name": name, "out": out}


class Model(BaseChatModel):
    """Wires 10, then a million, whatever it is told."""

    @property
    def _llm_type(self) -> str:
        return "wires"

    def bind_tools(self, tools: Any, **options: Any) -> Any:
        """Know the tool already."""
        return self

    def _generate(self, *arguments: Any, **options: Any) -> Any:
        raise NotImplementedError

    async def _agenerate(self, messages: Any, *arguments: Any, **options: Any) -> Any:
        turn = sum(isinstance(each, AIMessage) for each in messages)
        await wait(f"{messages[0].text} turn {turn}")
        calls = [ToolCall(name="wire", args={"amount": (10, 1_000_000)[turn]}, id=f"c{turn}")] if turn < 2 else []
        return ChatResult(generations=[ChatGeneration(message=AIMessage(f"turn {turn}", tool_calls=calls))])


@tool
def wire(amount: int) -> str:
    """Wire money."""
    return f"sent {amount}"


def _after_one_another(*nodes: Any) -> Any:
    graph = StateGraph(State)
    for before, after in zip((None, *nodes), nodes, strict=False):
        graph.add_node(after).add_edge(START if before is None else before.__name__, after.__name__)
    return graph


_branches = _after_one_another(opening, asking, closing).add_node(waiting)
_branches = _branches.add_edge("opening", "waiting").add_edge("waiting", "closing")

in_one_task = _after_one_another(ask_in_turn)
in_a_subgraph = StateGraph(State).add_node("inner", _after_one_another(ask_in_turn).compile()).add_edge(START, "inner")
in_branches = StateGraph(State).add_node("inner", _branches.compile()).add_edge(START, "inner")
until_valid = _after_one_another(ask_until_valid)
sync = _after_one_another(ask_in_turn_sync)
agent = create_agent(Model(), [wire], middleware=[HumanInTheLoopMiddleware({"wire": True})])
wires = StateGraph(MessagesState).add_node("agent", agent).add_edge(START, "agent")
bridge = desk.bridge()
