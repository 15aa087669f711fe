"""The same graph in both modes: at once while you develop, at half price at night.

    BATCH_BRIDGE_MODE=realtime python examples/both_modes.py
    python examples/both_modes.py

Without OPENAI_API_KEY the answers are stand-ins from a Batch API server on this machine.
"""

import asyncio
import contextlib
import os
from typing import TypedDict

from langchain_openai import ChatOpenAI
from langgraph.graph import START, StateGraph

from batch_bridge import Bridge, Runner
from batch_bridge.langchain import batched
from batch_bridge.providers.openai import OpenAIBatch
from batch_bridge.testing import BatchServer


class State(TypedDict, total=False):
    """A topic on its way through the graph."""

    topic: str
    drafts: list[str]
    joke: str


def build() -> StateGraph[State]:
    """Return the graph. It does not know in which mode it will run."""
    model = batched(ChatOpenAI(model="gpt-4o-mini", temperature=0))

    async def write(state: State) -> State:
        drafts = await model.abatch([f"A joke about {state['topic']}, take {take}" for take in range(3)])
        return {"drafts": [draft.text for draft in drafts]}

    async def choose(state: State) -> State:
        return {"joke": (await model.ainvoke("Pick the best:\n" + "\n".join(state["drafts"]))).text}

    graph = StateGraph(State).add_node(write).add_node(choose)
    return graph.add_edge(START, "write").add_edge("write", "choose")


async def main() -> None:
    async with Runner(build(), Bridge(OpenAIBatch()), path=":memory:") as runner:
        for result in await runner.abatch([{"topic": topic} for topic in ("batches", "agents", "queues")]):
            print(f"{result['topic']}: {result['joke']}")


@contextlib.contextmanager
def somebody_to_ask():
    """Start a Batch API server where there is no API key."""
    if os.environ.get("OPENAI_API_KEY"):
        yield
        return
    with BatchServer(latency=1) as server:
        os.environ |= {"OPENAI_API_KEY": "stand-in", "OPENAI_BASE_URL": server.base_url}
        yield


if __name__ == "__main__":
    with somebody_to_ask():
        asyncio.run(main())
