"""A wait that names no bridge: the Runner's only one, whatever it is called."""

import asyncio

import pytest
from helpers import Desk, memory, one_node, run, within
from langchain_openai import ChatOpenAI
from openai import AsyncOpenAI, OpenAI

from batch_bridge import Bridge, wait, wait_many, wait_many_sync, wait_sync, wrap_openai
from batch_bridge.errors import UnknownBatcherError
from batch_bridge.langchain import batched
from batch_bridge.providers.openai import OpenAIBatch
from batch_bridge.testing import BatchServer


async def one(state):
    return {"out": [await wait("q")]}


async def many(state):
    return {"out": await wait_many(["q"])}


def one_sync(state):
    return {"out": [wait_sync("q")]}


def many_sync(state):
    return {"out": wait_many_sync(["q"])}


@pytest.mark.parametrize("node", [one, many, one_sync, many_sync])
async def test_a_wait_that_names_no_bridge_asks_the_only_one(node):
    desk = Desk()
    [result] = await run(one_node(node), desk.bridge(name="evals"))
    assert result["out"] == ["q!"]


@pytest.mark.parametrize("node", [one, many, one_sync, many_sync])
async def test_among_several_it_asks_the_one_called_bridge(node):
    desk, other = Desk(), Desk()
    [result] = await run(one_node(node), other.bridge(name="other"), desk.bridge(name="bridge"))
    assert result["out"] == ["q!"]
    assert other.batches == []


async def test_among_several_of_other_names_it_is_an_error_that_names_them():
    with pytest.raises(UnknownBatcherError, match="'a', 'b'"):
        await run(one_node(one), Desk().bridge(name="a"), Desk().bridge(name="b"))


async def test_a_name_that_is_said_is_never_taken_for_another():
    async def node(state):
        return {"out": [await wait("q", batcher="bridge")]}

    with pytest.raises(UnknownBatcherError, match="'evals'"):
        await run(one_node(node), Desk().bridge(name="evals"))


@pytest.fixture(scope="module")
def server():
    with BatchServer() as started:
        yield started


def drop_ins(server):
    options = {"base_url": server.base_url, "api_key": "test"}
    client, blocking = wrap_openai(AsyncOpenAI(**options)), wrap_openai(OpenAI(**options))
    model = batched(ChatOpenAI(model="gpt-4o-mini", **options))
    messages = [{"role": "user", "content": "hello"}]

    async def asked(state):
        answer = await client.chat.completions.create(model="gpt-4o-mini", messages=messages)
        return {"out": [answer.choices[0].message.content]}

    def asked_sync(state):
        answer = blocking.chat.completions.create(model="gpt-4o-mini", messages=messages)
        return {"out": [answer.choices[0].message.content]}

    async def modelled(state):
        return {"out": [(await model.ainvoke("hello")).content]}

    return asked, asked_sync, modelled


async def test_a_wrapped_client_and_a_batched_model_ask_the_only_bridge_too(server):
    provider = OpenAIBatch(AsyncOpenAI(base_url=server.base_url, api_key="test"))
    nodes = drop_ins(server)
    bridge = Bridge(provider, name="evals", poll_interval=0.05)
    for node in nodes:
        before = server.stats.batches
        async with memory(one_node(node), bridge) as runner:
            result = await within(runner.ainvoke({}))
        assert len(result["out"][0]) > 0
        assert server.stats.batches == before + 1


async def test_the_same_model_asks_another_runners_bridge_when_that_is_the_only_one(server):
    _, _, node = drop_ins(server)
    provider = OpenAIBatch(AsyncOpenAI(base_url=server.base_url, api_key="test"))

    async def ask(name):
        async with memory(one_node(node), Bridge(provider, name=name, poll_interval=0.05)) as runner:
            return await within(runner.ainvoke({}))

    first, second = await asyncio.gather(ask("a"), ask("b"))
    assert first["out"]
    assert second["out"]
