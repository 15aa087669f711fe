"""The graph that both sides of `bench_pool.py` run: two waits, one after the other."""

from collections.abc import Awaitable, Callable
from typing import TypedDict

from langgraph.graph import StateGraph


class State(TypedDict, total=False):
    """A thread's."""

    question: str
    first: str
    second: str


def graph_of(ask: Callable[[str], Awaitable[str]]) -> StateGraph[State]:
    """Return the graph, whose nodes wait by `ask`."""

    async def one(state: State) -> State:
        return {"first": await ask(state["question"])}

    async def two(state: State) -> State:
        return {"second": await ask(f"again {state['first']}")}

    graph = StateGraph(State).add_node("one", one).add_node("two", two)
    return graph.add_edge("__start__", "one").add_edge("one", "two")


def answer(question: str) -> str:
    """Return what is answered."""
    return question.upper()


def inputs(count: int) -> list[State]:
    """Return what so many threads are about."""
    return [{"question": f"question {index}"} for index in range(count)]


def check(results: list[State]) -> None:
    """Look whether every thread has its own answers."""
    right = [
        {**each, "first": answer(each["question"]), "second": answer(f"again {answer(each['question'])}")}
        for each in inputs(len(results))
    ]
    if results != right:
        raise SystemExit("threads have wrong answers")
