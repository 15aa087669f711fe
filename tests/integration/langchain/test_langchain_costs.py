"""What LangChain's messages tell of money: what was paid for them, at the price of their batch."""

from decimal import Decimal

import pytest
from helpers import memory, one_node, within
from langchain_core.callbacks import UsageMetadataCallbackHandler
from langchain_core.messages import HumanMessage
from langchain_openai import ChatOpenAI
from openai import AsyncOpenAI

from batch_bridge import Batcher, Bridge, ResponseCache, wait
from batch_bridge.langchain import batched
from batch_bridge.providers.openai import OpenAIBatch
from batch_bridge.testing import BatchServer


@pytest.fixture(scope="module")
def server():
    with BatchServer(latency=0.01) as server:
        yield server


def provider(server):
    return OpenAIBatch(AsyncOpenAI(base_url=server.base_url, api_key="test"), model="gpt-4o-mini")


def bridge(server, **options):
    return Bridge(provider(server), **{"poll_interval": 0.05, "mode": "batch", **options})


def model(server):
    return batched(ChatOpenAI(model="gpt-4o-mini", base_url=server.base_url, api_key="test"), batcher="bridge")


def by_hand(message, times=1):
    usage = message.usage_metadata
    given, made = Decimal("0.075e-6"), Decimal("0.30e-6")
    return times * (usage["input_tokens"] * given + usage["output_tokens"] * made)


def paid(message):
    return Decimal(message.response_metadata["batch_bridge"]["paid"])


@pytest.mark.parametrize(("mode", "times"), [("batch", 1), ("realtime", 2)])
async def test_a_batched_models_message_carries_what_was_paid_and_its_tokens_add_up_as_ever(server, mode, times):
    llm, counted = model(server), UsageMetadataCallbackHandler()

    async def node(state):
        options = {"callbacks": [counted]}
        return {"out": [await llm.ainvoke("hi", options), await llm.ainvoke("hello", options)]}

    async with memory(one_node(node), bridge(server, mode=mode)) as runner:
        (result,) = await within(runner.abatch([{}], run_id="r"))
        cost = (await runner.report()).cost
    assert [paid(each) for each in result["out"]] == [by_hand(each, times) for each in result["out"]]
    assert sum(paid(each) for each in result["out"]) == cost.paid
    (usage,) = counted.usage_metadata.values()
    assert usage["output_tokens"] >= cost.output_tokens


async def test_a_message_that_a_node_waits_for_carries_it_too_and_a_cache_hit_costs_nothing(server, tmp_path):
    async def node(state):
        return {"out": [await wait([HumanMessage("hello")])]}

    with ResponseCache(tmp_path / "cache.db") as cache:
        told = []
        for _ in range(2):
            async with memory(one_node(node), bridge(server, cache=cache)) as runner:
                (result,) = await within(runner.abatch([{}], run_id="r"))
            told.append(result["out"][0])
    assert [paid(each) for each in told] == [by_hand(told[0]), 0]


def test_a_batchers_message_carries_it_and_a_body_is_left_as_it_is(server):
    with Batcher(provider(server), poll_interval=0.05, mode="batch") as batcher:
        message, body = batcher.map([[HumanMessage("hello")], [{"role": "user", "content": "hello"}]])
    assert paid(message) == by_hand(message)
    assert "paid" not in str(body)


async def test_without_a_known_price_nothing_is_said():
    answer = {"model": "m", "choices": [{"message": {"role": "assistant", "content": "yes"}}]}
    answer["usage"] = {"prompt_tokens": 5, "completion_tokens": 5, "total_tokens": 10}
    own = Bridge(submit=list, poll=lambda items: [answer for _ in items], poll_interval=0.02)
    llm = batched(ChatOpenAI(model="m", api_key="test"), batcher="bridge")

    async def node(state):
        return {"out": [await llm.ainvoke("hi")]}

    async with memory(one_node(node), own) as runner:
        (result,) = await within(runner.abatch([{}], run_id="r"))
    assert "batch_bridge" not in result["out"][0].response_metadata
