"""Whatever JSON an SDK's own parser takes comes out of every provider's parser as the SDK gives it."""

import asyncio
import json
import os
from datetime import UTC, datetime

import anthropic
import openai
import orjson
import pytest
import sampling
from google.genai import types as gemini_types
from hypothesis import given, settings
from hypothesis import strategies as st
from json_values import BIG, DEEPEST, TEXT, VALUES, encoded, json_texts, same, sdk
from langchain_anthropic import ChatAnthropic
from langchain_google_genai.chat_models import _response_to_result
from langchain_openai import ChatOpenAI
from langchain_openai.chat_models.base import _construct_lc_result_from_responses_api
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from openai._models import construct_type

from batch_bridge import ResponseCache
from batch_bridge._core import outcomes as _outcome
from batch_bridge._core.json import deep_json as _deep
from batch_bridge._core.json import text as _text
from batch_bridge._core.json.json_values import copied
from batch_bridge._core.json.messages import decode
from batch_bridge._core.models import Errored, Succeeded
from batch_bridge._core.payload.interrupt_payload import envelope, read_envelope
from batch_bridge.providers.anthropic import _result as _anthropic_result
from batch_bridge.providers.anthropic._handle import write_custom_id
from batch_bridge.providers.gemini import _result as _gemini_result
from batch_bridge.providers.gemini._result import GeminiUsageTotal
from batch_bridge.providers.openai import _result as _openai_result

ID = "0123456789abcdef" * 2
TAGGED = write_custom_id(ID, "0" * 24, wants_message=False)
TAGGED_MESSAGE = write_custom_id(ID, "0" * 24, wants_message=True)
MANY = settings(max_examples=int(os.environ.get("BATCH_BRIDGE_EXAMPLES", "25")), deadline=None)


def openai_line(body, name=ID):
    return _openai_result.read_line(
        encoded(f'{{"custom_id": "{name}", "response": {{"status_code": 200, "body": {body}}}, "error": null}}')
    )


def anthropic_line(body, name=TAGGED):
    line = f'{{"custom_id": "{name}", "result": {{"type": "succeeded", "message": {body}}}}}'
    return _anthropic_result.read_pair(_anthropic_result.read_result(encoded(line)))


def gemini_line(body, name=ID):
    return _gemini_result.read_line(encoded(f'{{"key": "{name}", "response": {body}}}'), GeminiUsageTotal("m"))


def gemini_inlined(body, name=ID):
    (pair,) = _gemini_result.read_inlined(
        [{"metadata": {"key": name}, "response": sdk(body)}], [name], GeminiUsageTotal("m")
    )
    return pair


BODIES = {
    "chat": (openai_line, '{{"object": "chat.completion", "choices": [{}]}}'),
    "response": (openai_line, '{{"object": "response", "output": [{}]}}'),
    "anthropic": (anthropic_line, '{{"type": "message", "content": [{}]}}'),
    "gemini": (gemini_line, '{{"candidates": [{}]}}'),
    "gemini-inline": (gemini_inlined, '{{"candidates": [{}]}}'),
}


@pytest.mark.parametrize("kind", BODIES)
@MANY
@given(text=json_texts())
def test_an_answer_is_what_the_sdk_gives(kind, text):
    read, frame = BODIES[kind]
    body = frame.format(text)
    request_id, outcome = read(body)
    assert request_id == ID
    assert isinstance(outcome, Succeeded)
    assert same(outcome.answer, sdk(body))


# -- on its way to the node --------------------------------------------------------------------------------------------


@MANY
@given(text=json_texts())
def test_an_outcome_comes_through_the_ledger_a_checkpoint_and_a_server_as_it_is(text):
    answer = sdk(text)
    for outcome in (Succeeded(answer), Errored("no", body=answer)):
        held = "answer" if isinstance(outcome, Succeeded) else "body"
        row = _outcome.to_json(outcome)
        stored = _outcome.from_json(json.loads(json.dumps(row)))  # the ledger
        assert same(getattr(stored, held), answer)
        sent = orjson.loads(orjson.dumps({"resume": {"interrupt": envelope({ID: outcome})}}))  # LangGraph's server
        assert same(getattr(read_envelope(sent["resume"]["interrupt"])[ID], held), answer)
        serde = JsonPlusSerializer()
        kept = serde.loads_typed(serde.dumps_typed([{"resume": envelope({ID: outcome})}]))  # a checkpoint
        assert same(getattr(read_envelope(kept[0]["resume"])[ID], held), answer)
        assert same(_outcome.shown(outcome).get(held), answer)


@MANY
@given(text=json_texts())
def test_a_cache_gives_back_what_it_was_given(text, tmp_path_factory):
    answer = sdk(text)

    async def there_and_back():
        with ResponseCache(tmp_path_factory.mktemp("cache") / "cache.db") as cache:
            await cache.remember({"key": answer}, datetime.now(UTC))
            return (await cache.recall(["key"], datetime.now(UTC)))["key"]

    assert same(asyncio.run(there_and_back()), answer)


@MANY
@given(text=json_texts())
def test_text_copies_and_the_reader_without_recursion_agree(text):
    answer = sdk(text)
    assert same(_text.read(_text.write(answer)), answer)
    assert same(_deep.read(text), answer)
    assert same(_deep.read(_deep.write(answer)), answer)
    assert same(copied(answer), answer)
    assert same(decode(answer), answer)


@pytest.mark.parametrize("levels", [255, 1_000, sampling.many(50_000, 5_000)])
@pytest.mark.parametrize("kind", ["chat", "anthropic", "gemini"])
def test_an_answer_nested_deep_is_read_however_deep(kind, levels):
    read, frame = BODIES[kind]
    _, outcome = read(frame.format("[" * levels + "1" + "]" * levels))
    stored = _outcome.from_json(orjson.loads(orjson.dumps(_outcome.to_json(outcome))))
    value = stored.answer
    depth = 0
    while isinstance(value, dict | list):
        value, depth = next(iter(value.values() if isinstance(value, dict) else value[-1:])), depth + 1
        if value in ("chat.completion", "message"):
            value = list(stored.answer.values())[-1]
    assert depth >= levels
    assert same(copied(stored.answer), stored.answer)
    assert decode(stored.answer) is stored.answer or same(decode(stored.answer), stored.answer)


# -- LangChain's messages ------------------------------------------------------------------------------------------------

ARGUMENTS = st.dictionaries(TEXT, VALUES | BIG, min_size=1, max_size=3)
LEVELS = st.sampled_from([0, 0, 30, 200, 255, 300])


def nested(value, levels):
    for _ in range(levels):
        value = [value]
    return value


def told(message):
    return [message.content, message.tool_calls, [call["args"] for call in message.invalid_tool_calls]]


def message_of(pair):
    """The message that a node gets, by way of the ledger and an envelope."""
    (request_id, outcome) = pair
    assert (request_id, type(outcome)) == (ID, Succeeded), outcome
    stored = _outcome.from_json(json.loads(json.dumps(_outcome.to_json(outcome))))
    sent = orjson.loads(orjson.dumps(envelope({ID: stored})))
    return decode(read_envelope(sent)[ID].answer)


@MANY
@given(arguments=ARGUMENTS, levels=LEVELS, text=TEXT, constant=st.sampled_from(["", ', "x": NaN', ', "x": -Infinity']))
def test_a_chat_completion_is_the_message_of_the_realtime_model(arguments, levels, text, constant):
    raw = json.dumps({"n": nested(arguments, levels)})[:-1] + constant + "}"
    call = {"id": "call", "type": "function", "function": {"name": "f", "arguments": raw}}
    message = {"role": "assistant", "content": text, "tool_calls": [call]}
    body = json.dumps(
        {
            "id": "c",
            "object": "chat.completion",
            "created": 1,
            "model": "m",
            "choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}],
        }
    )
    theirs = ChatOpenAI(model="m", api_key="k")._create_chat_result(
        construct_type(value=sdk(body), type_=openai.types.chat.ChatCompletion)
    )
    ours = message_of(openai_line(body, f"{ID}-m"))
    assert same(told(ours), told(theirs.generations[0].message))


@MANY
@given(arguments=ARGUMENTS, levels=LEVELS, text=TEXT)
def test_a_response_is_the_message_of_the_realtime_model(arguments, levels, text):
    raw = json.dumps({"n": nested(arguments, levels)})
    said = {"type": "output_text", "text": text, "annotations": []}
    output = [
        {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": [said]},
        {
            "type": "function_call",
            "id": "fc_1",
            "call_id": "call",
            "name": "f",
            "arguments": raw,
            "status": "completed",
        },
    ]
    body = json.dumps({"id": "r", "object": "response", "created_at": 1, "model": "m", "output": output})
    parsed = construct_type(value=sdk(body), type_=openai.types.responses.Response)
    theirs = _construct_lc_result_from_responses_api(parsed).generations[0].message
    ours = message_of(openai_line(body, f"{ID}-m"))
    assert same(ours.tool_calls, theirs.tool_calls)
    assert ours.text == theirs.text


@MANY
@given(arguments=ARGUMENTS, levels=st.sampled_from([0, 0, 30, 200]), text=TEXT)
def test_a_message_of_anthropics_is_that_of_the_realtime_model(arguments, levels, text):
    content = [
        {"type": "text", "text": text},
        {"type": "tool_use", "id": "t", "name": "f", "input": {"n": nested(arguments, levels)}},
    ]
    usage = {"input_tokens": 1, "output_tokens": 1}
    body = json.dumps(
        {"id": "m", "type": "message", "role": "assistant", "model": "c", "content": content, "usage": usage}
    )
    parsed = anthropic._models.construct_type(value=sdk(body), type_=anthropic.types.Message)
    theirs = ChatAnthropic(model="c", api_key="k")._format_output(parsed).generations[0].message
    ours = message_of(anthropic_line(body, TAGGED_MESSAGE))
    assert same(ours.tool_calls, theirs.tool_calls)
    assert ours.text == theirs.text


@MANY
@given(arguments=st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=5) | st.none(), max_size=3))
def test_an_answer_of_geminis_calls_tools_as_the_realtime_model_does(arguments):
    part = {"functionCall": {"name": "f", "args": arguments, "id": "t"}}
    body = json.dumps({"candidates": [{"content": {"role": "model", "parts": [part]}, "finishReason": "STOP"}]})
    theirs = _response_to_result(gemini_types.GenerateContentResponse.model_validate(sdk(body)))
    ours = message_of(gemini_line(body, f"{ID}-m"))
    assert same(ours.tool_calls[0]["args"], theirs.generations[0].message.tool_calls[0]["args"])


@pytest.mark.parametrize("levels", [255, 400, DEEPEST])
def test_arguments_that_lie_deep_are_kept_whole(levels):
    part = {"functionCall": {"name": "f", "args": {"n": nested(1, levels)}}}
    gemini = message_of(gemini_line(json.dumps({"candidates": [{"content": {"parts": [part]}}]}), f"{ID}-m"))
    use = {"type": "tool_use", "id": "t", "name": "f", "input": {"n": nested(1, levels)}}
    claude = message_of(anthropic_line(json.dumps({"content": [use]}), TAGGED_MESSAGE))
    for message in (gemini, claude):
        assert same(message.tool_calls[0]["args"], {"n": nested(1, levels)})


# -- what JSON has not --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (b"NaN", None),
        (b"-Infinity", None),
        (b'"a\xffb"', "a�b"),
        (b'"a\xed\xa0\x80b"', "a\ud800b"),
        (b'"a\x01b\tc"', "a\x01b\tc"),
        (rb'"a\x41\d"', r"a\x41\d"),
        (rb'"\u12"', r"\u12"),
        (b'{"a": NaN, "b": "\xff", "c": "\x02", "d": "\\q"}', {"a": None, "b": "�", "c": "\x02", "d": "\\q"}),
        (b"9" * 5_000, "9" * 5_000),
        (b"[" * 2_000 + b"NaN" + b"]" * 2_000, nested(None, 2_000)),
    ],
    ids=["nan", "infinity", "byte", "surrogate", "control", "escape", "short", "all", "digits", "deep"],
)
@pytest.mark.parametrize("vendor", ["openai", "anthropic", "gemini"])
def test_what_strict_json_refuses_is_read_as_well_as_can_be(vendor, written, read):
    if vendor == "openai":
        line = b'{"custom_id": "%s", "response": {"status_code": 200, "body": {"choices": %s}}}'
        _, outcome = _openai_result.read_line(line % (ID.encode(), written))
    elif vendor == "anthropic":
        line = b'{"custom_id": "%s", "result": {"type": "succeeded", "message": {"content": %s}}}'
        _, outcome = _anthropic_result.read_pair(_anthropic_result.read_result(line % (TAGGED.encode(), written)))
    else:
        _, outcome = _gemini_result.read_line(
            b'{"key": "%s", "response": {"candidates": %s}}' % (ID.encode(), written), GeminiUsageTotal("m")
        )
    assert same(next(iter(outcome.answer.values())), read)
