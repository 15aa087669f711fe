"""How a Runner and its calls end in the middle of their work: what is left can be gone on with, and nothing lives on."""

import asyncio
from collections import Counter

import pytest
from helpers import TIMEOUT, Desk, config_of, memory, one_node, within
from langgraph.checkpoint.memory import InMemorySaver

from batch_bridge import FlushPolicy, RequestFailed, wait, wait_many
from batch_bridge.errors import RunnerStateError


def inputs_of(*names):
    return [{"x": each} for each in names]


class Tidier:
    """A node's work that is slow to stop: it runs until it is cancelled, and then tidies up until `tidied` is set."""

    def __init__(self):
        self.running = asyncio.Event()
        self.stopping = asyncio.Event()
        self.tidied = asyncio.Event()

    async def work(self):
        self.running.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.stopping.set()
            await self.tidied.wait()


async def until(condition):
    async with asyncio.timeout(TIMEOUT):
        while not condition():
            await asyncio.sleep(0.001)


async def test_a_thread_answered_while_its_call_is_ended_is_left_to_the_call_that_goes_on_with_the_run():
    desk, tidier = Desk().hold(), Tidier()
    executions = Counter()

    async def node(state):
        executions[state["x"]] += 1
        if state["x"] == "quick":
            return {"out": ["quick"]}
        if state["x"] == "slow" and not tidier.tidied.is_set():
            await tidier.work()
        if state["x"] == "slow":
            return {"out": ["slow"]}
        return {"out": [await wait(f"then {await wait('q')}")]}

    inputs = inputs_of("quick", "slow", "asks")
    async with memory(one_node(node), desk.bridge(flush=FlushPolicy(max_requests=1))) as runner:
        results = runner.abatch_as_completed(inputs, run_id="r")
        assert await within(anext(results)) == (0, {"x": "quick", "out": ["quick"]})
        await within(desk.submitted.wait())
        await within(tidier.running.wait())
        leaving = asyncio.create_task(results.aclose())
        await within(tidier.stopping.wait())
        desk.let_go()
        await until(lambda: not runner._opened.session.traffic.in_flight)
        for _ in range(100):
            await asyncio.sleep(0)
        assert executions["asks"] == 1
        tidier.tidied.set()
        await within(leaving)
        continued = await within(runner.abatch(inputs, run_id="r"))
    assert [each["out"] for each in continued] == [["quick"], ["slow"], ["then q!!"]]
    assert desk.batches == [["q"], ["then q!"]]
    assert executions["asks"] == 3  # it asks, it is given the first answer, and the second


async def test_a_runner_whose_closing_is_cancelled_leaves_no_bridge_running_and_submits_nothing_more():
    desk, tidier = Desk(), Tidier()

    async def node(state):
        if state["x"] == "slow":
            await tidier.work()
        return {"out": [await wait(state["x"])]}

    runner = memory(one_node(node), desk.bridge(flush=FlushPolicy(max_age=3600)))
    await runner.__aenter__()
    call = asyncio.create_task(runner.abatch(inputs_of("slow", "a"), run_id="r"))
    await within(tidier.running.wait())
    await until(lambda: runner._opened.session.traffic.queued)
    loops = list(runner._opened.session._loops)
    closing = asyncio.create_task(runner.__aexit__(None, None, None))
    await within(tidier.stopping.wait())
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await within(closing)
    tidier.tidied.set()
    _, alive = await asyncio.wait(loops, timeout=TIMEOUT / 10)
    for loop in alive:
        loop.cancel()
    assert alive == set()
    with pytest.raises(RunnerStateError, match="closed"):
        await within(call)
    assert desk.batches == []


async def test_a_call_that_is_cancelled_twice_leaves_its_run_to_be_continued():
    desk, tidier = Desk(), Tidier()

    async def node(state):
        if not tidier.stopping.is_set():
            await tidier.work()
        return {"out": [await wait(state["x"])]}

    async with memory(one_node(node), desk.bridge()) as runner:
        call = asyncio.create_task(runner.abatch(inputs_of("a"), run_id="r"))
        await within(tidier.running.wait())
        call.cancel()
        await within(tidier.stopping.wait())
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await within(call)
        [result] = await within(runner.abatch(inputs_of("a"), run_id="r"))
    assert result["out"] == ["a!"]
    assert desk.batches == [["a"]]


async def test_a_thread_begun_by_langgraph_alone_asks_again_only_for_what_failed():
    desk = Desk(lambda item: ValueError("busy") if item == "bad" and len(desk.batches) == 1 else f"{item}!")

    async def node(state):
        return {"out": await wait_many(["good", "bad"])}

    graph = one_node(node).compile(checkpointer=InMemorySaver())
    await graph.ainvoke({}, config_of("t"))
    async with memory(graph, desk.bridge()) as runner:
        with pytest.raises(RequestFailed, match="busy"):
            await within(runner.ainvoke(None, config_of("t")))
        assert (await within(runner.ainvoke(None, config_of("t"))))["out"] == ["good!", "bad!"]
    assert desk.batches == [["good", "bad"], ["bad"]]
