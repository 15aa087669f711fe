"""A graph that notes whom it runs for, and a bridge that is ticked for apart from the servers."""

import os
from datetime import timedelta

from langgraph.graph import START, StateGraph
from langgraph.runtime import Runtime
from langgraph_sdk import get_client
from typing_extensions import TypedDict

from batch_bridge import Bridge, FlushPolicy, wait_sync
from batch_bridge.providers.openai import OpenAIBatch

TOKEN = os.environ.get("BRIDGE_TOKEN")


class State(TypedDict, total=False):
    q: str
    answer: str
    user: str
    colour: str


def ask(state: State, runtime: Runtime) -> State:
    answer = wait_sync([{"role": "user", "content": state["q"]}], batcher="bridge")
    return {
        "answer": answer["choices"][0]["message"]["content"],
        "user": runtime.server_info.user.identity,
        "colour": (runtime.context or {}).get("colour", ""),
    }


def service():
    return get_client(url=os.environ["SERVER_URL"], headers={"Authorization": f"Bearer {TOKEN}"})


graph = StateGraph(State, context_schema=dict).add_node("ask", ask).add_edge(START, "ask").compile()
bridge = Bridge(
    OpenAIBatch(model="gpt-4o-mini"),
    flush=FlushPolicy(max_age=timedelta(hours=1), max_idle=float(os.environ["BRIDGE_QUIET_SECONDS"])),
    poll_interval=1,
    client=service if TOKEN else None,
)
