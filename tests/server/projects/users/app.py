"""An agent and its bridge where threads belong to users; with a service client or without."""

import operator
import os
from typing import Annotated, Any

import desk
from langgraph.graph import END, START, StateGraph
from langgraph.runtime import Runtime
from langgraph.types import RetryPolicy
from langgraph_sdk import get_client
from langgraph_sdk.client import LangGraphClient
from langgraph_sdk.errors import APIStatusError
from typing_extensions import TypedDict

from batch_bridge import ResponseCache, TenantLimits, wait, wait_many, wait_sync


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


async def ask_many(state: State) -> State:
    """Ask for more at once than a user may have waiting, where that is limited."""
    answers = await wait_many([f"{state['name']} {n}" for n in range(5)], return_exceptions=True)
    return {"out": [each if isinstance(each, str) else f"{type(each).__name__} {each.code}" for each in answers]}


async def ask_shared(state: State) -> State:
    """Ask for what others ask for too."""
    return {"out": [await wait("the same for all")]}


def service() -> LangGraphClient:
    """Return a client that may do everything."""
    return client_of(None)


def client_of(user: str | None) -> LangGraphClient:
    """Return a client of a user, or one that may do everything."""
    return get_client(url=os.environ["LANGGRAPH_API_URL"], headers={"x-user": user or "service"})


async def spy(state: State, runtime: Runtime[Any]) -> State:
    """Wait, and then say who this is, and what becomes of a look at a thread."""
    if runtime.server_info is None or runtime.server_info.user is None:
        raise RuntimeError("no user")
    try:
        found = (await get_client().threads.get(state["name"]))["thread_id"]
    except APIStatusError as error:
        found = f"HTTP {error.status_code}"
    await wait(f"{state['name']} {len(state.get('out') or [])}")
    return {"out": [[runtime.server_info.user.identity, found]]}


async def ask_rounds(state: State) -> State:
    """Ask for what others ask for too, a round after the other; the last one fails at first."""
    step = len(state.get("out") or [])
    return {"out": [await wait(f"{'fail' if step == ROUNDS - 1 else 'round'} {step} of all")]}


ROUNDS = 3
rounds = StateGraph(State).add_node("ask", ask_rounds, retry_policy=RetryPolicy(initial_interval=0.01))
rounds.add_edge(START, "ask").add_conditional_edges("ask", lambda state: END if len(state["out"]) == ROUNDS else "ask")
spies = StateGraph(State).add_node("one", spy).add_node("two", spy).add_node("three", spy)
spies.add_edge(START, "one").add_edge("one", "two").add_edge("two", "three")
agent = StateGraph(State).add_node("ask", ask).add_edge(START, "ask")
sync = StateGraph(State).add_node("ask", ask_sync).add_edge(START, "ask")
many = StateGraph(State).add_node("ask", ask_many).add_edge(START, "ask")
shared = StateGraph(State).add_node("ask", ask_shared).add_edge(START, "ask")
bridge = desk.bridge(
    max_age=float(os.environ.get("MAX_AGE", "0")),
    client={"1": service, "user": client_of}.get(os.environ.get("SERVICE", "")),
    cache=ResponseCache("answers.db"),
    dedupe=True,
    per_tenant=TenantLimits(requests=int(os.environ.get("PER_TENANT", "1000"))),
)
