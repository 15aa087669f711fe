"""A graph on Aegra whose nodes wait for a bridge, and the app in whose lifespan the bridge is ticked for.

Aegra runs the threads, and its Postgres holds all state. Each of its processes may tick, and one of them does.
"""

import os
from datetime import timedelta

from fastapi import FastAPI
from langgraph.graph import START, StateGraph
from typing_extensions import TypedDict

from batch_bridge import Bridge, FlushPolicy, wait
from batch_bridge.providers.openai import OpenAIBatch


class State(TypedDict, total=False):
    text: str
    summary: str
    review: str


async def ask(question: str) -> str:
    """Ask one question in the next batch. The thread is parked meanwhile, and takes no worker."""
    answer = await wait([{"role": "user", "content": question}], batcher="bridge")
    return answer["choices"][0]["message"]["content"]


async def summarise(state: State) -> State:
    return {"summary": await ask(f"Summarise: {state['text']}")}


async def review(state: State) -> State:
    return {"review": await ask(f"Is this a good summary? {state['summary']}")}


# No checkpointer and no store: Aegra gives each graph both.
graph = StateGraph(State).add_node("summarise", summarise).add_node("review", review)
graph = graph.add_edge(START, "summarise").add_edge("summarise", "review").compile()

bridge = Bridge(
    OpenAIBatch(model=os.environ.get("OPENAI_MODEL", "gpt-4o-mini")),
    flush=FlushPolicy(
        max_age=timedelta(minutes=30), max_idle=timedelta(seconds=float(os.environ.get("BRIDGE_QUIET_SECONDS", "60")))
    ),
    poll_interval=float(os.environ.get("BRIDGE_POLL_SECONDS", "60")),
)
app = FastAPI(lifespan=bridge.lifespan())
