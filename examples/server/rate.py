"""A graph that waits on a bridge of one's own making: its items and answers are whatever that bridge says."""

from langgraph.graph import END, START, StateGraph
from typing_extensions import TypedDict

from batch_bridge import wait


class State(TypedDict, total=False):
    """A thread's state."""

    text: str
    words_a_sentence: float


async def rate(state: State) -> State:
    """Have the text rated in the next batch."""
    return {"words_a_sentence": await wait({"text": state["text"]}, batcher="readability")}


graph = StateGraph(State).add_node("rate", rate).add_edge(START, "rate").add_edge("rate", END).compile()
