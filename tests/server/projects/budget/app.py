"""Threads on a bridge with a budget, which a file says, so that it is another one after a restart."""

import json
import os
from pathlib import Path
from typing import Any

from langgraph.graph import START, StateGraph
from typing_extensions import TypedDict

from batch_bridge import Bridge, Budget, FlushPolicy, Price, Prices, wait
from batch_bridge.providers.openai import OpenAIBatch


class State(TypedDict, total=False):
    """What a thread knows."""

    name: str
    out: list[Any]


async def _ask(text: str) -> str:
    item = {"messages": [{"role": "user", "content": text}], "max_tokens": 20}
    answer = await wait(item, batcher="bridge")
    return str(answer["choices"][0]["message"]["content"])


async def ask(state: State) -> State:
    """Ask twice, one after the other."""
    first = await _ask(f"{state['name']} first")
    return {"out": [first, await _ask(f"{state['name']} second")]}


async def loop(state: State) -> State:
    """Ask for ever."""
    number = 0
    while True:
        await _ask(f"{state['name']} {number}")
        number += 1


def _graph(node: Any) -> StateGraph[Any, Any, Any, Any]:
    return StateGraph(State).add_node("node", node).add_edge(START, "node")


ask_twice = _graph(ask)
ask_for_ever = _graph(loop)
bridge = Bridge(
    OpenAIBatch(model="gpt-4o-mini"),
    prices=Prices({"gpt-4o-mini": Price(input=0, output=10_000, batch="0.5")}),
    budget=Budget(**json.loads(Path(os.environ["BUDGET"]).read_text())),
    flush=FlushPolicy(max_requests=4, max_age=1),
    poll_interval=1,
    notify=os.environ["NOTIFY"],
)
