"""Progress that moves: the provider's own counts, what is kept from before, and the end; a call only for a change."""

import asyncio
import itertools
from datetime import timedelta

from helpers import Desk, State, memory, one_node, within
from langgraph.checkpoint.memory import InMemorySaver
from openai import AsyncOpenAI

from batch_bridge import Batcher, Bridge, Runner, wait
from batch_bridge.events import BatchProgress, Progress
from batch_bridge.providers.openai import OpenAIBatch
from batch_bridge.testing import BatchServer


async def ask(state: State) -> State:
    return {"out": [await wait(state["x"])]}


def inputs_of(count):
    return [{"x": str(i)} for i in range(count)]


async def test_each_call_of_on_progress_tells_something_new_and_the_last_one_the_end():
    seen = []
    desk = Desk().hold()
    async with memory(one_node(ask), desk.bridge(poll_interval=0.001), on_progress=seen.append) as runner:
        call = asyncio.create_task(runner.abatch(inputs_of(8)))
        await within(desk.submitted.wait())
        for _ in range(50):
            await asyncio.sleep(0.002)
        desk.let_go()
        await within(call)
    assert seen[-1] == Progress(8, 8, 0, 0, 0)
    assert seen[-1].step == "ended"
    assert all(before != after for before, after in itertools.pairwise(seen))
    assert len(seen) < 20
    assert "waiting" in {each.step for each in seen}


async def test_the_providers_own_counts_are_told_as_they_move():
    seen = []
    with BatchServer(latency=0, stuck=True, stuck_share=0.5) as server:
        client = AsyncOpenAI(base_url=server.base_url, api_key="test")
        bridge = Bridge(OpenAIBatch(client, model="m"), poll_interval=0.05)

        async def node(state: State) -> State:
            return {"out": [await wait([{"role": "user", "content": state["x"]}])]}

        def look(progress: Progress) -> None:
            seen.append(progress)
            if any(each.done == 4 for each in progress.in_batches):
                server.configure(stuck=False)

        async with memory(one_node(node), bridge, on_progress=look) as runner:
            await within(runner.abatch(inputs_of(8)), 60)
    half = next(each for each in seen if any(batch.done == 4 for batch in each.in_batches))
    (batch,) = half.in_batches
    assert isinstance(batch, BatchProgress)
    assert (batch.bridge, batch.done, batch.total) == ("bridge", 4, 8)
    assert (half.step, half.answered) == ("waiting", 4)
    assert seen[-1] == Progress(8, 8, 0, 0, 0)


async def test_what_had_ended_before_is_told_apart():
    saver, seen = InMemorySaver(), []
    for count in (3, 5):
        seen.clear()
        options = {"path": ":memory:", "checkpointer": saver, "progress": False, "on_progress": seen.append}
        async with Runner(one_node(ask), Desk().bridge(), **options) as runner:
            await within(runner.abatch(inputs_of(count), run_id="r"))
    assert seen[-1] == Progress(5, 5, 0, 0, 0, ended_before=3)


async def test_a_batchers_progress_ends_too():
    seen = []
    desk = Desk()
    options = {"poll_interval": 0.01, "max_batch_age": timedelta(0), "on_progress": seen.append}
    async with Batcher(submit_func=desk.submit, poll_func=desk.poll, **options) as batcher:
        await within(batcher.amap(["a", "b"]))
    assert seen[-1] == Progress(2, 2, 0, 0, 0)
    assert all(before != after for before, after in itertools.pairwise(seen))
