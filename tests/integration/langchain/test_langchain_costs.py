"""LangChain's and LangSmith's `total_cost`: what an answer has cost stands beside its tokens, at the price of its batch."""

from decimal import Decimal

import pytest
from helpers import memory, one_node, within
from langchain_core.messages import HumanMessage
from langchain_core.tracers.langchain import LangChainTracer
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


def by_hand(usage, times=1):
    given, made = Decimal("0.075e-6"), Decimal("0.30e-6")
    return float(times * (usage["input_tokens"] * given + usage["output_tokens"] * made))


@pytest.mark.parametrize(("mode", "times"), [("batch", 1), ("realtime", 2)])
async def test_a_batched_models_message_and_its_trace_carry_what_was_paid(server, mode, times):
    traced = []

    class Tracer(LangChainTracer):
        def _persist_run_single(self, run):
            """Send nothing."""

        def _update_run_single(self, run):
            if run.run_type == "llm" and run.error is None:
                traced.append(run.extra["metadata"].get("usage_metadata"))

    llm = model(server)

    async def node(state):
        return {"out": [await llm.ainvoke("hi", config={"callbacks": [Tracer()]})]}

    async with memory(one_node(node), bridge(server, mode=mode)) as runner:
        (result,) = await within(runner.abatch([{}], run_id="r"))
        cost = (await runner.report()).cost
    usage = result["out"][0].usage_metadata
    assert usage["total_cost"] == by_hand(usage, times) == float(cost.paid)
    assert [each["total_cost"] for each in traced if each] == [usage["total_cost"]]


async def test_a_message_that_a_node_waits_for_carries_it_too_and_a_cache_hit_costs_nothing(server, tmp_path):
    async def node(state):
        return {"out": [await wait([HumanMessage("hello")])]}

    with ResponseCache(tmp_path / "cache.db") as cache:
        told = []
        for _ in range(2):
            async with memory(one_node(node), bridge(server, cache=cache)) as runner:
                (result,) = await within(runner.abatch([{}], run_id="r"))
            told.append(result["out"][0].usage_metadata)
    assert [each["total_cost"] for each in told] == [by_hand(told[0]), 0.0]


def test_a_batchers_message_carries_it_and_a_body_is_left_as_it_is(server):
    with Batcher(provider(server), poll_interval=0.05, mode="batch") as batcher:
        message, body = batcher.map([[HumanMessage("hello")], [{"role": "user", "content": "hello"}]])
    assert message.usage_metadata["total_cost"] == by_hand(message.usage_metadata)
    assert set(body["usage"]) == {"prompt_tokens", "completion_tokens", "total_tokens"} | set(body["usage"])
    assert "total_cost" not in str(body)


async def test_without_a_known_price_nothing_is_said():
    answer = {"model": "m", "choices": [{"message": {"role": "assistant", "content": "yes"}}]}
    answer["usage"] = {"prompt_tokens": 5, "completion_tokens": 5, "total_tokens": 10}
    own = Bridge(submit=list, poll=lambda items: [answer for _ in items], poll_interval=0.02)
    llm = batched(ChatOpenAI(model="m", api_key="test"), batcher="bridge")

    async def node(state):
        return {"out": [await llm.ainvoke("hi")]}

    async with memory(one_node(node), own) as runner:
        (result,) = await within(runner.abatch([{}], run_id="r"))
    assert "total_cost" not in result["out"][0].usage_metadata
