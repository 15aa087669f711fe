"""A graph of three waits, one after the other, in a deployment of two users whose bridge has an identity of its own."""

import operator
import os
from datetime import timedelta
from typing import Annotated

from langgraph.graph import START, StateGraph
from langgraph_sdk import get_client
from langgraph_sdk.client import LangGraphClient
from typing_extensions import TypedDict

from batch_bridge import Bridge, FlushPolicy, wait

THREADS = int(os.environ.get("THREADS", "1000"))


class State(TypedDict, total=False):
    """A question and its answers."""

    question: str
    answers: Annotated[list[str], operator.add]


async def ask(state: State) -> State:
    """Wait once."""
    place = len(state.get("answers") or [])
    return {"answers": [await wait({"q": f"{state['question']} {place}"}, batcher="bridge")]}


def submit(items: list[dict[str, str]]) -> list[dict[str, str]]:
    """Take a batch; its handle is all there is to know of it."""
    return items


def poll(handle: list[dict[str, str]]) -> list[str]:
    """Answer at once."""
    return [item["q"].upper() for item in handle]


def service() -> LangGraphClient:
    """Return a client of the bridge's own identity."""
    return get_client(url=os.environ["LANGGRAPH_API_URL"], headers={"x-user": "service"})


rounds = (
    StateGraph(State)
    .add_node("one", ask)
    .add_node("two", ask)
    .add_node("three", ask)
    .add_edge(START, "one")
    .add_edge("one", "two")
    .add_edge("two", "three")
    .compile()
)
bridge = Bridge(
    submit=submit,
    poll=poll,
    client=service,
    flush=FlushPolicy(max_requests=THREADS, max_age=timedelta(minutes=10)),
)
