"""A line of a Message Batch's results as an outcome."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import AIMessage

from batch_bridge import Cancelled, Errored, Expired, Succeeded
from batch_bridge._core.json.messages import decode
from batch_bridge.providers.anthropic._download import AnthropicUsageTotal
from batch_bridge.providers.anthropic._handle import tag_of, write_custom_id
from batch_bridge.providers.anthropic._result import read_pair, read_result

ID = "0123456789abcdef" * 2
BODY = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude-a",
    "content": [{"type": "text", "text": "Hi"}],
    "usage": {"input_tokens": 3, "cache_read_input_tokens": 2, "output_tokens": 4},
}


def outcome(result, *, wants_message=False):
    custom_id = write_custom_id(ID, tag_of("bb-key"), wants_message=wants_message)
    request_id, found = read_pair(read_result(json.dumps({"custom_id": custom_id, "result": result}).encode()))
    assert request_id == ID
    return found


def error(kind, message="because"):
    return {
        "type": "errored",
        "error": {"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_1"},
    }


def test_an_answer_is_the_messages_body():
    assert outcome({"type": "succeeded", "message": BODY}) == Succeeded(BODY)


def test_an_answer_is_a_message_where_the_item_was_one():
    found = outcome({"type": "succeeded", "message": BODY}, wants_message=True)
    message = decode(found.answer)
    assert isinstance(message, AIMessage)
    assert message.content == "Hi"
    assert message.usage_metadata["input_tokens"] == 5


def test_an_answer_that_is_no_message_is_an_error():
    found = outcome({"type": "succeeded", "message": {"content": 3}}, wants_message=True)
    assert (type(found), found.code) == (Errored, "unexpected_answer")


@pytest.mark.parametrize(
    ("kind", "status", "retryable"),
    [
        ("invalid_request_error", 400, False),
        ("authentication_error", 401, False),
        ("permission_error", 403, False),
        ("not_found_error", 404, False),
        ("request_too_large", 413, False),
        ("rate_limit_error", 429, True),
        ("api_error", 500, True),
        ("timeout_error", 504, True),
        ("overloaded_error", 529, True),
        ("a_new_error", None, True),
    ],
)
def test_errors_have_the_status_of_their_type(kind, status, retryable):
    found = outcome(error(kind))
    assert (found.code, found.status_code, found.retryable, found.message) == (kind, status, retryable, "because")
    assert found.provider_request_id == "req_1"
    assert found.body["error"]["type"] == kind


def test_an_error_without_its_envelope():
    found = outcome({"type": "errored", "error": {"type": "api_error", "message": "because"}})
    assert (found.code, found.message, found.body["type"]) == ("api_error", "because", "error")


def test_what_never_ran():
    assert isinstance(outcome({"type": "expired"}), Expired)
    assert isinstance(outcome({"type": "canceled"}), Cancelled)


@pytest.mark.parametrize("result", [None, 3, {}, {"type": "new"}, {"type": "succeeded"}, {"type": "errored"}])
def test_anything_else_is_an_error(result):
    assert isinstance(outcome(result), Errored)


@given(st.binary())
def test_no_line_raises(line):
    result = read_result(line)
    assert result is None or "custom_id" in result


def test_lines_of_others_are_nobodys():
    assert read_pair({"custom_id": "unknown-1", "result": {"type": "expired"}}) is None
    assert read_result(b'{"custom_id": 3}') is None
    assert read_result(b'{"custom_id": "a", "result": {"typ') is None


def test_half_a_surrogate_pair_is_kept():
    line = b'{"custom_id": "a", "result": {"type": "succeeded", "message": {"text": "\\ud83d"}}}'
    assert read_result(line)["result"]["message"]["text"] == "\ud83d"


def test_a_bill_sums_what_was_answered():
    bill = AnthropicUsageTotal("claude-asked")
    assert bill.usage() is None
    for result in ({"type": "expired"}, error("api_error"), None, {"type": "succeeded", "message": {"usage": None}}):
        bill.add({"result": result})
    assert bill.usage() is None
    for _ in range(2):
        bill.add({"result": {"type": "succeeded", "message": BODY}})
    usage = bill.usage()
    assert (usage.model, usage.input_tokens, usage.output_tokens, usage.cached_tokens) == ("claude-a", 10, 8, 4)
