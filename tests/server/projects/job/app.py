"""Two dependent waits a thread, on a bridge to the OpenAI Batch API; and a bridge that writes down what it notices."""

import json
import os
import time
from datetime import timedelta
from pathlib import Path

from langgraph.graph import START, StateGraph
from typing_extensions import TypedDict

from batch_bridge import Bridge, FlushPolicy, wait
from batch_bridge.providers.openai import OpenAIBatch

MAX_AGE = timedelta(seconds=float(os.environ.get("MAX_AGE", "3")))
MAX_REQUESTS = int(os.environ.get("MAX_REQUESTS", "50000"))
LOG = Path(os.environ.get("LOG", "noticed.jsonl"))


class State(TypedDict, total=False):
    """What a thread knows."""

    name: str
    first: str
    second: str


async def _ask(text: str) -> str:
    answer = await wait([{"role": "user", "content": text}], batcher="bridge")
    return answer["choices"][0]["message"]["content"]


async def first(state: State) -> State:
    """Ask for the first time."""
    return {"first": await _ask(f"{state['name']} first")}


async def second(state: State) -> State:
    """Ask for what depends on it."""
    return {"second": await _ask(f"{state['name']} second {state['first'].partition(']')[0][-6:]}")}


async def park(state: State) -> State:
    """Park, and write down when."""
    _log({"parked": time.time()})
    return {"first": await wait(state["name"], batcher="listed")}


def _log(line: dict[str, float]) -> None:
    with LOG.open("a") as log:
        log.write(json.dumps(line) + "\n")


def notice(queue: object) -> bool:
    """Write down how much of the queue a tick has noticed, and send none of it."""
    _log({"noticed": queue.requests, "at": time.time()})  # type: ignore[attr-defined]
    return False


agent = StateGraph(State).add_node("first", first).add_node("second", second)
agent.add_edge(START, "first").add_edge("first", "second")
once = StateGraph(State).add_node("park", park).add_edge(START, "park")
bridge = Bridge(
    OpenAIBatch(model="gpt-4o-mini"), flush=FlushPolicy(max_requests=MAX_REQUESTS, max_age=MAX_AGE), poll_interval=2
)
listed = Bridge(
    submit=lambda items: items,
    poll=lambda handle: handle,
    name="listed",
    flush=FlushPolicy(max_age=timedelta(hours=1), when=notice),
    poll_interval=3600,
)
