"""An item as a call of Anthropic's Messages API."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import HumanMessage, SystemMessage

from batch_bridge._core.json.messages import encode
from batch_bridge.errors import RequestRefused
from batch_bridge.providers.anthropic._call import FRAME, read_item, write_create
from batch_bridge.providers.anthropic._handle import read_custom_id, tag_of, write_custom_id

DEFAULTS = {"model": "m", "max_tokens": 7}
USER = {"role": "user", "content": "Hello"}
ID = "0123456789abcdef" * 2


def body(item, defaults=DEFAULTS):
    return read_item(encode(item), defaults).body


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        ([USER], {"messages": [USER]}),
        ([{"role": "system", "content": "Be brief."}, USER], {"messages": [USER], "system": "Be brief."}),
        ([SystemMessage("Be brief."), HumanMessage("Hello")], {"messages": [USER], "system": "Be brief."}),
        (
            [SystemMessage("Be brief."), SystemMessage("Be kind."), USER],
            {
                "messages": [USER],
                "system": [{"type": "text", "text": "Be brief."}, {"type": "text", "text": "Be kind."}],
            },
        ),
        (HumanMessage("Hello"), {"messages": [USER]}),
        ({"messages": [USER], "model": "own", "max_tokens": 1}, {"messages": [USER], "model": "own", "max_tokens": 1}),
        ({"messages": [USER], "system": "x", "tools": []}, {"messages": [USER], "system": "x", "tools": []}),
        ({"params": {"messages": [USER]}, "custom_id": "unused"}, {"messages": [USER]}),
        (
            {"messages": [SystemMessage("b"), HumanMessage("Hello")], "system": "a", "temperature": 0},
            {
                "messages": [USER],
                "system": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}],
                "temperature": 0,
            },
        ),
    ],
)
def test_item_forms(item, expected):
    assert body(item) == {**DEFAULTS, **expected}


def test_a_body_is_sent_as_it_is():
    own = {
        "model": "m",
        "max_tokens": 1,
        "messages": [USER, {"role": "system", "content": "in place"}, {"role": "assistant", "content": []}],
        "system": [{"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}}],
        "thinking": {"type": "adaptive"},
        "whatever": None,
    }
    assert body(own, {"max_tokens": 9}) == own


@pytest.mark.parametrize("item", [[USER], [HumanMessage("Hello")]])
def test_only_messages_are_answered_by_messages(item):
    assert read_item(encode(item), DEFAULTS).wants_message is (item != [USER])


@pytest.mark.parametrize(
    ("item", "said"),
    [
        ("Hello", "it is a string"),
        (None, "it is nothing"),
        (3, "it is a int"),
        ([], "an empty list"),
        (["Hello"], "message 0 of it is a str"),
        ([SystemMessage("alone")], "only system messages"),
        ({"input": "Hello"}, "no list of messages"),
        ({"messages": "Hello"}, "no list of messages"),
        ({"params": 3}, "the params of its entry"),
        ({"messages": [USER], "stream": True}, "cannot stream"),
        ({"messages": [USER], "model": ""}, "names no model"),
        ([HumanMessage([{"type": "image", "mime_type": "image/png"}])], "neither url"),
    ],
)
def test_what_cannot_be_sent(item, said):
    with pytest.raises(RequestRefused, match=said):
        read_item(encode(item), DEFAULTS)


def test_without_a_model_it_says_where_to_put_one():
    with pytest.raises(RequestRefused, match="AnthropicBatch"):
        read_item([USER], {})


texts = st.text(st.characters(exclude_categories=["Cs"]))
numbers = st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)


@given(st.lists(st.tuples(texts, numbers, st.booleans()), min_size=1, max_size=5))
def test_sizes_are_those_of_what_is_sent(several):
    calls = [
        read_item({"messages": [{"role": "user", "content": text}], "temperature": n, "flag": flag}, DEFAULTS)
        for text, n, flag in several
    ]
    sent = write_create(call.entry(ID, tag_of("bb-key")) for call in calls)
    assert sum(call.size(ID) for call in calls) + FRAME == len(sent)
    assert [each["params"] for each in json.loads(sent)["requests"]] == [dict(call.body) for call in calls]


@pytest.mark.parametrize("text", ["\ud800", "a\udfffb"])
def test_text_that_is_no_unicode_is_refused(text):
    with pytest.raises(RequestRefused, match="cannot be sent"):
        read_item([{"role": "user", "content": text}], DEFAULTS).size(ID)


@given(st.text("0123456789abcdef", min_size=1, max_size=32), st.text(), st.booleans())
def test_custom_ids_come_back(request_id, key, wants):
    custom_id = write_custom_id(request_id, tag_of(key), wants_message=wants)
    assert read_custom_id(custom_id) == (request_id, tag_of(key), wants)
    assert len(custom_id) <= 64


def test_other_custom_ids_are_not_ours():
    assert read_custom_id("request-1") is None
    assert read_custom_id(f"{ID}_{'g' * 24}") is None


def test_identity_is_the_body_and_the_place_and_not_its_order():
    one = read_item({"messages": [USER], "temperature": 0, "model": "m"}, {"max_tokens": 1})
    turned = dict(reversed(USER.items()))
    same = read_item({"model": "m", "temperature": 0, "messages": [turned]}, {"max_tokens": 1})
    assert one.identity(["a"]) == same.identity(["a"])
    others = [
        one.identity(["b"]),
        read_item({"messages": [USER], "temperature": 1, "model": "m"}, {"max_tokens": 1}).identity(["a"]),
        read_item(
            encode({"messages": [HumanMessage("Hello")], "temperature": 0, "model": "m"}), {"max_tokens": 1}
        ).identity(["a"]),
    ]
    assert one.identity(["a"]) not in others
