"""Every bundled provider has a realtime way: the same outcomes as its batch API, through its own SDK."""

import pytest
import sampling
from anthropic import AsyncAnthropic
from google import genai
from google.genai import types
from openai import AsyncAzureOpenAI, AsyncOpenAI
from test_openai_kit import chats, key

from batch_bridge import Errored, Succeeded
from batch_bridge.providers.anthropic import AnthropicBatch
from batch_bridge.providers.azure import AzureOpenAIBatch
from batch_bridge.providers.gemini import GeminiBatch
from batch_bridge.providers.openai import OpenAIBatch
from batch_bridge.testing import BatchServer
from batch_bridge.testing.conformance import Drive, ask


@pytest.fixture(scope="module")
def shared():
    with BatchServer() as running:
        yield running


@pytest.fixture
def server(shared):
    shared.reset_stats()
    yield shared
    shared.configure(next_realtime_error=0, realtime_error=0.0, realtime_error_status=500)


def openai(root):
    return OpenAIBatch(AsyncOpenAI(base_url=f"{root}/v1", api_key=key()), model="gpt-4o-mini")


def azure(root):
    client = AsyncAzureOpenAI(azure_endpoint=root, api_key=key(), api_version="2024-10-21")
    return AzureOpenAIBatch(client, model="gpt-4o-mini")


def anthropic(root):
    return AnthropicBatch(AsyncAnthropic(base_url=root, api_key=key()), model="claude-haiku-4-5", max_tokens=64)


def gemini(root):
    client = genai.Client(api_key=key(), http_options=types.HttpOptions(base_url=root))
    return GeminiBatch(client, model="gemini-2.5-flash")


@pytest.fixture(params=[openai, azure, anthropic, gemini], ids=lambda made: made.__name__)
async def provider(request, server):
    made = request.param(server.base_url.removesuffix("/v1"))
    yield made
    await made.aclose()


async def test_many_requests_have_the_same_outcomes_both_ways(server, provider):
    many = sampling.many(200, 50)
    asked, twin = chats(many), provider.realtime()
    outcomes = await ask(twin, asked)
    assert {type(each) for each in outcomes} == {Succeeded}
    assert outcomes == await ask(provider, asked)
    assert (server.stats.realtime, server.stats.paid, server.stats.batches) == (many, many, 1)
    await twin.aclose()


async def test_usage_is_the_same_but_for_the_price(provider):
    asked, usages = chats(5), []
    for way in (provider.realtime(), provider):
        drive = await Drive(way).start(asked)
        await drive.settle(asked)
        (closed,) = await drive.closed()
        usages.append(closed.usage)
        await way.aclose()
    realtime, batch = usages
    assert (realtime.realtime, batch.realtime) == (True, False)
    assert realtime.input_tokens == batch.input_tokens > 0
    assert realtime.output_tokens == batch.output_tokens > 0
    assert realtime.model == batch.model


async def test_a_refusal_for_now_is_tried_again(server, provider):
    server.configure(next_realtime_error=1, realtime_error_status=429, retry_after=0.1)
    twin = provider.realtime(attempts=2)
    outcomes = await ask(twin, chats(3))
    assert {type(each) for each in outcomes} == {Succeeded}
    assert server.stats.faults == {"realtime_error": 1}
    await twin.aclose()


async def test_errors_are_typed(server, provider):
    server.configure(realtime_error=1.0)
    for status, retryable in ((400, False), (403, False), (500, True), (503, True)):
        server.configure(realtime_error_status=status)
        twin = provider.realtime(attempts=1)
        (outcome,) = await ask(twin, chats(1))
        assert (type(outcome), outcome.status_code, outcome.retryable) == (Errored, status, retryable)
        assert outcome.body["error"]
        await twin.aclose()
