"""What a batched model streams: the whole answer as one chunk, and chains make of it what they make of an answer."""

import asyncio

import pytest
from helpers import one_node, within
from langchain.agents import create_agent
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.output_parsers import JsonOutputToolsParser, PydanticToolsParser, StrOutputParser
from langchain_openai import ChatOpenAI
from langchain_parts import look_up
from openai import AsyncOpenAI
from pydantic import BaseModel
from test_langchain_vendors import Anthropic, Azure, Gemini, old_gemini

from batch_bridge import Batcher, Bridge, FlushPolicy, Runner
from batch_bridge.langchain import batched
from batch_bridge.langchain._stream import chunk_of
from batch_bridge.providers.openai import OpenAIBatch
from batch_bridge.testing import BatchServer


class OpenAI(Azure):
    @staticmethod
    def model(server, **options):
        return ChatOpenAI(model="gpt-4o-mini", base_url=server.base_url, api_key="test", **options)

    @staticmethod
    def provider(server):
        return OpenAIBatch(AsyncOpenAI(base_url=server.base_url, api_key="test"))


class Responses(OpenAI):
    @staticmethod
    def model(server, **options):
        return OpenAI.model(server, use_responses_api=True, **options)


VENDORS = {"openai": OpenAI, "responses": Responses, "anthropic": Anthropic, "gemini": Gemini}
every_vendor = pytest.mark.parametrize(
    "vendor",
    [pytest.param(each, id=name, marks=old_gemini if name == "gemini" else ()) for name, each in VENDORS.items()],
)


class Joke(BaseModel):
    """A joke."""

    setup: str
    laughs: int


CHAINS = {
    "text": lambda model: model | StrOutputParser(),
    "message": lambda model: model,
    "structured by tools": lambda model: model.with_structured_output(Joke, method="function_calling"),
    "structured by schema": lambda model: model.with_structured_output(Joke, method="json_schema"),
    "structured, raw too": lambda model: model.with_structured_output(
        Joke, method="function_calling", include_raw=True
    ),
    "a dict by tools": lambda model: model.with_structured_output(Joke.model_json_schema(), method="function_calling"),
    "tools": lambda model: model.bind_tools([Joke], tool_choice="any") | JsonOutputToolsParser(),
    "tools as models": lambda model: model.bind_tools([Joke], tool_choice="any") | PydanticToolsParser(tools=[Joke]),
}


@pytest.fixture(scope="module")
def server():
    with BatchServer(latency=0) as running:
        yield running


@pytest.fixture
def far_side(vendor, server):
    """A Batcher of a vendor's, for a model's calls everywhere."""
    with Batcher(vendor.provider(server), flush=FlushPolicy(max_idle=0.01), poll_interval=0.02) as batcher:
        yield batcher


def tidy(value):
    """An answer without what is new for every call, in one form for messages and their chunks."""
    if isinstance(value, list):
        return [tidy(each) for each in value]
    if isinstance(value, dict):
        return {key: tidy(each) for key, each in value.items() if key not in ("id", "raw")}
    if not isinstance(value, AIMessage):
        return value
    return value.text, [{**call, "id": None} for call in value.tool_calls], value.usage_metadata


def last(chunks):
    """What a stream comes to: chunks of messages and of dicts add up, parsers repeat what they have."""
    if isinstance(chunks[0], AIMessageChunk | str) or (isinstance(chunks[0], dict) and "raw" in chunks[0]):
        whole = chunks[0]
        for chunk in chunks[1:]:
            whole = {**whole, **chunk} if isinstance(whole, dict) else whole + chunk
        return whole
    return chunks[-1]


@pytest.mark.sampled(least=10)
@every_vendor
@pytest.mark.parametrize("name", CHAINS)
async def test_streams_come_to_what_the_plain_model_answers(vendor, name, server, far_side):
    expected = tidy(CHAINS[name](vendor.model(server)).invoke("Tell a joke"))
    chain = CHAINS[name](batched(vendor.model(server), far_side))
    assert tidy(await within(chain.ainvoke("Tell a joke"))) == expected
    chunks = await within(collected(chain.astream("Tell a joke")))
    assert tidy(last(chunks)) == expected
    assert not any(type(chunk) is AIMessage for chunk in chunks)


async def collected(stream):
    return [chunk async for chunk in stream]


@every_vendor
@pytest.mark.parametrize("name", ["message", "structured by tools", "tools"])
def test_synchronous_streams_are_the_same(vendor, name, server, far_side):
    expected = tidy(CHAINS[name](vendor.model(server)).invoke("Tell a joke"))
    chain = CHAINS[name](batched(vendor.model(server), far_side))
    assert tidy(last(list(chain.stream("Tell a joke")))) == expected


@every_vendor
async def test_events_of_a_stream_tell_of_the_answer_as_a_chunk(vendor, server, far_side):
    chain = CHAINS["tools"](batched(vendor.model(server), far_side))
    events = await within(collected(chain.astream_events("Tell a joke", version="v2")))
    of_the_model = [each for each in events if "chat_model" in each["event"]]
    assert [each["event"] for each in of_the_model] == [
        "on_chat_model_start",
        "on_chat_model_stream",
        "on_chat_model_end",
    ]
    _, stream, end = (each["data"] for each in of_the_model)
    assert type(stream["chunk"]) is AIMessageChunk
    assert tidy(stream["chunk"]) == tidy(end["output"])
    assert [call["type"] for call in events[-1]["data"]["output"]] == ["Joke"]


@every_vendor
@pytest.mark.parametrize("is_async", [True, False], ids=["async", "sync"])
async def test_an_agents_messages_stream_as_chunks_once_each(vendor, is_async, server, far_side):
    agent = create_agent(batched(vendor.model(server), far_side), tools=[look_up])
    given = {"messages": [("user", "How is Oslo?")]}
    plain_agent = create_agent(vendor.model(server), tools=[look_up])
    expected = [each for each in plain_agent.invoke(given)["messages"][1:] if each.type == "ai"]
    if is_async:
        streamed = await within(collected(agent.astream(given, stream_mode="messages")))
    else:
        streamed = await within(asyncio.to_thread(lambda: list(agent.stream(given, stream_mode="messages"))))
    told = [message for message, _ in streamed if isinstance(message, AIMessage)]
    assert {type(message) for message in told} == {AIMessageChunk}
    assert [tidy(message) for message in told] == [tidy(message) for message in expected]


@pytest.mark.parametrize("vendor", [OpenAI])
async def test_in_a_node_a_stream_parks_and_then_gives_the_answer(vendor, server):
    chain = CHAINS["structured by tools"](batched(vendor.model(server)))

    async def node(state):
        return {"out": [chunk async for chunk in chain.astream("Tell a joke")]}

    async with Runner(one_node(node), Bridge(vendor.provider(server), poll_interval=0.02)) as runner:
        (result,) = await within(runner.abatch([{}]))
    assert [type(each) for each in result["out"]] == [Joke]


def test_a_call_of_a_tool_whose_arguments_are_no_json_stays_invalid():
    call = {"name": "Joke", "args": '{"setup": "a', "id": "1", "error": None, "type": "invalid_tool_call"}
    chunk = chunk_of(AIMessage("", invalid_tool_calls=[call]))
    assert (chunk.tool_calls, chunk.invalid_tool_calls) == ([], [call])
