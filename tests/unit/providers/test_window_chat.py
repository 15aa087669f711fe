"""Chat completions asked of the Responses API: only what loses nothing, and back."""

import pytest
from langchain_core.messages import HumanMessage, SystemMessage
from openai import AsyncOpenAI
from openai.types.chat import ChatCompletion

from batch_bridge._core.json.messages import encode
from batch_bridge._core.models import Request
from batch_bridge.errors import RequestRefused
from batch_bridge.providers.openai import OpenAIBatch
from batch_bridge.providers.openai._windows.chat import to_completion, to_response

USER = {"role": "user", "content": "hello"}
TOOL = {"type": "function", "function": {"name": "add", "parameters": {"type": "object"}, "description": "adds"}}


def window(**options):
    return OpenAIBatch(AsyncOpenAI(api_key="k"), model="gpt-5-mini", **options).window("8h")


def body_of(item, thread="t", **options):
    provider = window(**options)
    request = Request("0" * 32, thread, item)
    return provider._body(request, provider._read(request))


def test_fields_are_said_in_the_other_terms():
    made = to_response(
        {
            "model": "m",
            "messages": [USER],
            "max_completion_tokens": 100,
            "n": 1,
            "stop": None,
            "tools": [TOOL],
            "tool_choice": {"type": "function", "function": {"name": "add"}},
            "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {}, "strict": True}},
            "reasoning_effort": "low",
            "verbosity": "low",
            "prompt_cache_key": "k",
        }
    )
    assert made == {
        "model": "m",
        "input": [{"type": "message", "role": "user", "content": "hello"}],
        "max_output_tokens": 100,
        "tools": [
            {
                "type": "function",
                "name": "add",
                "parameters": {"type": "object"},
                "description": "adds",
                "strict": False,
            }
        ],
        "tool_choice": {"type": "function", "name": "add"},
        "text": {"format": {"type": "json_schema", "name": "x", "schema": {}, "strict": True}, "verbosity": "low"},
        "reasoning": {"effort": "low"},
        "prompt_cache_key": "k",
    }


def test_a_conversation_with_tools_and_images_keeps_everything():
    call = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": "{}"}}
    image = {"type": "image_url", "image_url": {"url": "https://x/y.png", "detail": "low"}}
    made = to_response(
        {
            "messages": [
                {"role": "system", "content": "be short"},
                {"role": "user", "content": [{"type": "text", "text": "look"}, image]},
                {"role": "assistant", "content": "well", "tool_calls": [call]},
                {"role": "tool", "tool_call_id": "c1", "content": "3"},
            ]
        }
    )
    assert made["input"] == [
        {"type": "message", "role": "system", "content": "be short"},
        {
            "type": "message",
            "role": "user",
            "content": [
                {"type": "input_text", "text": "look"},
                {"type": "input_image", "image_url": "https://x/y.png", "detail": "low"},
            ],
        },
        {"type": "message", "role": "assistant", "content": "well"},
        {"type": "function_call", "call_id": "c1", "name": "add", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c1", "output": "3"},
    ]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"stop": ["x"]}, "stop"),
        ({"n": 2}, "n"),
        ({"seed": 1}, "seed"),
        ({"logprobs": True}, "logprobs"),
        ({"logit_bias": {"1": 1}}, "logit_bias"),
        ({"frequency_penalty": 0.5}, "frequency_penalty"),
        ({"max_tokens": 5}, "max_tokens"),
        ({"modalities": ["audio"]}, "modalities"),
        ({"something_new": 1}, "something_new"),
        ({"tools": [{"type": "custom", "custom": {}}]}, "custom"),
        ({"messages": [{"role": "user", "name": "Ada", "content": "x"}]}, "name"),
        ({"messages": [{"role": "function", "name": "", "content": "x"}]}, "function"),
        ({"messages": [{"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]}]}, "input_audio"),
        ({"store": False}, "store"),
        ({"service_tier": "flex"}, "service_tier"),
        ({"background_options": {"completion_window": "2h"}}, "2h"),
    ],
)
def test_what_would_lose_something_is_refused_by_name(change, named):
    with pytest.raises(RequestRefused, match=named):
        window().measure(Request("0" * 32, "t", {"messages": [USER], **change}))


def test_other_endpoints_are_refused():
    item = {"method": "POST", "url": "/v1/embeddings", "body": {"model": "text-embedding-3-small", "input": "x"}}
    with pytest.raises(RequestRefused, match="windows do not take /v1/embeddings"):
        window().measure(Request("0" * 32, "t", item))


def test_a_body_names_window_thread_and_request():
    made = body_of({"input": "hello", "metadata": {"mine": "1"}})
    again = body_of({"input": "more"})
    other = body_of({"input": "more"}, thread="another")
    assert (made["background"], made["store"]) == (True, True)
    assert made["background_options"]["completion_window"] == "8h"
    assert made["metadata"] == {"batch_bridge": "0" * 32, "mine": "1"}
    assert made["background_options"] == again["background_options"] != other["background_options"]
    assert "another" not in str(other["background_options"])


def test_without_a_thread_there_is_no_continuation():
    assert body_of({"input": "hello"}, thread="")["background_options"] == {"completion_window": "8h"}


def test_sixteen_pairs_of_metadata_stay_the_users():
    pairs = {f"k{number}": "v" for number in range(16)}
    assert body_of({"input": "hello", "metadata": pairs})["metadata"] == pairs


def test_langchains_messages_go_to_the_other_api_as_they_are():
    item = [encode(SystemMessage("short")), encode(HumanMessage("hello"))]
    provider = window(defaults={"max_tokens": 50})
    call = provider._read(Request("0" * 32, "t", item))
    assert (call.is_chat, call.wants_message) == (False, True)
    assert call.body["max_output_tokens"] == 50
    assert [each["role"] for each in call.body["input"]] == ["system", "user"]


def test_a_response_reads_as_a_completion():
    response = {
        "id": "resp_1",
        "created_at": 1.0,
        "model": "m",
        "status": "completed",
        "output": [
            {"type": "reasoning", "summary": []},
            {"type": "message", "content": [{"type": "output_text", "text": "hi"}]},
            {"type": "function_call", "call_id": "c", "name": "add", "arguments": "{}"},
        ],
        "usage": {"input_tokens": 3, "output_tokens": 4, "input_tokens_details": {"cached_tokens": 1}},
    }
    read = ChatCompletion.model_validate(to_completion(response))
    (choice,) = read.choices
    assert (choice.message.content, choice.finish_reason) == ("hi", "tool_calls")
    assert choice.message.tool_calls[0].function.name == "add"
    assert (read.usage.total_tokens, read.usage.prompt_tokens_details.cached_tokens) == (7, 1)
    cut = {**response, "status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}
    assert to_completion(cut)["choices"][0]["finish_reason"] == "length"
