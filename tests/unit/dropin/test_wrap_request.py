"""A call of the OpenAI client as an item: the body that the SDK would post, by the long way and by the short one."""

import inspect
import json

import openai
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai import AsyncOpenAI, OpenAI
from openai._models import FinalRequestOptions
from openai.types.chat import ChatCompletion, ChatCompletionMessage
from openai.types.responses import Response
from pydantic import BaseModel

from batch_bridge import wrap_openai
from batch_bridge._core.models import Cancelled, Errored, Expired, Succeeded
from batch_bridge._dropin.openai.fast_path import _Way
from batch_bridge._dropin.openai.request import Origin, body_of, fast_body, refusal, route
from batch_bridge._dropin.openai.response import answer_of, httpx
from batch_bridge.errors import JSONError, RequestCancelled, RequestExpired, RequestFailed

FIELDS = frozenset({"messages", "model", "stream", "temperature", "stop", "metadata", "response_format"})
REQUIRED = frozenset({"messages", "model"})
HELLO = [{"role": "user", "content": "hi"}]


class City(BaseModel):
    name: str


def posted(**arguments):
    """What the SDK itself posts for `chat.completions.create`."""
    bodies = []

    def answer(request):
        bodies.append(json.loads(request.content))
        return httpx.Response(200, json={"choices": []})

    with httpx.Client(transport=httpx.MockTransport(answer)) as http:
        OpenAI(api_key="k", base_url="http://x", http_client=http).chat.completions.create(**arguments)
    return bodies[0]


def asked(**arguments):
    """What becomes of them on the long way, as far as our side of it."""
    taken = []
    client = OpenAI(api_key="k", base_url="http://x")
    client.__dict__["request"] = lambda cast_to, options, **_: taken.append(body_of(options))
    client.chat.completions.create(**arguments)
    return taken[0]


TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
FORMAT = {"type": "json_schema", "json_schema": {"name": "n", "strict": True, "schema": {"type": "object"}}}
CALL = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}

ARGUMENTS = {
    "plain": {},
    "numbers and None": {"temperature": 0, "top_p": 0.5, "stop": None},
    "lists and tuples": {"stop": ("a", "b"), "messages": (HELLO[0],)},
    "omitted": {"seed": openai.NOT_GIVEN, "user": openai.NOT_GIVEN},
    "nested": {"tools": [TOOL], "tool_choice": "auto", "response_format": FORMAT, "metadata": {"a": "b"}},
    "parts": {"messages": [{"role": "user", "content": [{"type": "text", "text": "ä€𝄞"}]}]},
    "a conversation": {
        "messages": [
            *HELLO,
            {"role": "assistant", "tool_calls": [CALL]},
            {"role": "tool", "tool_call_id": "1", "content": ""},
        ]
    },
    "no stream": {"stream": False},
    "options that are not used": {"extra_headers": None, "extra_query": None, "extra_body": None},
}


@pytest.mark.parametrize("name", ARGUMENTS)
def test_both_ways_post_what_the_sdk_posts(name):
    arguments = {"model": "m", "messages": HELLO, **ARGUMENTS[name]}
    fields = frozenset(inspect.signature(OpenAI(api_key="k").chat.completions.create).parameters)
    fast = fast_body(arguments, fields - {"extra_headers", "extra_query", "extra_body", "timeout"}, REQUIRED)
    assert fast.read() == asked(**arguments) == posted(**arguments)


@pytest.mark.parametrize(
    "arguments",
    [
        {"messages": [ChatCompletionMessage(role="assistant", content="hi")]},
        {"messages": iter(HELLO)},
        {"extra_body": {"top_k": 3, "temperature": 1}, "temperature": 0},
        {"messages": [HELLO[0], ChatCompletionMessage(role="assistant", content=None, refusal="no")]},
    ],
)
def test_what_is_not_plain_takes_the_long_way_and_is_posted_as_the_sdk_does(arguments):
    arguments = {"model": "m", "messages": HELLO, **arguments}
    assert fast_body({**arguments, "messages": arguments["messages"]}, FIELDS, REQUIRED) is None
    if not isinstance(arguments["messages"], list):
        assert asked(**{**arguments, "messages": iter(HELLO)}) == posted(**{**arguments, "messages": iter(HELLO)})
    else:
        assert asked(**arguments) == posted(**arguments)


@pytest.mark.parametrize(
    "arguments",
    [
        {"model": "m"},
        {"messages": HELLO},
        {"model": "m", "messages": HELLO, "stream": True},
        {"model": "m", "messages": HELLO, "temprature": 1},
        {"model": "m", "messages": HELLO, "timeout": 3},
        {"model": "m", "messages": HELLO, "timeout": None},
        {"model": "m", "messages": HELLO, "extra_headers": {"a": "b"}},
        {"model": "m", "messages": HELLO, "response_format": City},
        {"model": "m", "messages": HELLO, "metadata": {"a": {1, 2}}},
        {"model": "m", "messages": HELLO, "temperature": float("nan")},
    ],
)
def test_the_short_way_leaves_to_the_sdk_what_it_does_not_know(arguments):
    assert fast_body(arguments, FIELDS, REQUIRED) is None


def test_the_body_is_a_copy():
    messages = [{"role": "user", "content": "hi"}]
    body = fast_body({"model": "m", "messages": messages}, FIELDS, REQUIRED)
    messages[0]["content"] = "changed"
    assert body.read()["messages"] == HELLO


def options(**given):
    return FinalRequestOptions.construct(**{"method": "post", "url": "/responses", "json_data": {}, **given})


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({}, None),
        ({"headers": {"X-Stainless-Raw-Response": "true", "X-Stainless-Helper-Method": "parse"}}, None),
        ({"url": "/images/generations"}, None),
        ({"url": "/images/edits"}, "does not support POST images/edits"),
        ({"url": "/responses/resp_123/cancel"}, "does not support POST responses/…/cancel"),
        ({"method": "delete", "url": "/files/file-1"}, "does not support DELETE files/…"),
        ({"files": [("a", b"")]}, "cannot carry files"),
        ({"params": {"a": "b"}}, "has one (a)"),
        ({"headers": {"OpenAI-Beta": "x"}}, "has some (openai-beta)"),
        ({"headers": {"X-Stainless-Raw-Response": "stream"}}, "with_streaming_response"),
    ],
)
def test_a_call_that_a_batch_cannot_hold_is_told_with_the_reason(given, why):
    said = refusal(options(**given), stream=False, usual={})
    assert said is None if why is None else why in said
    assert refusal(options(), stream=True, usual={}) == "a batch cannot stream (stream=True)"


def test_a_body_that_json_cannot_carry_is_an_error_with_the_path():
    with pytest.raises(JSONError) as raised:
        body_of(options(json_data={"a": [object()]}))
    assert raised.value.path == "['a'][0]"


def test_an_item_names_its_client_and_an_azure_deployment_takes_the_models_place():
    client = {"base_url": "http://x"}
    item = Origin(client).item("/v1/responses", {"model": "m"})
    assert item == {"method": "POST", "url": "/v1/responses", "body": {"model": "m"}, "client": client}
    assert Origin(client, "mine").item("/v1/responses", {"model": "m"})["body"] == {"model": "mine"}
    assert Origin(client).item("/v1/moderations", {"input": "a"})["body"]["model"] == "omni-moderation-latest"
    assert Origin(client).item("/v1/moderations", {"input": "a", "model": "m"})["body"]["model"] == "m"


def test_a_route_has_no_ids_in_it():
    assert route("/vector_stores/vs_123/files") == "vector_stores/…/files"


# -- answers -------------------------------------------------------------------------------------------------------

CHAT = {
    "id": "1",
    "object": "chat.completion",
    "created": 1,
    "model": "m",
    "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "x"}}],
}
RESPONSE = {
    "id": "r",
    "object": "response",
    "created_at": 1,
    "model": "m",
    "output": [
        {"type": "reasoning", "id": "rs", "summary": []},
        {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}", "id": "fc", "status": "completed"},
        {
            "type": "message",
            "id": "msg",
            "role": "assistant",
            "status": "completed",
            "content": [{"type": "output_text", "text": "hi", "annotations": []}],
        },
    ],
    "parallel_tool_calls": True,
    "tool_choice": "auto",
    "tools": [],
}
ODD = st.sampled_from([None, 0, 1.5, "odd", True, [], {}, [{"a": 1}], {"type": "unknown", "x": [1]}])


@st.composite
def answers(draw, whole):
    """An answer of which one part, anywhere in it, is another value, missing, or new."""
    answer = json.loads(json.dumps(whole))
    place = answer
    while True:
        key = draw(st.sampled_from([*place, "new"]) if isinstance(place, dict) else st.integers(0, len(place) - 1))
        deeper = place[key] if key != "new" else None
        if isinstance(deeper, dict | list) and deeper and draw(st.booleans()):
            place = deeper
            continue
        if isinstance(place, dict) and key != "new" and draw(st.booleans()):
            del place[key]
        else:
            place[key] = draw(ODD)
        return answer


WRAPPED = wrap_openai(AsyncOpenAI(api_key="k", base_url="http://x"))


@settings(deadline=None)
@given(st.one_of(st.tuples(st.just(ChatCompletion), answers(CHAT)), st.tuples(st.just(Response), answers(RESPONSE))))
def test_the_short_way_reads_every_answer_as_the_sdk_does(drawn):
    cast_to, answer = drawn
    way = _Way(WRAPPED, None, None, None, "/v1/…", cast_to, frozenset(), frozenset(), None)
    made = way._read(("id", Succeeded(answer)))
    sdk = OpenAI(api_key="k")._process_response_data(data=answer, cast_to=cast_to, response=None)
    assert type(made) is type(sdk)
    assert repr(made) == repr(sdk)
    assert made.model_dump(warnings=False) == sdk.model_dump(warnings=False)
    assert made.to_json(warnings=False) == sdk.to_json(warnings=False)


@pytest.mark.parametrize(
    ("outcome", "kinds"),
    [
        (Errored("no", "bad", 400), (openai.BadRequestError,)),
        (Errored("no", "bad", 503), (openai.InternalServerError,)),
        (Errored("no", "bad"), (openai.APIError, RequestFailed)),
        (Errored("no", "bad", 0), (openai.APIError, RequestFailed)),
        (Expired("no"), (openai.APIError, RequestExpired)),
        (Cancelled("no"), (openai.APIError, RequestCancelled)),
        (Succeeded("text"), (openai.APIError, RequestFailed)),
    ],
)
def test_an_outcome_is_an_exception_of_the_sdks(outcome, kinds):
    with pytest.raises(openai.APIError) as raised:
        answer_of(OpenAI(api_key="k", base_url="http://x/v1"), "/v1/responses", ("id", outcome))
    assert all(isinstance(raised.value, kind) for kind in kinds)
    assert str(raised.value.request.url) == "http://x/v1/responses"


def test_body_and_request_id_are_the_providers():
    body = {"error": {"message": "too long", "code": "c", "type": "t", "param": "p"}}
    outcome = Errored("too long", "c", 400, body=body, provider_request_id="req_1")
    with pytest.raises(openai.BadRequestError) as raised:
        answer_of(OpenAI(api_key="k"), "/v1/responses", ("id", outcome))
    error = raised.value
    assert (error.body, error.request_id) == (body["error"], "req_1")
    assert (error.code, error.param, error.type) == ("c", "p", "t")
    assert error.__cause__.request_id == "id"
