"""A graph whose bridge answers in realtime: threads park and are resumed as before, and nothing else changes."""

import asyncio

import pytest
import sampling
from helpers import State, chain, memory, one_node, within
from langgraph.types import RetryPolicy
from openai import AsyncOpenAI
from test_openai_kit import CUT, HANG, Script, key

from batch_bridge import Bridge, FlushPolicy, Measure, RequestFailed, Runner, Succeeded, wait
from batch_bridge.providers._realtime.provider import Realtime, Reply
from batch_bridge.providers.openai import OpenAIBatch
from batch_bridge.testing import BatchServer

CHAT = "POST /v1/chat/completions"


@pytest.fixture(scope="module")
def server():
    with BatchServer() as running:
        yield running


def provider(base_url, **options):
    return OpenAIBatch(AsyncOpenAI(base_url=base_url, api_key=key(), **options), model="gpt-4o-mini")


async def say(text):
    answer = await wait([{"role": "user", "content": text}])
    return answer["choices"][0]["message"]["content"]


async def talk(state: State) -> State:
    first = await asyncio.gather(*(say(f"{state['x']} take {take}") for take in range(3)))
    return {"out": [*first, await say(" and ".join(first))]}


async def ask_once(state: State) -> State:
    return {"out": [await say(str(state["x"]))]}


async def test_the_same_graph_ends_the_same_in_both_modes(server):
    inputs = [{"x": number} for number in range(sampling.many(50, 20))]
    results, usages = [], []
    for mode in ("batch", "realtime"):
        bridge = Bridge(provider(server.base_url), mode=mode, poll_interval=0.2)
        async with memory(one_node(talk), bridge) as runner:
            results.append(await within(runner.abatch(inputs), 60))
            report = await runner.report()
            assert report.requests == 4 * len(inputs)
            usages.append(report.usage)
    assert results[0] == results[1]
    ((batch,), (realtime,)) = usages
    assert (batch.realtime, realtime.realtime) == (False, True)
    assert (batch.input_tokens, batch.output_tokens) == (realtime.input_tokens, realtime.output_tokens)
    assert server.stats.batches == 2


async def test_auto_sends_the_last_few_at_once(server):
    server.reset_stats()
    bridge = Bridge(provider(server.base_url), mode="auto", realtime_below=5, poll_interval=0.2)

    async def maybe_twice(state: State) -> State:
        first = await say(f"auto {state['x']}")
        return {"out": [first, await say(first) if state["x"] < 3 else ""]}

    async with memory(one_node(maybe_twice), bridge) as runner:
        await within(runner.abatch([{"x": number} for number in range(20)]))
        usage = (await runner.report()).usage
    stats = server.stats
    assert (stats.batches, stats.paid, stats.realtime) == (1, 20, 3)
    assert {each.realtime for each in usage} == {True, False}  # told apart: they have two prices


async def test_many_threads():
    many = sampling.many(2000, 150)

    async def answer(asked):
        await asyncio.sleep(0.01)
        return Reply(Succeeded(asked.item))

    async def close():
        pass

    async def node(state: State) -> State:
        return {"out": [await wait(state["x"])]}

    bridge = Bridge(Realtime(answer, measure=lambda _: Measure("", 1), close=close, concurrency=32))
    async with memory(one_node(node), bridge) as runner:
        results = await within(runner.abatch([{"x": number} for number in range(many)]), 120)
    assert [each["out"] for each in results] == [[number] for number in range(many)]


async def test_a_queue_longer_than_what_is_taken_in_at_a_time_flows_without_being_polled():
    """Nobody waits for a poll interval, an age or a last thread: news alone move the queue on."""

    async def answer(asked):
        await asyncio.sleep(0)
        return Reply(Succeeded(asked.item))

    async def close():
        pass

    async def node(state: State) -> State:
        return {"out": await asyncio.gather(*(wait(f"{state['x']} {n}") for n in range(20)))}

    bridge = Bridge(
        Realtime(answer, measure=lambda _: Measure("", 1), close=close, concurrency=1),
        poll_interval=3600,
        flush=FlushPolicy(max_age=None),
    )
    async with memory(one_node(node), bridge) as runner:
        results = await within(runner.abatch([{"x": number} for number in range(10)]))
    assert all(len(each["out"]) == 20 for each in results)


async def test_a_stop_in_the_middle_ends_all_calls_and_the_run_can_go_on(tmp_path):
    policy = RetryPolicy(initial_interval=0.0, max_attempts=2, jitter=False)
    graph = chain(ask_once, retry_policy=policy)
    inputs = [{"x": number} for number in range(4)]
    async with Script({CHAT: [body(1), HANG]}) as script:
        runner = Runner(graph, Bridge(provider(script.base_url), mode="realtime"), path=tmp_path / "r", progress=False)

        ended = []

        async def work():
            async with runner:
                async for index, _ in runner.abatch_as_completed(inputs, run_id="run"):
                    ended.append(index)  # read while it grows

        working = asyncio.ensure_future(work())
        while script.calls[CHAT] < 4 or not ended:
            await asyncio.sleep(0.01)
        before = len(asyncio.all_tasks())
        working.cancel()
        with pytest.raises(asyncio.CancelledError):
            await within(working)
        assert len(asyncio.all_tasks()) < before
    async with Script({CHAT: body(2)}) as script:
        bridge = Bridge(provider(script.base_url), mode="realtime")
        async with Runner(graph, bridge, path=tmp_path / "r", progress=False) as runner:
            results = await within(runner.abatch(inputs, run_id="run"))
        assert sorted(each["out"][0] for each in results) == ["1", "2", "2", "2"]  # what was lost was asked anew
        assert script.calls[CHAT] == 3


async def test_without_a_retry_the_thread_is_told_that_nobody_knows(tmp_path):
    graph = chain(ask_once)
    async with Script({CHAT: CUT}) as script:
        bridge = Bridge(provider(script.base_url), mode="realtime")
        async with Runner(graph, bridge, path=tmp_path / "r", progress=False) as runner:
            with pytest.raises(RequestFailed) as caught:
                await within(runner.ainvoke({"x": 1}, {"configurable": {"thread_id": "t"}}))
    assert (caught.value.code, caught.value.retryable) == ("realtime_interrupted", True)
    assert script.calls[CHAT] == 1


@pytest.mark.parametrize("modes", [("batch", "realtime"), ("realtime", "batch")])
async def test_a_run_goes_on_in_the_other_mode(tmp_path, modes):
    inputs = [{"x": number} for number in range(6)]
    with BatchServer(latency=60.0, slow_response=1.0, slow_response_seconds=0.3) as server:
        api_key = key()

        def made(mode):
            client = AsyncOpenAI(base_url=server.base_url, api_key=api_key)
            bridge = Bridge(OpenAIBatch(client, model="gpt-4o-mini"), mode=mode, poll_interval=0.2)
            return Runner(one_node(ask_once), bridge, path=tmp_path / "run.db", progress=False)

        async def begin():
            async with made(modes[0]) as runner:
                await runner.abatch(inputs, run_id="run")

        begun = asyncio.ensure_future(begin())
        while not (server.stats.batches or server.stats.calls.get(CHAT, 0) == 6):
            await asyncio.sleep(0.02)
        begun.cancel()
        await asyncio.wait([begun])
        server.configure(latency=0.0, slow_response=0.0)
        async with made(modes[1]) as runner:
            results = await within(runner.abatch(inputs, run_id="run", return_exceptions=True))
        stats = server.stats
    if modes[0] == "batch":  # the batch in flight is adopted, whatever the mode is by now
        assert all(each["out"] for each in results)
        assert (stats.paid, stats.paid_twice, stats.realtime) == (6, 0, 0)
    else:
        assert {each.code for each in results} == {"realtime_interrupted"}
        assert stats.batches == 0
    assert stats.calls.get(CHAT, 0) == (0 if modes[0] == "batch" else 6)


def body(text):
    message = {"role": "assistant", "content": str(text)}
    return 200, {"id": "c", "model": "m", "choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}
