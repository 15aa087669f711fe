"""An agent that waits once."""

import operator
from typing import Annotated, Any

from langgraph.graph import START, StateGraph
from typing_extensions import TypedDict

from batch_bridge import wait


class State(TypedDict, total=False):
    """What a thread knows."""

    name: str
    out: Annotated[list[Any], operator.add]


async def ask(state: State) -> State:
    """Wait once."""
    return {"out": [await wait(state["name"])]}


agent = StateGraph(State).add_node("ask", ask).add_edge(START, "ask")
