"""A node whose prompt is read when the process starts: an edit of it is another deployment."""

import os
from pathlib import Path

import desk
from langgraph.graph import START, StateGraph
from typing_extensions import TypedDict

from batch_bridge import wait

PROMPT = Path(os.environ["PROMPT_FILE"]).read_text()


class State(TypedDict, total=False):
    """What a thread knows."""

    answer: str


async def ask(state: State) -> State:
    """Ask what this process asks."""
    return {"answer": await wait(PROMPT)}


agent = StateGraph(State).add_node("ask", ask).add_edge(START, "ask")
bridge = desk.bridge(poll_interval=1)
