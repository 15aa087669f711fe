"""Graphs of each shape of waiting. Each says what it must answer, and what it asks, by the name of its thread."""

import asyncio
import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, TypedDict

from langgraph.graph import END, START, StateGraph
from langgraph.types import Send

from batch_bridge import wait, wait_many
from simulation.provider import answer_of


class State(TypedDict):
    """What a thread knows."""

    name: str
    answers: Annotated[list[str], operator.add]


@dataclass(frozen=True, slots=True)
class Shape:
    """A graph."""

    name: str
    graph: Any
    questions: Callable[[str], list[str]]
    """What a thread of this name asks, in any order; its answers are those to these."""


async def _ask(question: str) -> str:
    answer = await wait({"q": question})
    return answer["a"]


async def _first(state: State) -> dict[str, Any]:
    return {"answers": [await _ask(f"{state['name']} 1")]}


async def _second(state: State) -> dict[str, Any]:
    return {"answers": [await _ask(f"{state['name']} 2")]}


async def _gathered(state: State) -> dict[str, Any]:
    one, two = await asyncio.gather(_ask(f"{state['name']} 1"), _ask(f"{state['name']} 2"))
    three = await _ask(f"{state['name']} 3")
    return {"answers": [one, two, three]}


async def _many(state: State) -> dict[str, Any]:
    answers = await wait_many([{"q": f"{state['name']} {number}"} for number in (1, 2)])
    return {"answers": [each["a"] for each in answers]}


async def _part(state: State) -> dict[str, Any]:
    return {"answers": [await _ask(state["name"])]}


def _fan(state: State) -> list[Send]:
    return [Send("part", {"name": f"{state['name']} {number}", "answers": []}) for number in (1, 2, 3)]


def _chain(*nodes: Any) -> Any:
    graph = StateGraph(State)
    before = START
    for number, node in enumerate(nodes):
        graph.add_node(f"n{number}", node)
        graph.add_edge(before, f"n{number}")
        before = f"n{number}"
    graph.add_edge(before, END)
    return graph.compile()


def _fanned() -> Any:
    graph = StateGraph(State)
    graph.add_node("part", _part)
    graph.add_conditional_edges(START, _fan, ["part"])
    graph.add_edge("part", END)
    return graph.compile()


def _numbered(*numbers: int) -> Callable[[str], list[str]]:
    return lambda name: [f"{name} {number}" for number in numbers]


SHAPES = (
    Shape("one", _chain(_first), _numbered(1)),
    Shape("two", _chain(_first, _second), _numbered(1, 2)),
    Shape("gathered", _chain(_gathered), _numbered(1, 2, 3)),
    Shape("many", _chain(_many), _numbered(1, 2)),
    Shape("fan", _fanned(), _numbered(1, 2, 3)),
)


def is_right(shape: Shape, name: str, result: Any) -> bool:
    """Return whether a thread's result is its own, and whole."""
    return sorted(result["answers"]) == sorted(map(answer_of, shape.questions(name)))
