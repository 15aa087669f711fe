"""A node that catches what should park it fails by itself: nothing goes on with what it has made up."""

import asyncio
import operator
from typing import Annotated, Any, TypedDict

import pytest
from helpers import Desk, memory
from langchain_core.runnables import RunnableLambda
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.func import entrypoint, task
from langgraph.graph import START, StateGraph
from langgraph.types import RetryPolicy

from batch_bridge import Runner, TaskGroup, wait, wait_sync
from batch_bridge.errors import RequestError, SwallowedInterruptError


class State(TypedDict, total=False):
    x: str
    out: Annotated[list[Any], operator.add]


def graph_of(node, *, then=None, name="node", **options):
    graph = StateGraph(State).add_node(name, node, **options).add_edge(START, name)
    if then is not None:
        graph.add_node("then", then)
        graph.add_edge(name, "then")
    return graph


class Later:
    """The node after the one that swallows."""

    def __init__(self):
        self.calls = 0

    def __call__(self, state):
        self.calls += 1
        return {}


async def catches(state):
    try:
        return {"out": [await wait(state["x"])]}
    except Exception:
        return {"out": ["made up"]}


def catches_sync(state):
    try:
        return {"out": [wait_sync(state["x"])]}
    except Exception:
        return {"out": ["made up"]}


async def returns_exceptions(state):
    answers = await asyncio.gather(wait(state["x"]), return_exceptions=True)
    return {"out": [each if isinstance(each, str) else "made up" for each in answers]}


async def in_a_chain(state):
    chain = RunnableLambda(wait).with_fallbacks([RunnableLambda(lambda _: "made up")])
    return {"out": [await chain.ainvoke(state["x"])]}


async def around_a_graph(state):
    inner = graph_of(lets_pass).compile()
    try:
        return await inner.ainvoke(state)
    except Exception:
        return {"out": ["made up"]}


def around_a_graph_sync(state):
    inner = graph_of(lets_pass_sync).compile()
    try:
        return inner.invoke(state)
    except Exception:
        return {"out": ["made up"]}


async def around_a_graph_that_swallows(state):
    inner = graph_of(catches).compile()
    try:
        return await inner.ainvoke(state)
    except Exception:
        return {"out": ["made up"]}


async def lets_pass(state):
    return {"out": [await wait(state["x"])]}


def lets_pass_sync(state):
    return {"out": [wait_sync(state["x"])]}


SWALLOWING = [
    catches,
    catches_sync,
    returns_exceptions,
    in_a_chain,
    around_a_graph,
    around_a_graph_sync,
    around_a_graph_that_swallows,
]


@pytest.mark.parametrize("nested", [False, True], ids=["node", "subgraph"])
@pytest.mark.parametrize("node", SWALLOWING, ids=lambda node: node.__name__)
async def test_it_fails_before_anything_goes_on_with_what_it_made_up(node, nested):
    later, desk = Later(), Desk()
    graph = graph_of(node, then=later)
    if nested:
        graph = graph_of(graph.compile(), name="inner")
    async with memory(graph, desk.bridge()) as runner:
        with pytest.raises(SwallowedInterruptError, match=r"node 'node' of thread .* caught the interrupt"):
            await runner.ainvoke({"x": "a"})
    assert not later.calls
    assert not desk.batches


@pytest.mark.parametrize(
    ("careless", "mended"), [(catches, lets_pass), (catches_sync, lets_pass_sync)], ids=["async", "sync"]
)
async def test_a_mended_node_goes_on_under_the_same_run(tmp_path, careless, mended):
    """What it had written before it failed is not kept: LangGraph would take it for finished."""
    desk = Desk()
    async with Runner(graph_of(careless), desk.bridge(), path=tmp_path / "run.db", progress=False) as runner:
        with pytest.raises(SwallowedInterruptError):
            await runner.abatch([{"x": "a"}], run_id="r")
    async with Runner(graph_of(mended), desk.bridge(), path=tmp_path / "run.db", progress=False) as runner:
        (result,) = await runner.abatch([{"x": "a"}], run_id="r")
    assert result["out"] == ["a!"]


async def test_a_task_of_the_functional_api_is_one_too():
    @task
    async def asks(text):
        return await wait(text)

    @entrypoint(checkpointer=InMemorySaver())
    async def careless(state):
        try:
            return await asks(state["x"])
        except Exception:
            return "made up"

    desk = Desk()
    async with memory(careless, desk.bridge()) as runner:
        with pytest.raises(SwallowedInterruptError, match="caught the interrupt"):
            await runner.ainvoke({"x": "a"})
    assert not desk.batches


async def test_the_error_of_a_sibling_is_raised_as_it_would_be_with_answers_at_once():
    """A group of an interrupt and of another error is that other error, without the prompts."""

    async def fails():
        raise KeyError("of its own")

    async def node(state):
        async with TaskGroup() as group:
            group.create_task(wait(state["x"]))
            group.create_task(fails())
        return {}

    async with memory(graph_of(node), Desk().bridge()) as runner:
        with pytest.raises(ExceptionGroup) as caught:
            await runner.ainvoke({"x": "a"})
    assert [type(each) for each in caught.value.exceptions] == [KeyError]


async def test_what_is_no_swallowing_is_left_alone():
    """Errors of requests that are caught, and an attempt that fails after its answer has come."""
    desk, attempts = Desk(lambda item: RuntimeError(item) if item.startswith("fail") else f"{item}!"), []

    async def catches_errors(state):
        try:
            return {"out": [await wait("fail " + state["x"])]}
        except RequestError:
            return {"out": [await wait(state["x"])]}

    async def retried(state):
        answer = await wait(state["x"] + "r")
        attempts.append(1)
        if len(attempts) == 1:
            raise ValueError("once")
        return {"out": [answer]}

    graph = StateGraph(State)
    policy = RetryPolicy(initial_interval=0, jitter=False, retry_on=ValueError)
    for name, node, options in (
        ("errors", catches_errors, {}),
        ("retried", retried, {"retry_policy": policy}),
        ("passes", lets_pass, {}),
    ):
        graph.add_node(name, node, **options)
        graph.add_edge(START, name)
    async with memory(graph, desk.bridge()) as runner:
        result = await runner.ainvoke({"x": "a"})
    assert sorted(result["out"]) == ["a!", "a!", "ar!"]
