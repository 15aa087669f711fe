"""A graph whose nodes have changed while threads were parked in it: an error, before anything is sent."""

import asyncio
import operator
from typing import Annotated, Any, TypedDict

import pytest
from helpers import Desk, State, chain, config_of, one_node, within
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.func import entrypoint, task
from langgraph.graph import END, START, StateGraph
from langgraph.types import Send, interrupt

from batch_bridge import FlushPolicy, Runner, wait
from batch_bridge.errors import GraphChangedError, RunnerStateError


async def asks(state):
    return {"out": [await wait("q")]}


async def quick(state):
    return {"out": ["quick"]}


def plain(name, **options):
    return StateGraph(State).add_node(name, asks, **options).add_edge(START, name).add_edge(name, END)


def after(name):
    return (
        StateGraph(State).add_node("first", quick).add_node(name, asks).add_edge(START, "first").add_edge("first", name)
    )


def fanned(name):
    graph = StateGraph(State).add_node("split", quick).add_node(name, asks).add_edge(START, "split")
    return graph.add_conditional_edges("split", lambda _: [Send(name, {}), Send(name, {})], [name])


def joined(name):
    graph = StateGraph(State).add_node("p", quick).add_node("q", quick).add_node(name, asks)
    return graph.add_edge(START, "p").add_edge(START, "q").add_edge(["p", "q"], name)


def half_joined(name):
    """Parked at a node that is there still, while what joins it and a sibling is gone."""
    graph = StateGraph(State).add_node("p", quick).add_node("q", asks).add_node(name, quick)
    return graph.add_edge(START, "p").add_edge(START, "q").add_edge(["p", "q"], name)


def sub(name):
    return StateGraph(State).add_node("outer", plain(name).compile()).add_edge(START, "outer")


def deep(name):
    middle = StateGraph(State).add_node("middle", plain(name).compile()).add_edge(START, "middle").compile()
    return StateGraph(State).add_node("outer", middle).add_edge(START, "outer")


def called(name):
    inner = plain(name).compile()

    async def outer(state):
        return await inner.ainvoke(state)

    return StateGraph(State).add_node("outer", outer).add_edge(START, "outer")


def with_memory(name):
    return StateGraph(State).add_node("outer", plain(name).compile(checkpointer=True)).add_edge(START, "outer")


def human(name):
    async def node(state):
        return {"out": [interrupt("yes?")]}

    return StateGraph(State).add_node(name, node).add_edge(START, name)


SHAPES = {
    "plain": (plain, "{}"),
    "deferred": (lambda name: plain(name, defer=True), "{}"),
    "after another": (after, "{}"),
    "sent": (fanned, "{}"),
    "joined": (joined, "{}"),
    "half joined": (half_joined, "{}"),
    "subgraph": (sub, "outer/{}"),
    "subgraph of a subgraph": (deep, "outer/middle/{}"),
    "called in a function": (called, "outer/{}"),
    "subgraph with a memory": (with_memory, "outer/{}"),
    "a human's": (human, "{}"),
}


@pytest.mark.parametrize("shape", SHAPES)
async def test_a_node_that_was_renamed_is_an_error_that_names_it_and_nothing_is_sent(tmp_path, shape):
    make, named = SHAPES[shape]
    desk, path = Desk(), tmp_path / "run.db"
    saver = InMemorySaver()
    graph = make("judge").compile(checkpointer=saver)
    for i in range(2):
        await graph.ainvoke({"x": i}, config_of(f"r:{i}"))
    changed = make("judge_2").compile(checkpointer=saver)
    bridge = desk.bridge(flush=FlushPolicy(max_requests=1))
    async with Runner(changed, bridge, path=path, progress=False) as runner:
        with pytest.raises(GraphChangedError) as caught:
            await within(runner.abatch([{"x": 0}, {"x": 1}], run_id="r"))
    assert caught.value.thread_id == "r:0"
    assert caught.value.node == named.format("judge")
    for part in ("'r:0'", named.format("judge"), "judge_2", "first of 2", "run_id", "runner.restart('r:0')"):
        assert part in str(caught.value)
    assert desk.batches == []


@pytest.mark.parametrize("shape", SHAPES)
async def test_the_same_graph_again_is_none(tmp_path, shape):
    make, _ = SHAPES[shape]
    desk, saver = Desk(), InMemorySaver()
    graph = make("judge").compile(checkpointer=saver)
    for i in range(2):
        await graph.ainvoke({"x": i}, config_of(f"r:{i}"))
    again = make("judge").compile(checkpointer=saver)
    async with Runner(again, desk.bridge(), path=tmp_path / "run.db", progress=False) as runner:
        results = await within(runner.abatch([{"x": 0}, {"x": 1}], run_id="r"))
        assert all("__interrupt__" in each or each["out"] for each in results)
        await within(runner.abatch([{"x": 0}, {"x": 1}], run_id="r"))


@pytest.mark.parametrize("own", [True, False])
async def test_after_a_restart_the_batch_in_flight_is_kept_for_the_mended_graph(tmp_path, own):
    desk, path = Desk().hold(), tmp_path / "run.db"
    async with AsyncSqliteSaver.from_conn_string(str(tmp_path / "checkpoints.db")) as saver:
        options = {"path": path, "progress": False} | ({} if own else {"checkpointer": saver})
        inputs = [{"x": i} for i in range(3)]

        async def begin():
            async with Runner(plain("judge"), desk.bridge(), **options) as runner:
                call = asyncio.ensure_future(runner.abatch(inputs, run_id="r"))
                await within(desk.submitted.wait())
                call.cancel()
                await asyncio.gather(call, return_exceptions=True)

        await begin()
        desk.let_go()
        async with Runner(plain("renamed"), desk.bridge(), **options) as runner:
            with pytest.raises(GraphChangedError, match=r"'r:0' waits at node 'judge'.*only 'renamed'.*first of 3"):
                await within(runner.abatch(inputs, run_id="r"))
            with pytest.raises(GraphChangedError):
                await within(runner.ainvoke(None, config_of("r:2")))
        async with Runner(plain("judge"), desk.bridge(), **options) as runner:
            results = await within(runner.abatch(inputs, run_id="r"))
        assert [each["out"] for each in results] == [["q!"]] * 3
        assert desk.sizes == [3]


async def test_only_the_last_of_many_threads_is_parked_and_nothing_is_sent_for_the_others(tmp_path):
    desk, saver = Desk(), InMemorySaver()
    old = plain("judge").compile(checkpointer=saver)
    await old.ainvoke({"x": 199}, config_of("r:40"))
    async with Runner(plain("renamed"), desk.bridge(flush=FlushPolicy(max_requests=1)), checkpointer=saver,
                      path=tmp_path / "run.db", progress=False) as runner:  # fmt: skip
        with pytest.raises(GraphChangedError, match="'r:40'"):
            await within(runner.abatch(({"x": i} for i in range(200)), run_id="r", max_concurrency=4))
    assert desk.batches == []


async def test_threads_that_configs_name_are_all_looked_at(tmp_path):
    desk, saver = Desk(), InMemorySaver()
    await plain("judge").compile(checkpointer=saver).ainvoke({"x": 0}, config_of("t99"))
    async with Runner(plain("renamed"), desk.bridge(flush=FlushPolicy(max_requests=1)), checkpointer=saver,
                      path=tmp_path / "run.db", progress=False) as runner:  # fmt: skip
        with pytest.raises(GraphChangedError, match="'t99'"):
            await within(runner.abatch([{"x": i} for i in range(100)], [config_of(f"t{i}") for i in range(100)]))
    assert desk.batches == []


async def test_another_entrypoint_under_the_same_run_is_an_error(tmp_path):
    saver, desk = InMemorySaver(), Desk()

    @task
    async def ask(x):
        return await wait(f"q{x}")

    @entrypoint(checkpointer=saver)
    async def first(x):
        return await ask(x)

    @entrypoint(checkpointer=saver)
    async def second(x):
        return await ask(x)

    await first.ainvoke(1, config_of("r:0"))
    async with Runner(second, desk.bridge(), path=tmp_path / "run.db", progress=False) as runner:
        with pytest.raises(GraphChangedError, match="only 'second'"):
            await within(runner.abatch([1], run_id="r"))
    async with Runner(first, desk.bridge(), path=tmp_path / "run.db", progress=False) as runner:
        assert await within(runner.abatch([1], run_id="r")) == ["q1!"]
    assert desk.requests == ["q1"]


async def test_threads_that_have_ended_or_wait_elsewhere_are_no_reason(tmp_path):
    """A join that a way around has left half full; a node before the parked one that is gone; one after it."""

    class Way(TypedDict, total=False):
        x: Any
        out: Annotated[list, operator.add]

    def graph(*, old):
        made = StateGraph(Way).add_node("p", quick).add_node("q", quick).add_node("asks", asks)
        made.add_edge(START, "p").add_edge("p", "asks")
        if old:
            made.add_node("late", quick).add_edge(["p", "q"], "late")
        return made.add_conditional_edges("asks", lambda _: END, ["q", END])

    desk, saver = Desk(), InMemorySaver()
    async with Runner(
        graph(old=True), desk.bridge(), checkpointer=saver, path=tmp_path / "a.db", progress=False
    ) as runner:
        before = await within(runner.abatch([{"x": 0}], run_id="r"))
    async with Runner(
        graph(old=False), desk.bridge(), checkpointer=saver, path=tmp_path / "a.db", progress=False
    ) as runner:
        assert await within(runner.abatch([{"x": 0}], run_id="r")) == before

    async def before_it(state):
        return {}

    async def renamed(state):
        return {}

    async def node(state):
        return {"out": [await wait("q")]}

    await chain(before_it, node, renamed).compile(checkpointer=saver).ainvoke({"x": 0}, config_of("s:0"))
    async with Runner(chain(node), desk.bridge(), checkpointer=saver, path=tmp_path / "a.db", progress=False) as runner:
        [result] = await within(runner.abatch([{"x": 0}], run_id="s"))
    assert result["out"] == ["q!"]


async def test_a_node_that_calls_one_of_several_subgraphs_is_never_suspected(tmp_path):
    one, two = plain("judge").compile(), plain("other").compile()

    async def outer(state):
        return await (one if state["x"] else two).ainvoke(state)

    desk, saver = Desk(), InMemorySaver()
    graph = StateGraph(State).add_node("outer", outer).add_edge(START, "outer")
    inputs = [{"x": 0}, {"x": 1}]
    compiled = graph.compile(checkpointer=saver)
    for i, each in enumerate(inputs):
        await compiled.ainvoke(each, config_of(f"r:{i}"))
    async with Runner(graph, desk.bridge(), checkpointer=saver, path=tmp_path / "run.db", progress=False) as runner:
        assert [each["out"] for each in await within(runner.abatch(inputs, run_id="r"))] == [["q!"], ["q!"]]


# -- a thread that is started again ----------------------------------------------------------------------------------


async def test_a_thread_that_is_started_again_runs_in_the_new_graph_and_the_others_are_left(tmp_path):
    desk, path = Desk().hold(), tmp_path / "run.db"
    inputs = [{"x": 0}, {"x": 1}]
    async with Runner(plain("judge"), desk.bridge(), path=path, progress=False) as runner:
        call = asyncio.ensure_future(runner.abatch(inputs, run_id="r"))
        await within(desk.submitted.wait())
        with pytest.raises(RunnerStateError, match="under way"):
            await runner.restart("r:0")
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
    desk.let_go()
    async with Runner(plain("renamed"), desk.bridge(), path=path, progress=False) as runner:
        assert await runner.restart("r:0")
        with pytest.raises(GraphChangedError, match="'r:1'"):
            await within(runner.abatch(inputs, run_id="r"))
        assert await runner.restart("r:1")
        assert not await runner.restart("r:1")
        assert not await runner.restart("never")
        results = await within(runner.abatch(inputs, run_id="r"))
        report = await runner.report()
    assert [each["out"] for each in results] == [["q!"], ["q!"]]
    assert desk.sizes == [2, 2]
    assert report.unclaimed == 2


async def test_a_thread_that_has_ended_is_run_anew_alone(tmp_path):
    desk = Desk()
    async with Runner(one_node(asks), desk.bridge(), path=tmp_path / "run.db", progress=False) as runner:
        first = await within(runner.abatch([{"x": 0}, {"x": 1}], run_id="r"))
        await runner.restart("r:1")
        assert await within(runner.abatch([{"x": 0}, {"x": 1}], run_id="r")) == first
        assert (await runner.report()).unclaimed == 0
    assert desk.sizes == [2, 1]


async def test_a_checkpointer_that_cannot_delete_says_what_to_do_instead(tmp_path):
    class Keeper(InMemorySaver):
        async def adelete_thread(self, thread_id):
            raise NotImplementedError

    async with Runner(
        one_node(asks), Desk().bridge(), checkpointer=Keeper(), path=tmp_path / "r.db", progress=False
    ) as runner:
        await within(runner.abatch([{"x": 0}], run_id="r"))
        with pytest.raises(RunnerStateError, match="Keeper cannot delete a thread; run its input under another run_id"):
            await runner.restart("r:0")
