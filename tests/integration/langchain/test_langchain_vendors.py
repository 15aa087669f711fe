"""`ChatAnthropic`, `ChatGoogleGenerativeAI` and `AzureChatOpenAI`, batched, against the Batch API server."""

import asyncio
from importlib.metadata import version

import anthropic
import openai
import pytest
from anthropic import AsyncAnthropic
from google import genai
from helpers import memory, one_node, within
from langchain.agents import create_agent
from langchain_anthropic import ChatAnthropic
from langchain_core.messages import HumanMessage
from langchain_google_genai import ChatGoogleGenerativeAI, chat_models
from langchain_openai import AzureChatOpenAI
from langchain_parts import look_up, plain
from openai import AsyncAzureOpenAI, DefaultAsyncHttpxClient
from packaging.version import Version
from pydantic import BaseModel

from batch_bridge import Bridge
from batch_bridge.errors import UsageError
from batch_bridge.langchain import batched
from batch_bridge.providers.anthropic import AnthropicBatch
from batch_bridge.providers.azure import AzureOpenAIBatch
from batch_bridge.providers.gemini import GeminiBatch


def root(server):
    return server.base_url.removesuffix("/v1")


class Anthropic:
    @staticmethod
    def model(server, **options):
        return ChatAnthropic(model="claude-haiku-4-5", base_url=root(server), api_key="test", **options)

    @staticmethod
    def fresh(server):
        made = Anthropic.model(server)
        http = anthropic.DefaultAsyncHttpxClient()
        made.__dict__["_async_client"] = made._async_client.copy(http_client=http)
        return made

    @staticmethod
    def provider(server):
        return AnthropicBatch(AsyncAnthropic(base_url=root(server), api_key="test"))

    error = anthropic.RateLimitError


class Gemini:
    @staticmethod
    def model(server, **options):
        return ChatGoogleGenerativeAI(model="gemini-2.5-flash", base_url=root(server), api_key="test", **options)

    fresh = model

    @staticmethod
    def provider(server):
        return GeminiBatch(genai.Client(api_key="test", http_options={"base_url": root(server)}))

    error = getattr(chat_models, "GoogleRateLimitError", chat_models.ChatGoogleGenerativeAIError)  # older: one for all


class Azure:
    @staticmethod
    def model(server, **options):
        return AzureChatOpenAI(
            azure_endpoint=root(server), api_key="test", api_version="2025-04-01-preview", model="cheap", **options
        )

    @staticmethod
    def fresh(server):
        return Azure.model(server, azure_deployment="cheap", http_async_client=DefaultAsyncHttpxClient())

    @staticmethod
    def provider(server):
        client = AsyncAzureOpenAI(azure_endpoint=root(server), api_key="test", api_version="2025-04-01-preview")
        return AzureOpenAIBatch(client)

    error = openai.RateLimitError


VENDORS = {"anthropic": Anthropic, "gemini": Gemini, "azure": Azure}
old_gemini = pytest.mark.skipif(
    Version(version("langchain-google-genai")) < Version("4.3.7"), reason="its copies close each other's client"
)
every_vendor = pytest.mark.parametrize(
    "vendor",
    [pytest.param(each, id=name, marks=old_gemini if name == "gemini" else ()) for name, each in VENDORS.items()],
)


class Report(BaseModel):
    """A report."""

    title: str
    stars: int


def telling(message):
    """A message without the ids that LangChain makes up for calls of tools."""
    fields = plain(message)
    for call in fields.get("tool_calls", ()):
        call["id"] = None
    return fields


async def run(graph, server, vendor, inputs, **options):
    async with memory(graph, Bridge(vendor.provider(server), poll_interval=0.05, attempts=1)) as runner:
        return await within(runner.abatch(inputs, **options), 60)


@every_vendor
async def test_a_plain_script_is_one_batch_and_says_the_same(server, vendor):
    asked = [f"question {index}" for index in range(10)]
    answers = await within(asyncio.gather(*map(batched(vendor.model(server)).ainvoke, asked)), 60)
    wanted = await vendor.fresh(server).abatch(asked)
    assert [plain(each) for each in answers] == [plain(each) for each in wanted]
    assert answers[0].usage_metadata["total_tokens"] > 0
    stats = server.stats
    assert (stats.batches, stats.paid, stats.paid_twice, stats.realtime) == (1, 10, 0, 10)


@every_vendor
async def test_a_node_is_one_round(server, vendor):
    model = batched(vendor.model(server))

    async def node(state):
        return {"x": [each.text for each in await model.abatch([f"question {index}" for index in range(10)])]}

    def sync_node(state):
        return {"x": [each.text for each in model.batch([f"question {index}" for index in range(10)])]}

    for each in (node, sync_node):
        server.reset_stats()
        (result,) = await run(one_node(each), server, vendor, [{}])
        assert all(f"question {index}" in text for index, text in enumerate(result["x"]))
        assert (server.stats.batches, server.stats.paid) == (1, 10)


@every_vendor
async def test_an_agent_ends_as_in_realtime(server, vendor):
    inputs = [{"messages": [HumanMessage(f"question {index}", id=f"q{index}")]} for index in range(10)]
    wanted = await within(create_agent(vendor.fresh(server), tools=[look_up]).abatch(inputs), 60)
    server.reset_stats()
    results = await run(create_agent(batched(vendor.model(server)), tools=[look_up]), server, vendor, inputs)
    for one, other in zip(wanted, results, strict=True):
        if vendor is Gemini:
            assert [telling(each)["content"] for each in one["messages"]] == [
                telling(each)["content"] for each in other["messages"]
            ]
        else:
            assert [plain(each) for each in one["messages"]] == [plain(each) for each in other["messages"]]
    stats = server.stats
    assert (stats.paid_twice, stats.realtime) == (0, 0)
    assert stats.paid == stats.requests == 10 * stats.batches


@every_vendor
async def test_structured_output(server, vendor):
    wanted = await vendor.fresh(server).with_structured_output(Report).ainvoke("a report")
    asker = batched(vendor.model(server)).with_structured_output(Report)

    async def node(state):
        return {"x": await asker.ainvoke("a report")}

    (result,) = await run(one_node(node), server, vendor, [{}])
    assert isinstance(result["x"], Report)
    assert result["x"] == wanted


@every_vendor
async def test_a_line_that_failed_is_the_sdk_s_own_error_and_is_not_asked_again(server, vendor):
    model = batched(vendor.model(server))

    async def node(state):
        return {"x": await model.ainvoke("fail 429")}

    def sync_node(state):
        return {"x": model.invoke("fail 429")}

    for each in (node, sync_node):
        server.reset_stats()
        (error,) = await run(one_node(each), server, vendor, [{}], return_exceptions=True)
        assert isinstance(error, vendor.error)
        assert "it is busy" in str(error)
        assert server.stats.requests == 1


async def test_beta_features_are_not_dropped(server):
    model = batched(Anthropic.model(server, betas=["context-1m-2025-08-07"]))
    with pytest.raises(UsageError, match=r"beta features 'context-1m-2025-08-07'.*AnthropicBatch\(betas=…\)"):
        await within(model.ainvoke("hi"))
    named = Anthropic.model(server, default_headers={"anthropic-beta": "context-1m-2025-08-07"})
    assert "hi" in (await within(batched(named).ainvoke("hi"))).text
