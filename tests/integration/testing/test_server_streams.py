"""Streamed answers, judged by the vendors' own SDKs: what a stream comes to is the answer without one."""

import json
import sys

import anthropic
import httpx
import openai
import pytest
from anthropic import AsyncAnthropic
from google import genai
from openai import AsyncAzureOpenAI, AsyncOpenAI

from batch_bridge.testing import BatchServer

HTTP_ERRORS = [sys.modules[name].HTTPError for name in ("httpx", "httpx2") if name in sys.modules]
"""Of what the SDK has: httpx2 from its third major version on."""
PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}}
LONG = "How is the weather in Tromsø 🌦? " * 3


@pytest.fixture(scope="module")
def server():
    with BatchServer() as running:
        yield running


@pytest.fixture(autouse=True)
def no_faults(server):
    yield
    server.configure(next_cut_stream=0, next_realtime_error=0)


def openai_of(server):
    return AsyncOpenAI(base_url=server.base_url, api_key="k", max_retries=0)


def azure_of(server):
    return AsyncAzureOpenAI(azure_endpoint=server.root_url, api_key="k", api_version="2025-04-01-preview")


def together_of(server):
    return AsyncOpenAI(base_url=server.root_url + "/together/v1", api_key="k")


def anthropic_of(server):
    return AsyncAnthropic(base_url=server.root_url, api_key="k", max_retries=0)


def gemini_of(server):
    options = {"base_url": server.root_url, "api_version": "v1beta"}
    return genai.Client(api_key="k", http_options=options).aio


async def collected(stream):
    return [each async for each in stream]


def chat_body(**extra):
    return {"model": "m", "messages": [{"role": "user", "content": LONG}], **extra}


def chat_tools():
    return [{"type": "function", "function": {"name": "look", "parameters": PARAMETERS}}]


@pytest.mark.parametrize("client_of", [openai_of, azure_of, together_of])
@pytest.mark.parametrize("extra", [{}, {"tools": chat_tools()}, {"n": 2}], ids=["text", "tool", "choices"])
async def test_a_chat_completion_is_streamed(server, client_of, extra):
    body = chat_body(**extra)
    async with client_of(server) as client:
        whole = await client.chat.completions.create(**body)
        chunks = [
            chunk
            async for chunk in await client.chat.completions.create(
                **body, stream=True, stream_options={"include_usage": True}
            )
        ]
    assert len(chunks) > 5
    assert {chunk.object for chunk in chunks} == {"chat.completion.chunk"}
    assert ([chunk.usage for chunk in chunks[:-1] if chunk.usage], chunks[-1].usage) == ([], whole.usage)
    for choice in whole.choices:
        deltas = [each for chunk in chunks for each in chunk.choices if each.index == choice.index]
        text = "".join(each.delta.content or "" for each in deltas)
        calls = [call for each in deltas for call in each.delta.tool_calls or ()]
        assert text == (choice.message.content or "")
        assert deltas[-1].finish_reason == choice.finish_reason
        for index, call in enumerate(choice.message.tool_calls or ()):
            arguments = "".join(each.function.arguments for each in calls if each.index == index)
            assert (calls[0].id, calls[0].function.name, arguments) == (
                call.id,
                call.function.name,
                call.function.arguments,
            )


async def test_usage_is_streamed_only_when_it_is_asked_for(server):
    async with openai_of(server) as client:
        chunks = [chunk async for chunk in await client.chat.completions.create(**chat_body(), stream=True)]
    assert all(chunk.choices and chunk.usage is None for chunk in chunks)


async def test_a_parsed_chat_stream_ends_with_the_parsed_answer(server):
    async with openai_of(server) as client:
        async with client.chat.completions.stream(**chat_body()) as stream:
            completion = await stream.get_final_completion()
        assert completion.choices[0].message.content.startswith("[stand-in answer")


async def test_a_completion_is_streamed(server):
    async with openai_of(server) as client:
        whole = await client.completions.create(model="m", prompt=LONG)
        chunks = [chunk async for chunk in await client.completions.create(model="m", prompt=LONG, stream=True)]
    assert "".join(chunk.choices[0].text for chunk in chunks) == whole.choices[0].text
    assert chunks[-1].choices[0].finish_reason == "stop"


@pytest.mark.parametrize("tools", [[], [{"type": "function", "name": "look", "parameters": PARAMETERS}]])
async def test_a_response_is_streamed(server, tools):
    body = {"model": "m", "input": LONG, "tools": tools}
    async with openai_of(server) as client:
        whole = await client.responses.create(**body)
        async with client.responses.stream(**body) as stream:
            events = [event async for event in stream]
            final = await stream.get_final_response()
    told = final.model_dump(exclude={"output": {"__all__": {"parsed_arguments", "content"}}})
    assert told["usage"] == whole.usage.model_dump()
    assert (final.id, final.output_text, final.status) == (whole.id, whole.output_text, "completed")
    assert [event.type for event in events[:2]] == ["response.created", "response.in_progress"]
    assert [event.sequence_number for event in events] == list(range(len(events)))
    if tools:
        (call,) = final.output
        assert (call.name, call.arguments) == ("look", whole.output[0].arguments)
        assert sum(event.type == "response.function_call_arguments.delta" for event in events) > 1


@pytest.mark.parametrize("tools", [[], [{"name": "look", "input_schema": PARAMETERS}]])
async def test_a_message_is_streamed(server, tools):
    body = {"model": "m", "max_tokens": 99, "messages": [{"role": "user", "content": LONG}], "tools": tools}
    async with anthropic_of(server) as client:
        whole = await client.messages.create(**body)
        async with client.messages.stream(**body) as stream:
            events = [event async for event in stream]
            final = await stream.get_final_message()
    (block,), (expected,) = final.content, whole.content
    assert (block.to_dict(exclude_none=True), final.stop_reason) == (
        expected.to_dict(exclude_none=True),
        whole.stop_reason,
    )
    assert (final.usage.input_tokens, final.usage.output_tokens) == (
        whole.usage.input_tokens,
        whole.usage.output_tokens,
    )
    assert sum(event.type == "content_block_delta" for event in events) > 1


@pytest.mark.parametrize("tools", [[], [{"function_declarations": [{"name": "look", "parameters": PARAMETERS}]}]])
async def test_gemini_content_is_streamed(server, tools):
    ask = {"model": "gemini-2.5-flash", "contents": LONG, "config": {"tools": tools} if tools else None}
    api = gemini_of(server)
    whole = await api.models.generate_content(**ask)
    chunks = [chunk async for chunk in await api.models.generate_content_stream(**ask)]
    await api.aclose()
    parts = [part for chunk in chunks for part in chunk.candidates[0].content.parts]
    assert "".join(part.text or "" for part in parts) == (whole.text or "")
    assert [part.function_call for part in parts if part.function_call] == (whole.function_calls or [])
    assert chunks[-1].usage_metadata == whole.usage_metadata
    assert [chunk.candidates[0].finish_reason for chunk in chunks if chunk.candidates[0].finish_reason] == ["STOP"]
    assert {chunk.response_id for chunk in chunks} == {whole.response_id}


async def test_gemini_without_events_answers_with_a_list(server):
    async with httpx.AsyncClient(base_url=server.root_url, headers={"x-goog-api-key": "k"}) as http:
        body = {"contents": [{"role": "user", "parts": [{"text": LONG}]}]}
        answer = await http.post("/v1beta/models/m:streamGenerateContent", json=body)
    assert len(answer.json()) > 1


async def test_an_error_comes_before_the_stream(server):
    server.configure(next_realtime_error=1, realtime_error_status=529)
    async with openai_of(server) as client:
        with pytest.raises(openai.InternalServerError):
            await client.chat.completions.create(**chat_body(), stream=True)
        with pytest.raises(openai.BadRequestError, match="embeddings' does not stream"):
            await client.post("/embeddings", body={"model": "m", "input": "a", "stream": True}, cast_to=dict)
    async with anthropic_of(server) as client:
        with pytest.raises(anthropic.BadRequestError):
            await client.post("/v1/messages", body={"model": "m", "stream": True}, cast_to=dict)


async def test_a_stream_is_cut_on_demand(server):
    server.configure(next_cut_stream=1)
    async with openai_of(server) as client:
        chunks = await client.chat.completions.create(**chat_body(), stream=True)
        assert await anext(chunks)
        with pytest.raises((openai.APIError, *HTTP_ERRORS)):
            await collected(chunks)
    assert server.stats.faults["cut_stream"] == 1


async def test_an_upstream_answers_streams(server):
    with BatchServer(upstream=server.base_url, upstream_key="k") as front:
        async with openai_of(server) as there, openai_of(front) as here:
            whole = await there.chat.completions.create(**chat_body())
            chunks = [chunk async for chunk in await here.chat.completions.create(**chat_body(), stream=True)]
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == whole.choices[0].message.content


async def test_a_tool_is_called_with_the_numbers_and_quotes_of_the_question(server):
    async with openai_of(server) as client:
        body = chat_body(
            tools=chat_tools(),
            messages=[{"role": "user", "content": "Look 3 days ahead for 'Tromsø', not 4.5; don't stop, can't I?"}],
        )
        called = await client.chat.completions.create(**body)
    arguments = json.loads(called.choices[0].message.tool_calls[0].function.arguments)
    assert arguments == {"city": "Tromsø", "days": 3}
