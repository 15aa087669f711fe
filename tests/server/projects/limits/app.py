"""Graphs that end by a limit, and one that holds what no checkpoint holds."""

import operator
from collections.abc import Sequence
from typing import Annotated, Any

import desk
from langchain.agents import create_agent
from langchain.agents.middleware import ModelCallLimitMiddleware
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langgraph.channels import UntrackedValue
from langgraph.graph import END, START, StateGraph
from langgraph.managed import RemainingSteps
from langgraph.types import interrupt
from typing_extensions import TypedDict

from batch_bridge import wait


class State(TypedDict, total=False):
    """What a thread knows."""

    name: str
    out: Annotated[list[Any], operator.add]
    left: RemainingSteps
    runs: Annotated[int, UntrackedValue]
    thing: Annotated[Any, UntrackedValue]


async def turn(state: State) -> State:
    """Wait, and count."""
    runs = state.get("runs") or 0
    said = await wait(f"{state['name']} turn {len(state.get('out', []))}")
    return {"out": [[said, state["left"], runs]], "runs": runs + 1}


def human(state: State) -> State:
    """Ask a person."""
    return {"out": [[interrupt("go on?"), state["left"], state.get("runs")]]}


def _loop(most: int) -> StateGraph[Any, Any, Any, Any]:
    graph = StateGraph(State).add_node("turn", turn).add_edge(START, "turn")
    return graph.add_conditional_edges("turn", lambda state: "turn" if len(state["out"]) < most else END)


def count(state: State) -> str:
    """Three turns of one input."""
    return "turn" if state["runs"] < 3 else END


def after(state: State) -> str:
    """A person after two turns."""
    return "human" if len(state["out"]) == 2 else "turn"


async def make(state: State) -> State:
    """Make what cannot be written down."""
    return {"thing": {state["name"]}.__iter__()}


async def use(state: State) -> State:
    """Use it after two waits."""
    first = await wait(f"{state['name']} first")
    return {"out": [first, await wait(f"{state['name']} second"), next(state["thing"])]}


class Caller(BaseChatModel):
    """A model that waits, and calls a tool for ever."""

    @property
    def _llm_type(self) -> str:
        return "caller"

    def bind_tools(self, tools: Sequence[Any], **options: Any) -> Any:
        """It knows the tool."""
        return self

    def _generate(self, *arguments: Any, **options: Any) -> ChatResult:
        raise NotImplementedError

    async def _agenerate(self, messages: list[Any], *arguments: Any, **options: Any) -> ChatResult:
        said = await wait(f"{messages[0].content} call {len(messages)}")
        call = {"name": "look_up", "args": {"city": said}, "id": f"call {len(messages)}"}
        return ChatResult(generations=[ChatGeneration(message=AIMessage(said, tool_calls=[call]))])


def look_up(city: str) -> str:
    """Look a city up."""
    return f"{city}?"


endless = _loop(1000)
nested = StateGraph(State).add_node("inner", _loop(3).compile()).add_edge(START, "inner").add_edge("inner", "inner")
counting = StateGraph(State).add_node("turn", turn).add_edge(START, "turn").add_conditional_edges("turn", count)
asking = StateGraph(State).add_node("turn", turn).add_node("human", human).add_edge(START, "turn")
asking.add_conditional_edges("turn", after).add_edge("human", "turn")
agent = create_agent(Caller(), tools=[look_up], middleware=[ModelCallLimitMiddleware(run_limit=3)])
holding = StateGraph(State).add_node(make).add_node(use).add_edge(START, "make").add_edge("make", "use")
bridge = desk.bridge()
