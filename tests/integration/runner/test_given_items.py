"""Wrong values where a list of items is expected: the mistake is named, and nothing is requested."""

import asyncio

import pytest
from helpers import Desk, chain, memory

from batch_bridge import Batcher, wait, wait_many, wait_many_sync, wait_sync
from batch_bridge.jobs import Jobs
from batch_bridge.providers.openai import OpenAIBatch

BODY = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}


async def forgotten():
    return ["a"]


WRONG = [
    pytest.param(lambda: "abc", "a string instead of a list of", id="a string"),
    pytest.param(lambda: BODY, "a dict|one item, a dict", id="a dict"),
    pytest.param(lambda: 7, "an? int instead of a list of", id="a number"),
    pytest.param(forgotten, "a coroutine instead of a list of .*s; await it first", id="a coroutine"),
]


@pytest.mark.parametrize(("make", "says"), WRONG)
def test_a_batcher_names_it(make, says):
    desk = Desk()
    with Batcher(submit_func=desk.submit, poll_func=desk.poll) as batcher:
        with pytest.raises(TypeError, match=says):
            batcher.map(make())
        with pytest.raises(TypeError, match=says):
            asyncio.run(batcher.amap(make()))
    assert not desk.batches


@pytest.mark.parametrize(("make", "says"), WRONG)
def test_jobs_name_it(make, says, tmp_path):
    with pytest.raises(TypeError, match=says):
        Jobs(tmp_path / "jobs.db", OpenAIBatch(model="m")).submit(make())
    assert not (tmp_path / "jobs.db").exists()


@pytest.mark.parametrize(("make", "says"), WRONG)
async def test_a_runner_names_it(make, says):
    desk = Desk()

    async def ask(state):
        return {"out": [await wait(state["x"])]}

    async with memory(chain(ask), desk.bridge()) as runner:
        with pytest.raises(TypeError, match=says):
            await runner.abatch(make())
        with pytest.raises(TypeError, match=says):
            [each async for each in runner.abatch_as_completed(make())]
    assert not desk.batches


@pytest.mark.parametrize(("make", "says"), WRONG)
async def test_a_node_names_it(make, says):
    desk = Desk()

    async def ask(state):
        return {"out": await wait_many(make())}

    def ask_sync(state):
        return {"out": wait_many_sync(make())}

    for node in (ask, ask_sync):
        async with memory(chain(node), desk.bridge()) as runner:
            with pytest.raises(TypeError, match=says):
                await runner.ainvoke({})
    assert not desk.batches


async def test_an_item_that_was_not_awaited_is_named():
    desk = Desk()

    async def ask(state):
        return {"out": [await wait(forgotten())]}

    def ask_sync(state):
        return {"out": [wait_sync(forgotten())]}

    for node in (ask, ask_sync):
        async with memory(chain(node), desk.bridge()) as runner:
            with pytest.raises(TypeError, match="a coroutine instead of an item; await it first"):
                await runner.ainvoke({})
    with Batcher(submit_func=desk.submit, poll_func=desk.poll) as b, pytest.raises(TypeError, match="await it first"):
        b.submit(forgotten())
    assert not desk.batches
