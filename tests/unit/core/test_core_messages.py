"""LangChain messages through JSON and back."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    ChatMessage,
    FunctionMessage,
    HumanMessage,
    RemoveMessage,
    SystemMessage,
    ToolMessage,
)

from batch_bridge._core.json.json_values import dumps
from batch_bridge._core.json.messages import decode, encode, has_messages, without_ids
from batch_bridge.errors import JSONError

CALL = {"name": "search", "args": {"q": ["x", 1, None]}, "id": "call-1", "type": "tool_call"}
MESSAGES = [
    HumanMessage("hello", id="h1", name="ann"),
    HumanMessage([{"type": "text", "text": "see"}, {"type": "image_url", "image_url": {"url": "data:"}}]),
    SystemMessage("be brief"),
    AIMessage("", tool_calls=[CALL], usage_metadata={"input_tokens": 1, "output_tokens": 2, "total_tokens": 3}),
    AIMessage("done", additional_kwargs={"refusal": None}, response_metadata={"finish_reason": "stop"}),
    ToolMessage("3", tool_call_id="call-1", artifact={"raw": [3]}, status="error"),
    ChatMessage("hm", role="critic"),
    FunctionMessage("4", name="f"),
    RemoveMessage(id="gone"),
    AIMessageChunk(content="part"),
]


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_a_message_survives(message):
    stored = json.loads(dumps(encode(message)))
    restored = decode(stored)
    assert restored == message
    assert type(restored) is type(message)


def test_messages_survive_wherever_they_are():
    value = {"messages": MESSAGES, "deep": [{"one": (MESSAGES[0],)}], "n": 1}
    restored = decode(json.loads(dumps(encode(value))))
    assert restored == {"messages": MESSAGES, "deep": [{"one": [MESSAGES[0]]}], "n": 1}


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text("ab_", max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["id", "type", "data", "human", "__message__"]), inner, max_size=3)
    ),
)


@given(PLAIN)
def test_whatever_is_no_message_comes_back_as_it_was(value):
    assert decode(encode(value)) == value


@pytest.mark.parametrize(
    "value",
    [
        {"__message__": {"type": "human", "data": {"content": "x"}}, "and": "more"},
        {"__message__": {"type": "of no kind", "data": {"content": "x"}}},
        {"__message__": {"type": "human", "data": {}}},
        {"__message__": {"type": "human", "data": {"content": 7}}},
        {"__message__": "text"},
    ],
)
def test_a_dict_that_only_looks_like_a_message_stays_a_dict(value):
    assert decode(encode(value)) == value


@given(PLAIN, PLAIN)
def test_plain_values_that_differ_still_differ_without_ids(one, other):
    if one != other and not (seems_a_message(one) or seems_a_message(other)):
        assert dumps(without_ids(one)) != dumps(without_ids(other)) or dumps(one) == dumps(other)


def seems_a_message(value):
    if isinstance(value, dict):
        return "__message__" in value or any(map(seems_a_message, value.values()))
    return isinstance(value, list) and any(map(seems_a_message, value))


def test_ids_of_messages_are_no_part_of_what_identity_goes_by():
    def conversation(suffix):
        return encode({"messages": [HumanMessage("x", id=f"h{suffix}"), AIMessage("y", id=f"a{suffix}")]})

    assert conversation(1) != conversation(2)
    assert without_ids(conversation(1)) == without_ids(conversation(2))


def test_every_other_id_is_part_of_it():
    def asked(call_id, own_id):
        called = AIMessage("", tool_calls=[{**CALL, "id": call_id}])
        return without_ids(encode({"id": own_id, "messages": [called, ToolMessage("1", tool_call_id=call_id)]}))

    assert asked("call-1", 1) != asked("call-2", 1)
    assert asked("call-1", 1) != asked("call-1", 2)


def test_what_hangs_beside_a_message_is_part_of_it():
    message = encode(HumanMessage("x"))
    assert without_ids({**message, "more": 1}) != without_ids({**message, "more": 2})


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (HumanMessage("x"), True),
        ([1, {"a": (HumanMessage("x"),)}], True),
        ({"a": [1, "x"]}, False),
        ("x", False),
        (None, False),
    ],
)
def test_a_value_is_searched_for_messages(value, expected):
    assert has_messages(value) is expected


def test_a_message_that_json_cannot_carry_is_refused_with_the_path_to_it():
    with pytest.raises(JSONError) as caught:
        encode({"messages": [ToolMessage("x", tool_call_id="1", artifact=object())]})
    assert caught.value.path == "['messages'][0]['__message__']['data']['artifact']"
