"""Items as requests to Gemini: forms, what is refused, and the bytes of a line."""

import json

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage

from batch_bridge._core.json.messages import encode
from batch_bridge.errors import RequestRefused
from batch_bridge.providers._shared.item import read_mark
from batch_bridge.providers.gemini._call import read_item

MODEL = {"model": "gemini-2.5-flash"}
USER = {"role": "user", "parts": [{"text": "Hello"}]}


def read(item, defaults=MODEL):
    return read_item(encode(item), defaults)


def test_a_list_of_messages_becomes_contents():
    call = read([{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hi"}])
    assert call.model == "gemini-2.5-flash"
    assert call.body == {"contents": [USER, {"role": "model", "parts": [{"text": "Hi"}]}]}
    assert not call.wants_message


def test_system_messages_become_the_system_instruction():
    call = read([SystemMessage("Be brief."), {"role": "user", "content": "Hello"}, SystemMessage("In French.")])
    assert call.body["systemInstruction"] == {"parts": [{"text": "Be brief."}, {"text": "In French."}]}
    assert call.body["contents"] == [USER]
    assert call.wants_message


def test_a_body_passes_unchanged_but_for_its_model():
    body = {
        "contents": [USER],
        "systemInstruction": {"parts": [{"text": "s"}]},
        "generationConfig": {"temperature": 0.5, "somethingNew": [1, {"a": None}]},
        "tools": [{"functionDeclarations": [{"name": "f", "parametersJsonSchema": {"type": "object"}}]}],
        "safety_settings": [],
    }
    call = read({"model": "models/gemini-2.5-pro", **body})
    assert call.model == "gemini-2.5-pro"
    assert json.loads(call.line("r1"))["request"] == body


def test_messages_may_stand_in_a_body():
    call = read({"messages": [HumanMessage("Hello")], "generationConfig": {"topK": 3}})
    assert call.body == {"contents": [USER], "generationConfig": {"topK": 3}}
    assert call.wants_message


def test_contents_of_gemini_may_stand_among_messages():
    assert read([USER, {"role": "assistant", "content": "Hi"}, USER]).body["contents"][0] == USER


def test_the_items_fields_win_over_the_defaults():
    call = read({"contents": [USER], "generationConfig": {"topK": 1}}, {**MODEL, "generationConfig": {"topK": 2}})
    assert call.body["generationConfig"] == {"topK": 1}


def test_a_conversation_with_tools():
    call = read(
        [
            HumanMessage("Weather?"),
            AIMessage(
                "",
                tool_calls=[
                    {"name": "look", "args": {"city": "Rome"}, "id": "c1"},
                    {"name": "look", "args": {"city": "Oslo"}, "id": "c2"},
                ],
                additional_kwargs={"__gemini_function_call_thought_signatures__": {"c1": "c2ln"}},
            ),
            ToolMessage('{"sun": true}', tool_call_id="c1"),
            ToolMessage("rain", tool_call_id="c2"),
            ToolMessage("no", tool_call_id="c3", name="other", status="error"),
        ]
    )
    assert call.body["contents"][1:] == [
        {
            "role": "model",
            "parts": [
                {"functionCall": {"name": "look", "args": {"city": "Rome"}}, "thoughtSignature": "c2ln"},
                {"functionCall": {"name": "look", "args": {"city": "Oslo"}}},
            ],
        },
        {
            "role": "user",
            "parts": [
                {"functionResponse": {"name": "look", "response": {"sun": True}}},
                {"functionResponse": {"name": "look", "response": {"output": "rain"}}},
                {"functionResponse": {"name": "other", "response": {"error": "no"}}},
            ],
        },
    ]


def test_media_become_parts():
    call = read(
        [
            HumanMessage(
                [
                    {"type": "text", "text": "What is it?"},
                    {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}},
                    {"type": "file", "url": "https://example.com/a.pdf", "mime_type": "application/pdf"},
                ]
            )
        ]
    )
    assert call.body["contents"][0]["parts"] == [
        {"text": "What is it?"},
        {"inlineData": {"mimeType": "image/png", "data": "aGk="}},
        {"fileData": {"fileUri": "https://example.com/a.pdf", "mimeType": "application/pdf"}},
    ]


def test_what_another_model_has_thought_is_left_out():
    call = read(
        [HumanMessage("a"), AIMessage([{"type": "reasoning", "reasoning": "…"}, {"type": "text", "text": "b"}])]
    )
    assert call.body["contents"][1]["parts"] == [{"text": "b"}]


@pytest.mark.parametrize(
    ("item", "cause"),
    [
        ("Hello", "a string"),
        (None, "nothing"),
        (7, "a int"),
        ([], "empty"),
        (["Hello"], "message 0 of it is a str"),
        ({"contents": []}, "not a non-empty list"),
        ({"contents": "Hello"}, "not a non-empty list"),
        ({"generationConfig": {}}, "no list of contents"),
        ({"contents": [USER], "config": {}}, "belongs to the SDK"),
        ({"contents": [USER], "messages": [USER]}, "both"),
        ({"messages": [{"role": "system", "content": "s"}, USER], "systemInstruction": {}}, "one or the other"),
        ([ToolMessage("x", tool_call_id="c9")], "names no tool"),
        ([{"role": "nobody", "content": "x"}], "cannot be converted"),
    ],
)
def test_what_cannot_be_sent_is_refused(item, cause):
    with pytest.raises(RequestRefused, match=cause):
        read(item)


def test_a_request_without_a_model_is_refused():
    with pytest.raises(RequestRefused, match="names no model"):
        read([USER], {})


def test_the_key_tells_whether_a_message_is_wanted():
    for item, wants in (([USER], False), ([HumanMessage("a")], True)):
        assert read_mark(json.loads(read(item).line("f" * 32))["key"]) == ("f" * 32, wants)


@given(st.text())
def test_the_line_is_the_request_and_its_end(text):
    try:
        call = read([{"role": "user", "content": text}])
    except Exception:
        return  # a lone surrogate is refused before
    line = call.line("r")
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert orjson.loads(line)["request"]["contents"][0]["parts"] == [{"text": text}]


def test_identity_goes_by_what_decides_the_answer():
    one = read({"contents": [USER], "generationConfig": {"topK": 1}})
    other = read({"generationConfig": {"topK": 1}, "contents": [USER]})
    assert one.identity(["place"]) == other.identity(["place"])
    assert one.identity(["place"]) != one.identity(["elsewhere"])
    assert one.identity(["place"]) != read({"contents": [USER], "generationConfig": {"topK": 2}}).identity(["place"])
    assert one.identity(["place"]) != read(
        {"model": "m", "contents": [USER], "generationConfig": {"topK": 1}}
    ).identity(["place"])
