"""`batcher=` left out: the Runner's bridge where it has only one, whatever its name; else `"bridge"`."""

import pytest
from helpers import Desk, memory, one_node
from langchain_openai import ChatOpenAI
from openai import AsyncOpenAI

from batch_bridge import Bridge, wait, wait_many, wait_many_sync, wait_sync, wrap_openai
from batch_bridge.errors import UnknownBatcherError
from batch_bridge.langchain import batched
from batch_bridge.providers.openai import OpenAIBatch
from batch_bridge.testing import BatchServer


async def one(state):
    return {"out": [await wait(state["x"])]}


async def many(state):
    return {"out": await wait_many([state["x"]])}


def one_sync(state):
    return {"out": [wait_sync(state["x"])]}


def many_sync(state):
    return {"out": wait_many_sync([state["x"]])}


@pytest.mark.parametrize("node", [one, many, one_sync, many_sync])
async def test_it_is_the_only_bridge(node):
    desk = Desk()
    async with memory(one_node(node), desk.bridge(name="cheap")) as runner:
        assert (await runner.ainvoke({"x": "a"}))["out"] == ["a!"]


async def test_of_several_it_is_the_one_called_bridge():
    desk, other = Desk(), Desk()
    async with memory(one_node(one), other.bridge(name="other"), desk.bridge()) as runner:
        assert (await runner.ainvoke({"x": "a"}))["out"] == ["a!"]
    assert (desk.requests, other.requests) == (["a"], [])
    async with memory(one_node(one), other.bridge(name="other"), desk.bridge(name="third")) as runner:
        with pytest.raises(UnknownBatcherError, match="'other', 'third'"):
            await runner.ainvoke({"x": "a"})


async def test_wrapped_clients_and_models_find_it_too():
    with BatchServer() as server:
        client = AsyncOpenAI(base_url=server.base_url, api_key="test")
        wrapped = wrap_openai(client)
        model = batched(ChatOpenAI(model="m", base_url=server.base_url, api_key="test"))

        async def ask(state):
            said = await wrapped.chat.completions.create(model="m", messages=[{"role": "user", "content": "wrapped"}])
            return {"out": [said.choices[0].message.content, (await model.ainvoke("batched")).content]}

        bridge = Bridge(OpenAIBatch(client, model="m"), name="cheap", poll_interval=0.1)
        async with memory(one_node(ask), bridge) as runner:
            wrapped_said, batched_said = (await runner.ainvoke({"x": "a"}))["out"]
        assert "wrapped" in wrapped_said
        assert "batched" in batched_said
        assert (server.stats.paid, server.stats.realtime) == (2, 0)
