"""The flex lane over HTTP: OpenAI, Azure and Gemini, refusals, receipts, other modes, and late requests."""

import asyncio
import random
import string
import time

import pytest
import sampling
from google import genai
from openai import AsyncAzureOpenAI, AsyncOpenAI

from batch_bridge import Batcher, Bridge
from batch_bridge.langchain import batched
from batch_bridge.providers.azure import AzureOpenAIBatch
from batch_bridge.providers.gemini import GeminiBatch
from batch_bridge.providers.openai import OpenAIBatch
from batch_bridge.testing import BatchServer


@pytest.fixture(scope="module")
def tier():
    with BatchServer() as server:
        yield server


@pytest.fixture
def server(tier):
    tier.configure(flex_refusal=0, next_flex_refusal=0, flex_capacity=None, flex_seconds=0, realtime_error=0)
    tier.reset_stats()
    return tier


def key():
    return "".join(random.choices(string.ascii_lowercase, k=12))


def openai(server):
    return OpenAIBatch(AsyncOpenAI(base_url=server.base_url, api_key=key()), model="gpt-5-mini")


def azure(server):
    client = AsyncAzureOpenAI(azure_endpoint=server.root_url, api_key=key(), api_version="2025-04-01-preview")
    return AzureOpenAIBatch(client, model="deployed")


def gemini(server):
    client = genai.Client(api_key=key(), http_options={"base_url": server.root_url, "api_version": "v1beta"})
    return GeminiBatch(client, model="gemini-2.5-flash")


def said(number):
    return [{"role": "user", "content": f"question {number}"}]


async def ask(provider, count, **options):
    batcher = Batcher(provider, mode="flex", **options)
    async with batcher:
        return await batcher.amap([said(number) for number in range(count)]), batcher.report()


@pytest.mark.parametrize("vendor", [openai, azure, gemini])
async def test_every_vendor_answers_in_its_tier(server, vendor):
    answers, report = await ask(vendor(server), 20)
    assert len(answers) == 20
    assert all(f"question {number}" in str(answer) for number, answer in enumerate(answers))
    stats = server.stats
    assert (stats.flex, stats.realtime, stats.batches) == (20, 20, 0)
    assert report.cost.by_lane.keys() == {"flex"}
    assert not any(usage.realtime for usage in report.usage)


@pytest.mark.parametrize("vendor", [openai, gemini])
async def test_flex_costs_half_on_the_receipt(server, vendor):
    _, report = await ask(vendor(server), 5)
    assert report.cost.paid is not None
    assert report.cost.paid * 2 == report.cost.list_price


async def test_half_of_the_calls_refused_charges_nobody_twice(server):
    """With `--all` they are refused for a minute, as a tier that is full for a while would."""
    count = sampling.many(1000, 300)
    server.configure(flex_refusal=0.5, flex_seconds=0.1)
    began = time.monotonic()
    answering = asyncio.create_task(ask(openai(server), count))
    while server.stats.flex < 30 or time.monotonic() - began < sampling.many(60, 0):
        await asyncio.sleep(0.05)
    server.configure(flex_refusal=0)
    answers, _ = await asyncio.wait_for(answering, 60)
    stats = server.stats
    assert len(answers) == count
    assert (stats.flex, stats.realtime) == (count, count)
    assert 0 < stats.flex_refused <= count


async def test_the_tier_is_never_left_for_one_that_costs_more(server):
    server.configure(next_flex_refusal=3)
    answers, _ = await ask(openai(server), 3)
    stats = server.stats
    assert len(answers) == stats.flex == stats.realtime == 3
    assert stats.flex_refused >= 1


async def test_what_is_late_in_a_full_tier_is_answered_in_realtime(server):
    server.configure(flex_refusal=True)
    answers, report = await ask(openai(server), 4, deadline=1, poll_interval=0.2)
    stats = server.stats
    assert len(answers) == 4
    assert (stats.flex, stats.realtime) == (0, 4)
    assert report.cost.by_lane.keys() == {"realtime"}


async def test_a_flex_call_may_take_a_quarter_of_an_hour(server):
    from batch_bridge.providers._realtime.provider import FLEX_TIMEOUT

    provider = OpenAIBatch(AsyncOpenAI(base_url=server.base_url, api_key=key(), timeout=0.05), model="gpt-5-mini")
    server.configure(flex_seconds=0.3)
    answers, _ = await ask(provider, 1)
    assert len(answers) == 1
    assert FLEX_TIMEOUT.total_seconds() == 900


async def test_a_batch_that_another_mode_has_left_in_flight_is_adopted(server, tmp_path):
    provider = openai(server)
    server.configure(latency=1)
    first = Batcher(provider, mode="batch", path=tmp_path / "b.db", poll_interval=0.1, on_pending="raise")
    async with first:
        pending = asyncio.gather(*(first.asubmit(said(number)) for number in range(3)), return_exceptions=True)
        await asyncio.sleep(0)
        first.flush()
        await pending
    second = Batcher(provider, mode="flex", path=tmp_path / "b.db", poll_interval=0.1)
    async with second:
        answers = await second.amap([said(number) for number in range(3)])
    server.configure(latency=0)
    stats = server.stats
    assert len(answers) == 3
    assert (stats.paid, stats.flex) == (3, 0)


async def test_a_model_outside_of_graphs_goes_through_the_tier(server):
    from langchain_openai import ChatOpenAI

    model = batched(ChatOpenAI(model="gpt-5-mini", base_url=server.base_url, api_key=key()), mode="flex")
    answer = await model.ainvoke("hello")
    assert "hello" in answer.text
    assert server.stats.flex == 1


async def test_a_wrapped_client_outside_of_graphs_goes_through_the_tier(server):
    from batch_bridge import wrap_openai

    client = wrap_openai(AsyncOpenAI(base_url=server.base_url, api_key=key()), mode="flex")
    async with client:
        answer = await client.chat.completions.create(model="gpt-5-mini", messages=said(1))
    assert answer.service_tier == "flex"


def test_a_flex_bridge_quotes_half(server):
    bridge = Bridge(openai(server), mode="flex")
    quote = bridge.quote([said(1)], output_tokens=100)
    assert quote.usd.value * 2 == quote.usd_realtime.value
