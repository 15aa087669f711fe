"""An agent and its bridge where threads belong to users; with a service client or without."""

import operator
import os
from typing import Annotated, Any

import desk
from langgraph.graph import START, StateGraph
from langgraph_sdk import get_client
from langgraph_sdk.client import LangGraphClient
from typing_extensions import TypedDict

from batch_bridge import ResponseCache, wait, wait_sync


class State(TypedDict, total=False):
    """What a thread knows."""

    name: str
    out: Annotated[list[Any], operator.add]


async def ask(state: State) -> State:
    """Wait once."""
    return {"out": [await wait(state["name"])]}


def ask_sync(state: State) -> State:
    """Wait in a node that is not async."""
    return {"out": [wait_sync(state["name"])]}


async def ask_shared(state: State) -> State:
    """Ask for what others ask for too."""
    return {"out": [await wait("the same for all")]}


def service() -> LangGraphClient:
    """Return a client that may do everything."""
    return get_client(url=os.environ["LANGGRAPH_API_URL"], headers={"x-user": "service"})


agent = StateGraph(State).add_node("ask", ask).add_edge(START, "ask")
sync = StateGraph(State).add_node("ask", ask_sync).add_edge(START, "ask")
shared = StateGraph(State).add_node("ask", ask_shared).add_edge(START, "ask")
bridge = desk.bridge(
    max_age=float(os.environ.get("MAX_AGE", "0")),
    client=service if os.environ.get("SERVICE") else None,
    cache=ResponseCache("answers.db"),
    dedupe=True,
)
