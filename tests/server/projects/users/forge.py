"""An agent that asks a person about whatever its user has written: the hole through which users write interrupts."""

from typing import Any

from langgraph.graph import START, StateGraph
from langgraph.types import interrupt
from typing_extensions import TypedDict

from batch_bridge import wait


class Draft(TypedDict, total=False):
    """What a thread knows."""

    draft: Any
    out: Any


def review(state: Draft) -> Draft:
    """Show a person the draft."""
    return {"out": interrupt(state["draft"])}


async def ask(state: Draft) -> Draft:
    """Wait for the model."""
    return {"out": await wait(str(state["draft"]))}


forge = StateGraph(Draft).add_node("review", review).add_edge(START, "review")
plain = StateGraph(Draft).add_node("ask", ask).add_edge(START, "ask")
