"""Deadlines of the user's own `submit` and `poll`, which cannot cancel: what is late does not wait for a batch to end."""

import asyncio

import pytest
from helpers import Desk, memory, one_node, run, within
from openai import AsyncOpenAI

from batch_bridge import Batcher, Bridge, Deadline, RequestExpired, Runner, wait
from batch_bridge.providers.openai import OpenAIBatch
from batch_bridge.testing import BatchServer


async def ask(state):
    return {"out": [await wait(state["x"])]}


def body(text):
    return {"messages": [{"role": "user", "content": text}]}


@pytest.mark.parametrize("policy", ["wait_for_cancel", "pay_again"])
async def test_what_is_late_goes_to_the_fallback_though_poll_returns_none_for_ever(policy):
    desk = Desk().hold()
    with BatchServer() as server:
        fallback = OpenAIBatch(AsyncOpenAI(base_url=server.base_url, api_key="any"), model="gpt-4o-mini")
        bridge = desk.bridge(deadline=Deadline(within=0.2, then=policy), fallback=fallback)
        results = await run(one_node(ask), bridge, inputs=[{"x": body(text)} for text in "abc"])
        assert [each["out"][0]["object"] for each in results] == ["chat.completion"] * 3
        assert server.stats.realtime == 3
    assert desk.sizes == [3]


async def test_what_has_ended_meanwhile_is_taken_before_it_is_called_late(tmp_path):
    """The process was away; the batch has ended, and the deadline has passed as well."""
    desk, graph, path = Desk().hold(), one_node(ask), tmp_path / "run.db"
    inputs = [{"x": each} for each in "abc"]
    async with Runner(graph, desk.bridge(deadline=600), path=path, progress=False) as runner:
        running = asyncio.create_task(runner.abatch(inputs, run_id="r"))
        await within(desk.submitted.wait())
        await asyncio.sleep(0.05)
        running.cancel()
    desk.let_go()
    async with Runner(graph, desk.bridge(deadline=0.01), path=path, progress=False) as runner:
        results = await within(runner.abatch(inputs, run_id="r", return_exceptions=True))
    assert [each["out"] for each in results] == [["a!"], ["b!"], ["c!"]]
    assert desk.sizes == [3]


def test_a_batcher_of_ones_own_functions_has_deadlines_too():
    batches = []
    with Batcher(
        submit_func=lambda items: batches.append(items) or "h",
        poll_func=lambda _: None,
        poll_interval=0.02,
        deadline=0.1,
    ) as batcher:
        first, second = batcher.map(["a", "b"], return_exceptions=True)
        assert type(first) is type(second) is RequestExpired
        assert "may have been billed" in str(first)
        with pytest.raises(RequestExpired, match="before the request was sent; it was not billed"):
            batcher.submit("c", deadline=0.05)  # nothing else is due so soon
    assert batches == [["a", "b"]]


async def test_a_batch_that_nobody_waits_for_ends_no_run():
    """It was given up as late; what `poll` makes of it then is nobody's affair."""
    told = []
    desk = Desk()

    def poll(handle):
        return None if not told else "nonsense" if handle == 0 else [f"{item}!" for item in desk.batches[handle]]

    async with memory(one_node(ask), desk.bridge(poll=poll, deadline=0.1)) as runner:
        (error,) = await within(runner.abatch([{"x": "a"}], return_exceptions=True))
        assert isinstance(error, RequestExpired)
        told.append(True)
        assert (await within(runner.ainvoke({"x": "b"})))["out"] == ["b!"]


async def test_a_report_says_what_cannot_be_looked_at():
    failing = asyncio.Event()
    desk = Desk()

    async def poll(handle):
        if not failing.is_set():
            failing.set()
            raise KeyError("results")
        return await desk.poll(handle)

    reports = []
    async with memory(one_node(ask), Bridge(submit=desk.submit, poll=poll, poll_interval=1)) as runner:
        running = asyncio.create_task(runner.abatch([{"x": "a"}]))
        await within(failing.wait())
        while not (report := await runner.report()).problems:
            await asyncio.sleep(0)
        reports.append(report.problems)
        await within(running)
        assert (await runner.report()).problems == ()
    assert "cannot be polled, 1 times in a row: KeyError: 'results'" in reports[0][0]
