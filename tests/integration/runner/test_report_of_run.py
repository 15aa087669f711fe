"""The report of one run; and what one counts: a thread once, a realtime call as no batch."""

import pytest
from helpers import Desk, chain, inputs_of, memory, one_node, within
from openai import AsyncOpenAI
from typer.testing import CliRunner

from batch_bridge import Bridge, FlushPolicy, Runner, wait
from batch_bridge._cli.app import app
from batch_bridge.providers.openai import OpenAIBatch
from batch_bridge.testing import BatchServer


async def ask(state):
    return {"out": [await wait(state["x"])]}


async def again(state):
    return {"out": [await wait(state["out"][-1])]}


def runner_on(path, desk, **options):
    return Runner(chain(ask, again), desk.bridge(**options), path=path, progress=False)


async def test_each_run_has_its_own_figures_also_in_a_later_process(tmp_path):
    path, desk = tmp_path / "run.db", Desk(lambda item: ValueError("no") if item == "c!" else f"{item}!")
    for _ in range(2):
        async with runner_on(path, desk, attempts=1) as runner:
            await within(runner.abatch(inputs_of("a", "b"), run_id="one"))
            await within(runner.abatch(inputs_of("c"), run_id="two", return_exceptions=True))
            one, two = await runner.report("one"), await runner.report("two")
            assert (one.run_id, one.threads, one.requests, one.batches) == ("one", 2, 4, 2)
            assert one.outcomes == {"succeeded": 4}
            assert one.cost.requests == 4
            assert (two.threads, two.outcomes["succeeded"]) == (1, 1)
            assert (await runner.report("none")).requests == 0
    assert two.outcomes["errored"] == 2  # the second process has asked again for what failed
    async with runner_on(path, desk) as runner:
        assert (await runner.report("one")).threads == 2
    said = CliRunner().invoke(app, ["cost", str(path), "--json", "--run-id", "one"]).output
    assert '"requests": 4' in said


async def test_what_is_sent_on_counts_once(tmp_path):
    attempts = iter([TimeoutError("later")])

    async def poll(handle):
        return [next(attempts, f"{item}!") for item in desk.batches[handle]]

    desk = Desk()
    options = {"poll": poll, "attempts": 2}
    async with memory(one_node(ask), desk.bridge(**options)) as runner:
        await within(runner.abatch(inputs_of("a", "b"), run_id="r", return_exceptions=True))
        whole, report = await runner.report(), await runner.report("r")
    assert (report.requests, report.outcomes, report.resubmitted) == (whole.requests, whole.outcomes, whole.resubmitted)


async def test_a_thread_of_a_run_counts_once_though_it_is_run_or_read_again():
    failing = iter([True])
    desk = Desk(lambda item: ValueError("no") if item == "b" and next(failing, False) else f"{item}!")
    async with memory(one_node(ask), desk.bridge(attempts=1)) as runner:
        for _ in range(3):
            await within(runner.abatch(inputs_of("a", "b"), run_id="r", return_exceptions=True))
        assert (await runner.report()).threads == 2
        await within(runner.abatch(inputs_of("a")))
        await within(runner.ainvoke({"x": "a"}))
        assert (await runner.report()).threads == 4


@pytest.mark.parametrize("mode", ["batch", "realtime"])
async def test_realtime_calls_are_no_batches(mode):
    async def node(state):
        return {"out": [await wait([{"role": "user", "content": state["x"]}])]}

    with BatchServer(latency=0) as server:
        client = AsyncOpenAI(base_url=server.base_url, api_key="test")
        bridge = Bridge(
            OpenAIBatch(client, model="m"), mode=mode, poll_interval=0.05, flush=FlushPolicy(when_idle=True)
        )
        async with memory(one_node(node), bridge) as runner:
            await within(runner.abatch(inputs_of("a", "b"), run_id="r"))
            batches = 1 if mode == "batch" else 0
            for report in (await runner.report(), await runner.report("r")):
                assert (report.requests, report.batches) == (2, batches)
                assert report.usage[0].realtime is (mode == "realtime")
