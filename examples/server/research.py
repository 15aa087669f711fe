"""A research agent: several aspects of a topic are looked into side by side, then one report is written of them.

Nothing in here knows of batches but the word `wait`. Each `Send` branch parks on its own; the bridge puts the questions
of all branches of all threads into one batch. So a thread costs two rounds, and so do ten thousand threads.
"""

import operator
from typing import Annotated

from langgraph.graph import END, START, StateGraph
from langgraph.types import Send
from typing_extensions import TypedDict

from batch_bridge import wait

ASPECTS = ("its history", "what speaks for it", "what speaks against it")


class Research(TypedDict, total=False):
    """A thread's state."""

    topic: str
    findings: Annotated[list[str], operator.add]  # each branch adds its own
    report: str


class Branch(TypedDict):
    """What one branch is given."""

    topic: str
    aspect: str


async def ask(question: str) -> str:
    """Ask one question in the next batch, and return the answer's text.

    `batcher` is the bridge's id in langgraph.json; the item is what the bridge's provider takes.
    """
    answer = await wait([{"role": "user", "content": question}], batcher="bridge")
    return answer["choices"][0]["message"]["content"]


def spread(state: Research) -> list[Send]:
    """Start a branch for each aspect."""
    return [Send("look_into", Branch(topic=state["topic"], aspect=aspect)) for aspect in ASPECTS]


async def look_into(branch: Branch) -> Research:
    """Look into one aspect. Parks here; is run again from its top when the answer is there."""
    found = await ask(f"Tell about {branch['topic']}: {branch['aspect']}. Three sentences.")
    return {"findings": [f"{branch['aspect']}: {found}"]}


async def write(state: Research) -> Research:
    """Write the report, once all branches are done."""
    notes = "\n".join(state["findings"])
    return {"report": await ask(f"Write one paragraph about {state['topic']} from these notes.\n{notes}")}


# No checkpointer: the server gives each graph its own. Elsewhere a Runner does.
graph = (
    StateGraph(Research)
    .add_node("look_into", look_into)
    .add_node("write", write)
    .add_conditional_edges(START, spread, ["look_into"])
    .add_edge("look_into", "write")
    .add_edge("write", END)
    .compile()
)
