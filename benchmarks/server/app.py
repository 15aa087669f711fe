"""The same graph twice: it parks with a bridge, and it parks to be resumed by whoever started it.

And a bridge that sends nothing and writes down when it notices what.
"""

import json
import os
import time
from datetime import timedelta
from pathlib import Path

from langgraph.graph import START, StateGraph
from langgraph.types import interrupt
from typing_extensions import TypedDict

from batch_bridge import Bridge, FlushPolicy, QueueSummary, wait, wait_many

LOG = Path(os.environ.get("LOG", "noticed.jsonl"))
THREADS = int(os.environ.get("THREADS", "1000"))


class State(TypedDict, total=False):
    """A question and its answer."""

    question: str
    answer: str


async def bridged_node(state: State) -> State:
    """Ask through the bridge."""
    return {"answer": await wait({"q": state["question"]}, batcher="bridge")}


async def plain_node(state: State) -> State:
    """Ask whoever started this thread."""
    return {"answer": interrupt({"q": state["question"]})}


class Many(TypedDict, total=False):
    """How much to ask for at once."""

    name: str
    count: int
    answers: int


async def many_node(state: Many) -> Many:
    """Ask for much at once."""
    items = [{"q": f"{state['name']} {index} " + "x" * 900} for index in range(state["count"])]
    return {"answers": len(await wait_many(items, batcher="bridge"))}


def submit(items: list[dict[str, str]]) -> list[dict[str, str]]:
    """Take a batch; its handle is all there is to know of it."""
    return items


def poll(handle: list[dict[str, str]]) -> list[str]:
    """Answer at once."""
    return [item["q"].upper() for item in handle]


async def parking_node(state: State) -> State:
    """Write down when it parks."""
    _log({"parked": time.time()})
    return {"answer": await wait({"q": state["question"]}, batcher="noting")}


def notice(queue: QueueSummary) -> bool:
    """Write down how much a tick has noticed, and send none of it."""
    _log({"noticed": queue.requests, "at": time.time()})
    return False


def _log(line: dict[str, float]) -> None:
    with LOG.open("a") as log:
        log.write(json.dumps(line) + "\n")


bridged = StateGraph(State).add_node("ask", bridged_node).add_edge(START, "ask").compile()
many = StateGraph(Many).add_node("ask", many_node).add_edge(START, "ask").compile()
plain = StateGraph(State).add_node("ask", plain_node).add_edge(START, "ask").compile()
parking = StateGraph(State).add_node("ask", parking_node).add_edge(START, "ask").compile()
bridge = Bridge(submit=submit, poll=poll, flush=FlushPolicy(max_requests=THREADS, max_age=timedelta(minutes=10)))
noting = Bridge(
    submit=submit,
    poll=poll,
    name="noting",
    flush=FlushPolicy(max_age=timedelta(hours=1), when=notice),
    poll_interval=3600,
)
