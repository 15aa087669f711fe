import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.types import Completion, CreateEmbeddingResponse, ImagesResponse, ModerationCreateResponse
from openai.types.chat import ChatCompletion
from openai.types.responses import Response

from batch_bridge.testing._answers.answer import AnswerRequest
from batch_bridge.testing._answers.answerers import as_answer
from batch_bridge.testing._answers.instance import instance
from batch_bridge.testing._answers.stand_in import stand_in
from batch_bridge.testing._batches.endpoints import ENDPOINTS

ASK = [{"role": "user", "content": "What is the capital of France? " * 5}]
TOOL = {
    "name": "search",
    "parameters": {"type": "object", "properties": {"q": {"type": "string"}}, "required": ["q"]},
}
SHAPES = {
    "/v1/chat/completions": ({"model": "m", "messages": ASK}, ChatCompletion),
    "/v1/responses": ({"model": "m", "input": "Hello"}, Response),
    "/v1/completions": ({"model": "m", "prompt": ["a", "b"]}, Completion),
    "/v1/embeddings": ({"model": "m", "input": ["a", "b", "a"], "dimensions": 8}, CreateEmbeddingResponse),
    "/v1/moderations": ({"input": ["a", "b"]}, ModerationCreateResponse),
    "/v1/images/generations": ({"prompt": "a", "n": 2}, ImagesResponse),
}


@pytest.mark.parametrize("url", ENDPOINTS)
def test_the_sdk_reads_every_answer_and_it_never_changes(url):
    body, kind = SHAPES[url]
    answer = stand_in(url, body)
    assert answer.status_code == 200
    kind.model_validate(answer.body, strict=True)
    assert stand_in(url, dict(reversed(body.items()))) == answer


@pytest.mark.parametrize("url", ENDPOINTS)
def test_a_missing_parameter_is_a_400(url):
    answer = stand_in(url, {"model": "m"})
    assert answer.status_code == 400
    assert answer.body["error"]["code"] == "missing_required_parameter"


def test_the_text_says_that_it_is_a_stand_in():
    text = stand_in("/v1/chat/completions", {"model": "m", "messages": ASK}).body["choices"][0]["message"]["content"]
    assert text.startswith("[stand-in answer ")
    assert text.endswith("You asked: " + ASK[0]["content"][:60])


def test_a_tool_is_called_after_the_user_and_not_after_its_result():
    body = {"model": "m", "messages": ASK, "tools": [{"type": "function", "function": TOOL}]}
    choice = stand_in("/v1/chat/completions", body).body["choices"][0]
    assert choice["finish_reason"] == "tool_calls"
    (call,) = choice["message"]["tool_calls"]
    assert call["function"]["name"] == "search"
    assert json.loads(call["function"]["arguments"]) == {"q": "stand-in"}
    body["messages"] = [
        *ASK,
        choice["message"],
        {"role": "tool", "tool_call_id": call["id"], "content": "Paris"},
    ]
    choice = stand_in("/v1/chat/completions", body).body["choices"][0]
    assert choice["finish_reason"] == "stop"
    assert "Paris" in choice["message"]["content"]


def test_the_responses_api_calls_tools_too():
    body = {"model": "m", "input": "Hello", "tools": [{"type": "function", **TOOL}]}
    (item,) = stand_in("/v1/responses", body).body["output"]
    assert (item["type"], item["name"]) == ("function_call", "search")
    body["input"] = [item, {"type": "function_call_output", "call_id": item["call_id"], "output": "Paris"}]
    (item,) = stand_in("/v1/responses", body).body["output"]
    assert "Paris" in item["content"][0]["text"]


def test_tool_choice_is_obeyed():
    tools = [{"type": "function", "function": {"name": name}} for name in ("a", "b")]
    body = {"model": "m", "messages": ASK, "tools": tools}
    none = stand_in("/v1/chat/completions", body | {"tool_choice": "none"}).body["choices"][0]
    assert none["finish_reason"] == "stop"
    choice = {"type": "function", "function": {"name": "b"}}
    named = stand_in("/v1/chat/completions", body | {"tool_choice": choice}).body["choices"][0]
    assert named["message"]["tool_calls"][0]["function"]["name"] == "b"


def test_a_json_schema_is_fitted():
    schema = {
        "type": "object",
        "required": ["name", "kind", "age", "tags", "next", "when"],
        "properties": {
            "name": {"type": "string", "minLength": 30},
            "kind": {"enum": ["x", "y"]},
            "age": {"type": "integer", "minimum": 18, "multipleOf": 5},
            "tags": {"type": "array", "items": {"$ref": "#/$defs/tag"}, "minItems": 2},
            "next": {"anyOf": [{"$ref": "#"}, {"type": "null"}]},
            "when": {"type": "string", "format": "date"},
        },
        "$defs": {"tag": {"type": "string", "maxLength": 3}},
    }
    body = {
        "model": "m",
        "messages": ASK,
        "response_format": {"type": "json_schema", "json_schema": {"schema": schema}},
    }
    made = json.loads(stand_in("/v1/chat/completions", body).body["choices"][0]["message"]["content"])
    assert set(made) == set(schema["required"])
    assert len(made["name"]) >= 30
    assert (made["kind"], made["age"], made["when"]) == ("x", 20, "2000-01-01")
    assert [len(tag) for tag in made["tags"]] == [3, 3]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=4), inner, max_size=2),
    max_leaves=5,
)
WORDS = st.sampled_from(
    ["type", "properties", "items", "anyOf", "allOf", "$ref", "required", "minimum", "enum", "minItems"]
)
VALUES = JSON | st.sampled_from(["object", "array", "string", "integer", "#", "#/properties/x"])


@given(
    st.recursive(
        st.dictionaries(WORDS, VALUES, max_size=3),
        lambda schema: st.dictionaries(WORDS, schema | st.lists(schema, max_size=2), max_size=3),
        max_leaves=6,
    )
)
@settings(max_examples=60)
def test_no_schema_breaks_the_maker(schema):
    json.dumps(instance(schema))


def test_a_small_schema_of_something_huge_stays_small():
    tree = {"type": "object", "properties": {name: {"$ref": "#"} for name in "abcd"}}
    rows = {"type": "array", "minItems": 100, "items": {"$ref": "#"}}
    for schema in (tree, rows, {"anyOf": [{"$ref": "#"}]}, {"allOf": [{"$ref": "#"}]}):
        assert len(json.dumps(instance(schema))) < 200_000


@given(
    st.sampled_from(ENDPOINTS),
    st.dictionaries(
        st.sampled_from(
            [
                "model",
                "messages",
                "input",
                "prompt",
                "tools",
                "n",
                "text",
                "tool_choice",
                "response_format",
                "dimensions",
            ]
        ),
        JSON,
    ),
)
@settings(max_examples=60)
def test_no_body_breaks_the_stand_in(url, body):
    answer = as_answer(AnswerRequest(url, body), stand_in(url, body))
    assert answer.status_code in (200, 400)


def test_a_users_answer_may_be_a_text_or_a_body():
    request = AnswerRequest("/v1/responses", {"model": "m", "input": "Hello"})
    assert as_answer(request, "Hi").body["output"][0]["content"][0]["text"] == "Hi"
    assert as_answer(request, {"any": "body"}).body == {"any": "body"}
    assert as_answer(request, 5).status_code == 500
