import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import (
    AIMessage,
    HumanMessage,
    InvalidToolCall,
    SystemMessage,
    ToolMessage,
    convert_to_openai_messages,
)

from batch_bridge._core.json.messages import encode
from batch_bridge.providers.openai import _chat as _openai_chat
from batch_bridge.providers.openai import _responses as _openai_responses

COMPLETION = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "model": "gpt-4o-mini-2024-07-18",
    "system_fingerprint": "fp_1",
    "service_tier": "default",
    "choices": [
        {
            "index": 0,
            "finish_reason": "stop",
            "logprobs": None,
            "message": {"role": "assistant", "content": "Hi", "refusal": None},
        }
    ],
    "usage": {
        "prompt_tokens": 10,
        "completion_tokens": 5,
        "total_tokens": 15,
        "prompt_tokens_details": {"cached_tokens": 4},
        "completion_tokens_details": {"reasoning_tokens": 2},
    },
}


def completion(**message):
    choice = COMPLETION["choices"][0]
    return {**COMPLETION, "choices": [{**choice, "message": {**choice["message"], **message}}]}


def test_a_completion_is_the_message_that_chat_openai_gives():
    message = _openai_chat.to_message(COMPLETION)
    assert (message.content, message.id) == ("Hi", "chatcmpl-1")
    assert message.additional_kwargs == {"refusal": None}
    assert message.usage_metadata == {
        "input_tokens": 10,
        "output_tokens": 5,
        "total_tokens": 15,
        "input_token_details": {"cache_read": 4},
        "output_token_details": {"reasoning": 2},
    }
    assert message.response_metadata == {
        "token_usage": COMPLETION["usage"],
        "model_provider": "openai",
        "model_name": "gpt-4o-mini-2024-07-18",
        "system_fingerprint": "fp_1",
        "id": "chatcmpl-1",
        "service_tier": "default",
        "finish_reason": "stop",
        "logprobs": None,
    }


def test_tool_calls_are_parsed_and_bad_ones_kept_apart():
    calls = [
        {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}},
        {"id": "c2", "type": "function", "function": {"name": "g", "arguments": '{"a": '}},
        {"id": "c3", "type": "custom", "custom": {"name": "h", "input": "text"}},
    ]
    message = _openai_chat.to_message(completion(content=None, tool_calls=calls))
    assert message.content == ""
    assert message.tool_calls == [
        {"name": "f", "args": {"a": 1}, "id": "c1", "type": "tool_call"},
        {"name": "h", "args": {"__arg1": "text"}, "id": "c3", "type": "tool_call"},
    ]
    (bad,) = message.invalid_tool_calls
    assert (bad["name"], bad["args"], bad["id"]) == ("g", '{"a": ', "c2")


def test_a_refusal_is_in_the_additional_kwargs():
    message = _openai_chat.to_message(completion(content=None, refusal="No."))
    assert message.additional_kwargs["refusal"] == "No."


def test_an_answer_can_be_sent_back():
    calls = [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a": '}}]
    message = _openai_chat.to_message(completion(content=None, tool_calls=calls))
    (sent,) = _openai_chat.to_messages([encode(message)])
    assert sent == {"role": "assistant", "content": None, "tool_calls": calls}


@given(st.text(), st.sampled_from([HumanMessage, SystemMessage]), st.sampled_from([None, "name"]))
def test_the_short_way_and_langchains_agree(text, kind, name):
    message = kind(text, name=name)
    assert _openai_chat.to_messages([encode(message)]) == convert_to_openai_messages([message])


def test_a_developers_message_keeps_its_role():
    message = SystemMessage("x", additional_kwargs={"__openai_role__": "developer"})
    assert _openai_chat.to_messages([encode(message)]) == [{"role": "developer", "content": "x"}]


RESPONSE = {
    "id": "resp_1",
    "object": "response",
    "created_at": 1_700_000_000,
    "model": "o4-mini",
    "status": "completed",
    "error": None,
    "output": [
        {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": None},
        {
            "type": "message",
            "id": "msg_1",
            "role": "assistant",
            "content": [{"type": "output_text", "text": "Hi", "annotations": []}],
        },
        {"type": "function_call", "id": "fc_1", "call_id": "c1", "name": "f", "arguments": '{"a": 1}'},
        {"type": "function_call", "id": "fc_2", "call_id": "c2", "name": "g", "arguments": "[1"},
    ],
    "usage": {
        "input_tokens": 10,
        "output_tokens": 5,
        "total_tokens": 15,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens_details": {"reasoning_tokens": 3},
    },
}


def test_a_response_is_a_message_of_blocks():
    message = _openai_responses.to_message(RESPONSE)
    assert message.id == "resp_1"
    assert message.text == "Hi"
    assert [block["type"] for block in message.content] == [
        "reasoning",
        "text",
        "function_call",
        "function_call",
    ]
    assert message.tool_calls == [{"name": "f", "args": {"a": 1}, "id": "c1", "type": "tool_call"}]
    assert [call["id"] for call in message.invalid_tool_calls] == ["c2"]
    assert message.usage_metadata["output_token_details"] == {"reasoning": 3}
    assert message.response_metadata["model_name"] == "o4-mini"


def test_a_response_can_be_sent_back():
    sent = _openai_responses.to_input([encode(_openai_responses.to_message(RESPONSE))])
    assert sent == [
        {"type": "reasoning", "id": "rs_1", "summary": []},
        {
            "type": "message",
            "role": "assistant",
            "content": [{"type": "output_text", "text": "Hi", "annotations": []}],
            "id": "msg_1",
        },
        RESPONSE["output"][2],
        RESPONSE["output"][3],
    ]


def test_texts_go_back_in_the_messages_they_came_in():
    texts = [("a", "msg_1"), ("b", "msg_1"), ("c", "msg_2"), ("d", "lc_1")]
    message = AIMessage([{"type": "text", "text": text, "id": id_} for text, id_ in texts])
    sent = _openai_responses.to_input([encode(message)])
    assert [(each.get("id"), [part["text"] for part in each["content"]]) for each in sent] == [
        ("msg_1", ["a", "b"]),
        ("msg_2", ["c"]),
        (None, ["d"]),
    ]


def test_a_conversation_becomes_input_items():
    conversation = [
        SystemMessage("Be brief."),
        HumanMessage(
            [
                {"type": "text", "text": "What?"},
                {"type": "image_url", "image_url": {"url": "https://x/y.png", "detail": "low"}},
                {"type": "image_url", "image_url": "https://x/z.png"},
                {"type": "file", "file": {"file_id": "file-1"}},
            ]
        ),
        AIMessage(
            "Wait",
            tool_calls=[{"name": "look", "args": {}, "id": "c1"}],
            invalid_tool_calls=[InvalidToolCall(name="g", args="[", id="c2", error="", type="invalid_tool_call")],
        ),
        ToolMessage("a cat", tool_call_id="c1"),
    ]
    assert _openai_responses.to_input(encode(conversation)) == [
        {"type": "message", "role": "system", "content": "Be brief."},
        {
            "type": "message",
            "role": "user",
            "content": [
                {"type": "input_text", "text": "What?"},
                {"type": "input_image", "image_url": "https://x/y.png", "detail": "low"},
                {"type": "input_image", "image_url": "https://x/z.png"},
                {"type": "input_file", "file_id": "file-1"},
            ],
        },
        {"type": "message", "role": "assistant", "content": "Wait"},
        {"type": "function_call", "name": "look", "arguments": "{}", "call_id": "c1"},
        {"type": "function_call", "name": "g", "arguments": "[", "call_id": "c2"},
        {"type": "function_call_output", "call_id": "c1", "output": "a cat"},
    ]


def test_a_response_refused_says_so():
    output = [{"type": "message", "id": "msg_1", "content": [{"type": "refusal", "refusal": "No."}]}]
    message = _openai_responses.to_message({**RESPONSE, "output": output})
    assert message.additional_kwargs == {"refusal": "No."}


def test_a_conversation_can_change_its_api():
    message = _openai_responses.to_message(RESPONSE)
    sent = _openai_chat.to_messages([encode(message)])[0]
    assert sent["content"] in ("Hi", [{"type": "text", "text": "Hi"}])
    assert [call["id"] for call in sent["tool_calls"]] == ["c1", "c2"]


@pytest.mark.parametrize("body", [{}, {"choices": []}, {"choices": [{}]}, {"choices": None}])
def test_what_is_no_completion_raises(body):
    with pytest.raises((LookupError, TypeError, ValueError)):
        _openai_chat.to_message(body)
