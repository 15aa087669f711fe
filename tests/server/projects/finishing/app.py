"""Threads that wait with a deadline or give up, on bridges that tell what happens."""

import json
import os
import time
from collections.abc import Mapping
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import Any

import desk
from langgraph.graph import START, StateGraph
from typing_extensions import TypedDict

from batch_bridge import Bridge, FlushPolicy, RequestError, wait
from batch_bridge.events import Event
from batch_bridge.providers.openai import OpenAIBatch

EVENTS = Path(os.environ["EVENTS"])


class State(TypedDict, total=False):
    """What a thread knows."""

    name: str
    deadline: float | None
    out: list[Any]


async def _ask(text: str, deadline: float | None = None) -> Any:
    try:
        answer = await wait([{"role": "user", "content": text}], batcher="bridge", deadline=deadline)
    except RequestError as error:
        return [type(error).__name__, [each["kind"] for each in error.attempts]]
    return answer["choices"][0]["message"]["content"]


async def ask(state: State) -> State:
    """Ask, and take an error for an answer."""
    return {"out": [await _ask(state["name"], state.get("deadline"))]}


async def ask_twice(state: State) -> State:
    """Ask for something else after what was given up."""
    return {"out": [await _ask(f"{state['name']} first"), await _ask(f"{state['name']} second")]}


async def ask_desk(state: State) -> State:
    """Ask the bridge whose callback blocks."""
    return {"out": [await wait(state["name"], batcher="blocking")]}


def write_down(event: Event) -> None:
    """Write an event down; blocking, as files are."""
    told = {name: value if isinstance(value, str | tuple) else str(value) for name, value in asdict(event).items()}
    if isinstance(outcomes := getattr(event, "outcomes", None), Mapping):
        told["outcomes"] = dict(outcomes)
    with EVENTS.open("a") as log:
        log.write(json.dumps({"kind": type(event).__name__, **told}) + "\n")


def _graph(node: Any) -> StateGraph[Any, Any, Any, Any]:
    return StateGraph(State).add_node("node", node).add_edge(START, "node")


ask_once = _graph(ask)
ask_again = _graph(ask_twice)
ask_loudly = _graph(ask_desk)
bridge = Bridge(
    OpenAIBatch(model="gpt-4o-mini"),
    flush=FlushPolicy(max_age=timedelta(hours=1)),  # a test says when
    poll_interval=6,
    on_event=write_down,
    callback_workers=1,
)
blocking = desk.bridge("blocking", on_event=lambda _: time.sleep(0.01))
