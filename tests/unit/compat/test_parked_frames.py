"""A run that has parked at one of our interrupts leaves nothing for the garbage collector: LangGraph's own frames do."""

import gc
from typing import Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.errors import GraphInterrupt
from langgraph.graph import START, StateGraph
from langgraph.pregel._loop import PregelLoop
from langgraph.pregel._runner import PregelRunner

from batch_bridge import wait, wait_sync
from batch_bridge._compat import parked_frames


@pytest.mark.parametrize("name", parked_frames.TICKS)
def test_langgraph_still_has_the_frames(name):
    code = getattr(PregelRunner, name).__code__
    assert "tb" in code.co_varnames + code.co_cellvars


def test_langgraph_still_tells_its_loop_of_the_exception():
    assert hasattr(getattr(PregelLoop, parked_frames.LEAVES), "__wrapped__")


async def ask(state: dict[str, Any]) -> dict[str, Any]:
    return {"answer": await wait(state["question"])}


def ask_sync(state: dict[str, Any]) -> dict[str, Any]:
    return {"answer": wait_sync(state["question"])}


def _graph(node: Any, *, nested: bool, branches: int = 1) -> Any:
    saver = None if nested else InMemorySaver()
    graph = StateGraph(dict)
    for number in range(branches):
        graph = graph.add_node(f"node{number}", node).add_edge(START, f"node{number}")
    return graph.compile(checkpointer=saver)


def _loops_left(before: set[int]) -> int:
    """Return how many loops are alive that were not: those of runs that have parked, if their frames hold themselves."""
    return sum(isinstance(each, PregelLoop) and id(each) not in before for each in gc.get_objects())


@pytest.mark.parametrize("branches", [1, 2])
@pytest.mark.parametrize("nested", [False, True])
async def test_nothing_is_left_of_a_run_that_has_parked(nested, branches):
    inner = _graph(ask, nested=nested, branches=branches)
    graph = StateGraph(dict).add_node("inner", inner).add_edge(START, "inner").compile(checkpointer=InMemorySaver())
    graph = graph if nested else inner
    config = {"configurable": {"thread_id": "1"}}
    gc.collect()
    gc.disable()
    try:
        before = {id(each) for each in gc.get_objects() if isinstance(each, PregelLoop)}
        result = await graph.ainvoke({"question": "?"}, config)
        assert len(result["__interrupt__"]) == branches
        del result
        assert _loops_left(before) == 0
    finally:
        gc.enable()


def test_nothing_is_left_of_a_run_that_is_not_async():
    graph = _graph(ask_sync, nested=False)
    gc.collect()
    gc.disable()
    try:
        before = {id(each) for each in gc.get_objects() if isinstance(each, PregelLoop)}
        assert "__interrupt__" in graph.invoke({"question": "?"}, {"configurable": {"thread_id": "1"}})
        assert _loops_left(before) == 0
    finally:
        gc.enable()


@pytest.mark.parametrize("held", ["stop", ["stop"], [None]])
def test_an_interrupt_that_a_node_raises_with_something_of_its_own_is_left_as_it_is(held):
    def node(state: dict[str, Any]) -> None:
        raise GraphInterrupt(held)

    graph = _graph(node, nested=False)
    result = graph.invoke({"question": "?"}, {"configurable": {"thread_id": "1"}})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PregelLoop, parked_frames.LEAVES, getattr(PregelLoop, parked_frames.LEAVES).__wrapped__)
        assert result == graph.invoke({"question": "?"}, {"configurable": {"thread_id": "2"}})
