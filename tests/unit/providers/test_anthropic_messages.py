"""LangChain messages to and from Anthropic's Messages API, judged by LangChain's own integration where it can be."""

import anthropic
import pytest
from langchain_anthropic import ChatAnthropic
from langchain_core.messages import (
    AIMessage,
    ChatMessage,
    FunctionMessage,
    HumanMessage,
    RemoveMessage,
    SystemMessage,
    ToolMessage,
)

from batch_bridge._core.json.messages import encode
from batch_bridge.providers.anthropic._messages import to_conversation, to_message

MODEL = ChatAnthropic(model="claude-haiku-4-5", api_key="unused", max_tokens=10)
PNG = "iVBORw0KGgo="
CALL = {"name": "look", "args": {"where": "here"}, "id": "toolu_1", "type": "tool_call"}
USE = {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {"where": "here"}}


def conversation(*messages):
    return to_conversation(encode(list(messages)))


CONVERSATIONS = [
    [HumanMessage("Hello")],
    [SystemMessage("Be brief."), HumanMessage("Hello")],
    [HumanMessage("Hello"), AIMessage("Hi"), HumanMessage("Bye")],
    [HumanMessage("a"), AIMessage("", tool_calls=[CALL]), ToolMessage("there", tool_call_id="toolu_1")],
    [
        HumanMessage("a"),
        AIMessage("Let me see", tool_calls=[CALL]),
        ToolMessage("no", tool_call_id="toolu_1", status="error"),
    ],
    [HumanMessage("a"), AIMessage([{"type": "text", "text": "See"}, USE], tool_calls=[CALL]), HumanMessage("b")],
    [
        HumanMessage("a"),
        AIMessage("", tool_calls=[CALL, {**CALL, "id": "toolu_2"}]),
        ToolMessage("one", tool_call_id="toolu_1"),
        ToolMessage("two", tool_call_id="toolu_2"),
        HumanMessage("Go on"),
    ],
    [
        HumanMessage(
            [
                {"type": "text", "text": "What is it?"},
                {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}},
            ]
        )
    ],
    [HumanMessage([{"type": "image", "base64": PNG, "mime_type": "image/png"}])],
    [HumanMessage([{"type": "image", "url": "https://example.com/a.png"}])],
    [HumanMessage([{"type": "file", "base64": PNG, "mime_type": "application/pdf", "extras": {"title": "A"}}])],
    [HumanMessage([{"type": "file", "url": "https://example.com/a.pdf"}])],
    [HumanMessage([{"type": "file", "file_id": "file_1"}])],
    [HumanMessage([{"type": "text", "text": "Long", "cache_control": {"type": "ephemeral"}}])],
    [
        HumanMessage("a"),
        AIMessage([{"type": "thinking", "thinking": "Hm", "signature": "s"}, {"type": "text", "text": "b"}]),
        HumanMessage("c"),
    ],
]


@pytest.mark.parametrize("messages", CONVERSATIONS)
def test_conversations_are_those_of_langchains_own_model(messages):
    """Blocks for blocks; a plain string is the same as one block of text."""
    theirs = MODEL._get_request_payload(messages)
    system, ours = conversation(*messages)
    assert plain(ours) == plain(theirs["messages"])
    assert plain_blocks(system) == plain_blocks(theirs.get("system") or [])


def plain(turns):
    return [{**turn, "content": plain_blocks(turn["content"])} for turn in turns]


def plain_blocks(content):
    blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
    return [
        {
            **block,
            **({"content": plain_blocks(block["content"])} if "content" in block else {}),
            "is_error": block.get("is_error", False),
        }
        for block in blocks
    ]


def test_blocks_of_other_apis_are_left_out():
    _, turns = conversation(
        HumanMessage("a"),
        AIMessage([{"type": "reasoning", "summary": []}, {"type": "text", "text": "b"}, {"type": "text", "text": " "}]),
        HumanMessage("c"),
    )
    assert turns[1]["content"] == [{"type": "text", "text": "b"}]


def test_own_dicts_stay_as_they_are():
    own = [{"role": "user", "content": "a"}, {"role": "user", "content": [{"type": "whatever"}]}]
    assert to_conversation(own) == ([], own)


def test_a_system_message_in_between_stays_in_its_place():
    system, turns = conversation(HumanMessage("a"), SystemMessage("b"), HumanMessage("c"))
    assert system == []
    assert [turn["role"] for turn in turns] == ["user", "system", "user"]


def test_chat_messages_with_a_role_of_the_apis():
    assert conversation(ChatMessage("a", role="user"))[1] == [{"role": "user", "content": "a"}]


@pytest.mark.parametrize(
    "message",
    [FunctionMessage("a", name="f"), RemoveMessage(id="1"), ChatMessage("a", role="critic")],
)
def test_what_has_no_place_is_refused(message):
    with pytest.raises(ValueError, match="no place"):
        conversation(message)


def test_a_data_url_must_be_base64():
    with pytest.raises(ValueError, match="base64"):
        conversation(HumanMessage([{"type": "image_url", "image_url": "data:image/svg+xml,<svg/>"}]))


USAGE = {
    "input_tokens": 3,
    "cache_creation_input_tokens": 1,
    "cache_read_input_tokens": 2,
    "cache_creation": {"ephemeral_5m_input_tokens": 1, "ephemeral_1h_input_tokens": 0},
    "output_tokens": 4,
    "service_tier": "batch",
}


@pytest.mark.parametrize(
    "content",
    [
        [{"type": "text", "text": "Hi", "citations": None}],
        [{"type": "text", "text": "See", "citations": None}, USE],
        [{"type": "thinking", "thinking": "Hm", "signature": "s"}, {"type": "text", "text": "Hi", "citations": None}],
        [],
    ],
)
@pytest.mark.parametrize("usage", [USAGE, {"input_tokens": 1, "output_tokens": 2}])
def test_answers_are_those_of_langchains_own_model(content, usage):
    body = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude-haiku-4-5-20251001",
        "content": content,
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": usage,
    }
    theirs = MODEL._format_output(anthropic.types.Message.model_validate(body)).generations[0].message
    ours = to_message(body)
    assert ours.text == theirs.text
    assert ours.tool_calls == theirs.tool_calls
    assert ours.usage_metadata["input_tokens"] == theirs.usage_metadata["input_tokens"]
    assert ours.usage_metadata["total_tokens"] == theirs.usage_metadata["total_tokens"]
    assert ours.response_metadata["stop_reason"] == "end_turn"
    assert ours.response_metadata["model_name"] == "claude-haiku-4-5-20251001"
    assert ours.id == "msg_1"
    _, turns = conversation(HumanMessage("a"), ours, HumanMessage("b"))
    assert turns[0] == {"role": "user", "content": "a"}
