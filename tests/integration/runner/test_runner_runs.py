"""A Runner's calls: order, laziness, limits, continuing, and what is left when one is cancelled."""

import asyncio
import operator
from collections import Counter
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, TypedDict

import pytest
import sampling
from helpers import Desk, State, again, answers_of, ask, chain, config_of, inputs_of, memory, one_node, run, within
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, StateGraph

import batch_bridge
from batch_bridge import FlushPolicy, RequestFailed, wait
from batch_bridge.errors import RunnerStateError

# -- results --------------------------------------------------------------------------------------------------------


async def test_results_come_in_the_order_of_the_inputs():
    names = [f"n{i}" for i in range(30)]
    desk = Desk()
    results = await run(one_node(ask), desk.bridge(), inputs=inputs_of(*names), max_concurrency=3)
    assert answers_of(results) == [[f"{each}!"] for each in names]


async def test_no_inputs_are_no_results():
    desk = Desk()
    assert await run(one_node(ask), desk.bridge(), inputs=[]) == []
    assert desk.batches == []


async def fails_on_bad(state):
    answer = await wait(state["x"])
    if state["x"].startswith("bad"):
        raise ValueError(state["x"])
    return {"out": [answer]}


async def test_exceptions_are_returned_in_their_places_when_asked_for():
    desk = Desk()
    inputs = inputs_of("a", "bad1", "c", "bad2")
    results = await run(one_node(fails_on_bad), desk.bridge(), inputs=inputs, return_exceptions=True)
    assert answers_of([results[0], results[2]]) == [["a!"], ["c!"]]
    assert [repr(results[1]), repr(results[3])] == ["ValueError('bad1')", "ValueError('bad2')"]


async def test_the_first_exception_by_index_is_raised_once_all_other_threads_have_ended():
    ended = []

    async def node(state):
        if state["x"] == "bad late":
            await wait("first")
        try:
            return await fails_on_bad(state)
        finally:
            ended.append(state["x"])

    desk = Desk()
    with pytest.raises(ValueError, match="bad late") as caught:
        await run(one_node(node), desk.bridge(), inputs=inputs_of("bad late", "a", "bad early", "b"))
    assert Counter(ended).keys() == {"bad late", "a", "bad early", "b"}
    assert any("2 threads failed" in note for note in caught.value.__notes__)


async def test_as_completed_yields_threads_as_they_end():
    fast, slow = Desk(), Desk().hold()

    async def node(state):
        return {"out": [await wait(state["x"], batcher=state["x"])]}

    async with memory(one_node(node), fast.bridge(name="fast"), slow.bridge(name="slow")) as runner:
        seen = []
        async for index, result in runner.abatch_as_completed(inputs_of("slow", "fast")):
            seen.append((index, result["out"]))
            slow.let_go()
    assert seen == [(1, ["fast!"]), (0, ["slow!"])]


async def test_as_completed_yields_all_others_before_it_raises():
    desk = Desk()
    seen = []

    async def consume(runner):
        async for index, result in runner.abatch_as_completed(inputs_of("bad1", "a", "bad2", "b")):
            seen.append((index, result["out"]))

    async with memory(one_node(fails_on_bad), desk.bridge()) as runner:
        with pytest.raises(ValueError, match="bad1"):
            await within(consume(runner))
        assert sorted(seen) == [(1, ["a!"]), (3, ["b!"])]
        pairs = runner.abatch_as_completed(inputs_of("bad1", "a"), return_exceptions=True)
        results = dict([pair async for pair in pairs])
    assert [repr(results[0]), results[1]["out"]] == ["ValueError('bad1')", ["a!"]]


async def test_as_completed_that_is_left_early_can_be_continued():
    desk = Desk()
    async with memory(chain(ask, again), desk.bridge()) as runner:
        results = runner.abatch_as_completed(inputs_of("a", "b", "c"), run_id="r")
        async for _ in results:
            break
        await results.aclose()
        assert answers_of(await within(runner.abatch(inputs_of("a", "b", "c"), run_id="r"))) == [
            ["a!", "a!!"],
            ["b!", "b!!"],
            ["c!", "c!!"],
        ]
    assert desk.counts == {each: 1 for name in "abc" for each in (name, f"{name}!")}


# -- the sync twins -------------------------------------------------------------------------------------------------


def test_the_sync_twins_give_the_same_in_a_block_and_without_one():
    desk = Desk()
    runner = memory(one_node(ask), desk.bridge())

    def use():
        assert answers_of(runner.batch(inputs_of("a", "b"))) == [["a!"], ["b!"]]
        pairs = dict(runner.batch_as_completed(inputs_of("a", "b")))
        assert answers_of([pairs[0], pairs[1]]) == [["a!"], ["b!"]]
        assert runner.invoke({"x": "a"})["out"] == ["a!"]

    use()
    with runner:
        use()
    use()
    assert desk.sizes == [2, 2, 1] * 3


def test_the_sync_twin_that_is_left_early_closes_tidily():
    desk = Desk()
    with memory(one_node(ask), desk.bridge()) as runner:
        for _ in runner.batch_as_completed(inputs_of("a", "b", "c"), run_id="r"):
            break
        assert answers_of(runner.batch(inputs_of("a", "b", "c"), run_id="r")) == [["a!"], ["b!"], ["c!"]]
    assert desk.sizes == [3]


def test_the_sync_twins_take_the_same_arguments():
    desk = Desk(lambda item: ValueError("no") if item == "bad" else f"{item}!")
    with memory(one_node(ask), desk.bridge()) as runner:
        first, error = runner.batch(
            inputs_of("a", "bad"), [{}, {}], run_id="r", return_exceptions=True, max_concurrency=1
        )
    assert first["out"] == ["a!"]
    assert isinstance(error, RequestFailed)


# -- laziness and limits --------------------------------------------------------------------------------------------


async def test_lazy_inputs_are_read_no_further_than_there_is_room_to_run_them():
    started, gate = asyncio.Event(), asyncio.Event()
    read = []
    running = []

    def inputs():
        for i in range(20):
            read.append(i)
            yield {"x": f"n{i}"}

    async def node(state):
        if not gate.is_set():
            running.append(state["x"])
            if len(running) == 4:
                started.set()
            await gate.wait()
        return await ask(state)

    desk = Desk()
    async with memory(one_node(node), desk.bridge()) as runner:
        call = asyncio.create_task(runner.abatch(inputs(), max_concurrency=4))
        await within(started.wait())
        assert len(read) == 4
        gate.set()
        results = await within(call)
    assert answers_of(results) == [[f"n{i}!"] for i in range(20)]
    assert desk.sizes == [20]


async def test_max_concurrency_counts_threads_that_run_and_not_those_that_are_parked():
    now = most = 0

    async def node(state):
        nonlocal now, most
        now += 1
        most = max(most, now)
        try:
            await asyncio.sleep(0)
            return await ask(state)
        finally:
            now -= 1

    desk = Desk()
    results = await run(one_node(node), desk.bridge(), inputs=inputs_of(*"abcdefgh"), max_concurrency=2)
    assert len(results) == 8
    assert most == 2
    assert desk.sizes == [8]


# -- configs and context --------------------------------------------------------------------------------------------


async def test_one_config_serves_all_inputs_and_a_list_serves_each_its_own():
    async def node(state, config):
        return {"out": [await wait(config["configurable"]["word"]), config["tags"]]}

    node.__annotations__["config"] = "RunnableConfig"
    desk = Desk()
    one = {"configurable": {"word": "w"}, "tags": ["t"]}
    each = [{"configurable": {"word": word}, "tags": [word]} for word in "ab"]
    assert answers_of(await run(one_node(node), desk.bridge(), inputs=[{}, {}], config=one)) == [["w!", ["t"]]] * 2
    results = await run(one_node(node), desk.bridge(), inputs=[{}, {}], config=each)
    assert answers_of(results) == [["a!", ["a"]], ["b!", ["b"]]]


async def test_a_config_may_name_its_thread():
    saver = InMemorySaver()
    desk = Desk()
    async with memory(one_node(ask), desk.bridge(), checkpointer=saver) as runner:
        await within(runner.abatch(inputs_of("a", "b"), [config_of("mine"), {}], run_id="r"))
    assert {each.config["configurable"]["thread_id"] for each in saver.list(None)} == {"mine", "r:1"}


async def test_a_config_that_the_caller_keeps_is_not_changed():
    config = {"configurable": {"thread_id": "t"}, "metadata": {"a": 1}}
    await run(one_node(ask), Desk().bridge(), inputs=inputs_of("a"), config=config)
    assert config == {"configurable": {"thread_id": "t"}, "metadata": {"a": 1}}


async def test_context_is_given_to_every_thread():
    @dataclass
    class Context:
        word: str

    async def node(state, *, runtime):
        return {"out": [await wait(runtime.context.word)]}

    graph = StateGraph(State, context_schema=Context).add_node("node", node).add_edge(START, "node")
    results = await run(graph, Desk().bridge(), inputs=[{}, {}], context=Context("w"))
    assert answers_of(results) == [["w!"], ["w!"]]


# -- bridges and their flushes --------------------------------------------------------------------------------------


async def test_several_bridges_each_get_their_own_requests():
    async def node(state):
        return {"out": [await wait(state["x"], batcher="upper"), await wait(state["x"], batcher="lower")]}

    upper, lower = Desk(str.upper), Desk(str.lower)
    results = await run(
        one_node(node), upper.bridge(name="upper"), lower.bridge(name="lower"), inputs=inputs_of("Ab", "Cd")
    )
    assert answers_of(results) == [["AB", "ab"], ["CD", "cd"]]
    assert (upper.batches, lower.sizes) == ([["Ab", "Cd"]], [2])


async def test_hundreds_of_threads_with_two_dependent_waits_make_exactly_two_batches():
    desk = Desk()
    names = [f"n{i}" for i in range(sampling.many(500, 150))]
    async with memory(chain(ask, again), desk.bridge()) as runner:
        results = await within(runner.abatch(inputs_of(*names)), 120)
    assert answers_of(results) == [[f"{each}!", f"{each}!!"] for each in names]
    assert desk.sizes == [len(names), len(names)]


async def test_max_requests_splits_into_batches_of_exactly_that_size():
    desk = Desk()
    names = [f"n{i}" for i in range(25)]
    bridge = desk.bridge(flush=FlushPolicy(max_requests=10))
    results = await run(one_node(ask), bridge, inputs=inputs_of(*names))
    assert answers_of(results) == [[f"{each}!"] for each in names]
    assert desk.sizes == [10, 10, 5]
    assert sorted(desk.requests) == sorted(names)


async def test_max_age_sends_the_last_item_though_a_long_thread_keeps_the_runner_busy():
    desk = Desk()

    async def node(state):
        if state["x"] == "long":
            await desk.submitted.wait()
        return await ask(state)

    bridge = desk.bridge(flush=FlushPolicy(max_age=timedelta(seconds=0.1)))
    results = await run(one_node(node), bridge, inputs=inputs_of("a", "long", "b"))
    assert answers_of(results) == [["a!"], ["long!"], ["b!"]]
    assert desk.sizes == [2, 1]


async def test_a_predicate_sends_when_it_says_so():
    desk = Desk()

    async def node(state):
        if state["x"] == "long":
            await desk.submitted.wait()
        return await ask(state)

    bridge = desk.bridge(flush=FlushPolicy(max_age=None, when=lambda queue: queue.requests >= 2))
    results = await run(one_node(node), bridge, inputs=inputs_of("a", "long", "b"))
    assert len(results) == 3
    assert desk.sizes == [2, 1]


async def test_two_calls_at_once_share_a_runner_and_its_batches():
    desk = Desk()
    async with memory(one_node(ask), desk.bridge()) as runner:
        first, second = await within(
            asyncio.gather(
                runner.abatch(inputs_of("a", "b"), run_id="one"), runner.abatch(inputs_of("c"), run_id="two")
            )
        )
    assert answers_of([*first, *second]) == [["a!"], ["b!"], ["c!"]]
    assert desk.sizes == [3]


async def test_the_same_run_id_twice_at_once_is_refused_and_the_first_call_goes_on():
    desk = Desk().hold()
    async with memory(one_node(ask), desk.bridge()) as runner:
        call = asyncio.create_task(runner.abatch(inputs_of("a"), run_id="r"))
        await within(desk.submitted.wait())
        with pytest.raises(RunnerStateError, match="'r' is under way"):
            await runner.abatch(inputs_of("a"), run_id="r")
        desk.let_go()
        assert answers_of(await within(call)) == [["a!"]]
        assert answers_of(await within(runner.abatch(inputs_of("a"), run_id="r"))) == [["a!"]]
    assert desk.batches == [["a"]]


async def test_the_same_thread_twice_at_once_is_refused_without_attach_and_paid_once():
    desk = Desk()
    config = config_of("t")
    async with memory(one_node(ask), desk.bridge()) as runner:
        first, second = await within(
            asyncio.gather(
                runner.ainvoke({"x": "a"}, config),
                runner.ainvoke({"x": "a"}, config, attach=False),
                return_exceptions=True,
            )
        )
        assert first["out"] == ["a!"]
        assert isinstance(second, RunnerStateError)
        assert "'t' is under way" in str(second)
        assert (await within(runner.ainvoke({"x": "b"}, config)))["out"] == ["a!", "b!"]
    assert desk.batches == [["a"], ["b"]]


async def test_a_report_tells_what_was_done():
    desk = Desk(lambda item: ValueError("no") if item == "bad" else item)
    async with memory(one_node(ask), desk.bridge(flush=FlushPolicy(max_requests=2))) as runner:
        await within(runner.abatch(inputs_of("a", "bad", "c"), return_exceptions=True))
        report = await runner.report()
    assert (report.threads, report.requests, report.batches) == (3, 3, 2)
    assert report.outcomes == {"succeeded": 2, "errored": 1}
    assert isinstance(report, batch_bridge.Report)


class Votes(TypedDict):
    x: str
    out: Annotated[list, operator.add]


async def test_threads_of_very_different_length_each_take_as_many_rounds_as_they_need():
    graph = StateGraph(Votes).add_node("ask", ask).add_edge(START, "ask")
    graph.add_conditional_edges(
        "ask", lambda state: "ask" if len(state["out"]) < len(state["x"]) else END, ["ask", END]
    )
    desk = Desk()
    results = await run(graph, desk.bridge(), inputs=[{"x": "x" * n, "out": []} for n in range(1, 6)])
    assert [len(result["out"]) for result in results] == [1, 2, 3, 4, 5]
    assert desk.sizes == [5, 4, 3, 2, 1]
