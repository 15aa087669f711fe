"""A graph that remembers something for each user, and a bridge that serves all users and mixes nothing of theirs.

The node runs again for the answer, in a run that the bridge creates. That run is the user's too: it reads and writes
the same memory, and may do what the user may do.
"""

import os
from datetime import timedelta

from langgraph.graph import START, StateGraph
from langgraph.runtime import Runtime
from langgraph_sdk import get_client
from langgraph_sdk.client import LangGraphClient
from typing_extensions import TypedDict

from batch_bridge import Bridge, FlushPolicy, wait
from batch_bridge.providers.openai import OpenAIBatch


class State(TypedDict, total=False):
    question: str
    answer: str


async def advise(state: State, runtime: Runtime[None]) -> State:
    memory = ("memory", runtime.server_info.user.identity)
    answer = await wait([{"role": "user", "content": state["question"]}], batcher="bridge")
    text = answer["choices"][0]["message"]["content"]
    await runtime.store.aput(memory, "last", {"question": state["question"], "answer": text})
    return {"answer": text}


def service() -> LangGraphClient:
    """Return a client of the service, the one caller that `auth.py` believes when it acts for a user."""
    url = os.environ.get("DEPLOYMENT_URL") or os.environ["LANGGRAPH_API_URL"]  # the latter is set by `langgraph dev`
    return get_client(url=url, headers={"Authorization": f"Bearer {os.environ['BRIDGE_TOKEN']}"})


graph = StateGraph(State).add_node("advise", advise).add_edge(START, "advise").compile()
bridge = Bridge(
    OpenAIBatch(model=os.environ.get("OPENAI_MODEL", "gpt-4o-mini")),
    name="bridge",  # as in langgraph.json
    flush=FlushPolicy(
        max_age=timedelta(minutes=30), max_idle=timedelta(seconds=float(os.environ.get("BRIDGE_QUIET_SECONDS", "60")))
    ),
    poll_interval=float(os.environ.get("BRIDGE_POLL_SECONDS", "60")),
    client=service,
)
