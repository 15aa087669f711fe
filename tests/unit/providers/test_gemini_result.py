"""What a batch says of a request, of itself, and what it cost."""

import json

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import AIMessage

from batch_bridge._core.json.messages import decode
from batch_bridge._core.models import Cancelled, Errored, Expired, InProgress, Succeeded, Usage
from batch_bridge.providers.gemini._job import read_job
from batch_bridge.providers.gemini._messages import to_message
from batch_bridge.providers.gemini._result import GeminiUsageTotal, read_error, read_inlined, read_line

ANSWER = {
    "candidates": [{"content": {"parts": [{"text": "Hi"}], "role": "model"}, "finishReason": "STOP"}],
    "usageMetadata": {
        "promptTokenCount": 5,
        "candidatesTokenCount": 2,
        "thoughtsTokenCount": 3,
        "toolUsePromptTokenCount": 1,
        "cachedContentTokenCount": 4,
        "totalTokenCount": 11,
    },
    "modelVersion": "gemini-2.5-flash",
    "responseId": "r-1",
}


def line(**fields):
    return orjson.dumps(fields)


def test_an_answer_is_its_response_unchanged():
    assert read_line(line(key="a", response=ANSWER), GeminiUsageTotal("m")) == ("a", Succeeded(ANSWER))


def test_an_answer_to_messages_is_a_message():
    request_id, outcome = read_line(line(key="a-m", response=ANSWER), GeminiUsageTotal("m"))
    message = decode(outcome.answer)
    assert request_id == "a"
    assert isinstance(message, AIMessage)
    assert (message.content, message.id) == ("Hi", "r-1")
    assert message.usage_metadata == {
        "input_tokens": 6,
        "output_tokens": 5,
        "total_tokens": 11,
        "input_token_details": {"cache_read": 4},
        "output_token_details": {"reasoning": 3},
    }


def test_what_was_billed_is_summed_once_for_each_key():
    bill = GeminiUsageTotal("m")
    for key in ("a", "b", "a"):
        read_line(line(key=key, response=ANSWER), bill)
    read_line(line(key="c", error={"code": 3}), bill)
    assert bill.total() == Usage("m", 12, 10, 8)
    assert GeminiUsageTotal("m").total() is None


@pytest.mark.parametrize(
    ("error", "code", "status", "retryable"),
    [
        ({"code": 3, "message": "bad"}, "invalid_argument", 400, False),
        ({"code": 7, "message": "no"}, "permission_denied", 403, False),
        ({"code": 8, "message": "slow"}, "resource_exhausted", 429, True),
        ({"code": 13, "message": "oh"}, "internal", 500, True),
        ({"code": 14, "message": "oh"}, "unavailable", 503, True),
        ({"code": 429, "message": "slow"}, "http_429", 429, True),
        ({"code": 400, "message": "bad", "status": "INVALID_ARGUMENT"}, "invalid_argument", 400, False),
        ({"message": "?"}, "no_status", None, True),
        ({}, "no_status", None, True),
        ("oh", "no_status", None, True),
    ],
)
def test_an_error_is_told_by_its_status(error, code, status, retryable):
    found = read_error(error)
    assert (found.code, found.status_code, found.retryable) == (code, status, retryable)
    assert found.message


def test_an_error_can_be_shown_as_the_api_would_answer_with_it():
    assert read_error({"code": 8, "message": "slow", "details": [1]}).body == {
        "error": {"code": 429, "message": "slow", "status": "RESOURCE_EXHAUSTED", "details": [1]}
    }


def test_a_result_without_answer_or_error_is_an_error():
    _, outcome = read_line(line(key="a"), GeminiUsageTotal("m"))
    assert isinstance(outcome, Errored)
    assert outcome.code == "missing_result"


def test_inlined_results_go_by_key():
    results = [{"metadata": {"key": "b"}, "response": ANSWER}, {"metadata": {"key": "a"}}]
    assert [key for key, _ in read_inlined(results, ["a", "b", "c"], GeminiUsageTotal("m"))] == ["b", "a"]


def test_inlined_results_without_a_key_go_by_the_order_that_the_api_documents():
    results = [{"response": {"text": "1"}}, {"metadata": {"key": "b"}, "response": {"text": "2"}}, {}]
    pairs = read_inlined(results, ["a", "b", "c"], GeminiUsageTotal("m"))
    assert pairs[:2] == [("a", Succeeded({"text": "1"})), ("b", Succeeded({"text": "2"}))]
    assert (pairs[2][0], pairs[2][1].code) == ("c", "missing_result")


@pytest.mark.parametrize(
    "results",
    [
        pytest.param([{"metadata": {"key": "b"}, "response": ANSWER}, {"response": ANSWER}, {}], id="out-of-order"),
        pytest.param([{"metadata": {"key": "b"}, "response": ANSWER}, {"response": ANSWER}], id="too-few"),
        pytest.param([{"metadata": {"key": "b"}, "response": ANSWER}, *[{}] * 3], id="too-many"),
    ],
)
def test_inlined_results_without_a_key_and_out_of_order_are_reported_and_never_guessed(results):
    named, *others = read_inlined(results, ["a", "b", "c"], GeminiUsageTotal("m"))
    assert named == ("b", Succeeded(ANSWER))
    assert [(request_id, outcome.code, outcome.retryable) for request_id, outcome in others] == [
        ("a", "unmatched_result", True),
        ("c", "unmatched_result", True),
    ]


def test_half_a_surrogate_pair_is_read():
    _, outcome = read_line(rb'{"key": "a", "response": {"text": "\ud83d"}}', GeminiUsageTotal("m"))
    assert outcome == Succeeded({"text": "\ud83d"})


NAMES = st.sampled_from(["key", "response", "error", "candidates", "parts", "usageMetadata", "code"])
TREES = st.recursive(st.none() | st.text() | st.integers(), lambda x: st.lists(x) | st.dictionaries(NAMES, x))


@given(st.binary() | TREES.map(lambda tree: json.dumps(tree).encode()))
def test_no_line_makes_it_raise(raw):
    read_line(raw, GeminiUsageTotal("m"))


@given(
    st.dictionaries(
        st.sampled_from(["candidates", "content", "usageMetadata", "modelVersion", "promptFeedback"]),
        st.recursive(
            st.none() | st.text(max_size=3) | st.integers(0, 9),
            lambda x: (
                st.lists(x, max_size=3)
                | st.dictionaries(
                    st.sampled_from(["content", "parts", "text", "functionCall", "name", "args", "promptTokenCount"]), x
                )
            ),
            max_leaves=8,
        ),
    )
)
def test_no_answer_makes_the_reading_of_a_message_raise(answer):
    read_line(orjson.dumps({"key": "a-m", "response": answer}), GeminiUsageTotal("m"))


def test_thoughts_calls_and_signatures_are_in_the_message():
    message = to_message(
        {
            "candidates": [
                {
                    "content": {
                        "parts": [
                            {"text": "Hm", "thought": True, "thoughtSignature": "c2ln"},
                            {"text": "So", "thoughtSignature": "dHh0"},
                            {"functionCall": {"name": "f", "args": {"a": 1}, "id": "c1"}, "thoughtSignature": "Y2Fs"},
                            {"functionCall": {"name": "g"}},
                            {"inlineData": {"mimeType": "image/png", "data": "aGk="}},
                        ]
                    }
                }
            ],
            "responseId": "r",
        }
    )
    assert [block["type"] for block in message.content] == ["thinking", "text", "image_url"]
    assert message.content[0]["signature"] == "c2ln"
    assert [(call["name"], call["args"], call["id"]) for call in message.tool_calls] == [
        ("f", {"a": 1}, "c1"),
        ("g", {}, "r-3"),
    ]
    assert message.additional_kwargs == {"__gemini_function_call_thought_signatures__": {"c1": "Y2Fs"}}


def test_a_blocked_prompt_is_an_empty_message():
    message = to_message({"promptFeedback": {"blockReason": "SAFETY"}})
    assert (message.content, message.response_metadata["prompt_feedback"]) == ("", {"blockReason": "SAFETY"})


def job(state, **fields):
    stats = {"requestCount": "4", "pendingRequestCount": "1", "successfulRequestCount": "2", "failedRequestCount": "1"}
    return read_job({"name": "batches/1", "metadata": {"state": state, "batchStats": stats}, **fields})


@pytest.mark.parametrize("prefix", ["BATCH_STATE_", "JOB_STATE_"])
def test_states(prefix):
    assert job(f"{prefix}RUNNING").end is None
    assert job(f"{prefix}PAUSED").is_known
    assert not job(f"{prefix}DREAMING").is_known
    assert job(f"{prefix}RUNNING").progress() == InProgress(3, 4)
    assert isinstance(job(f"{prefix}EXPIRED").missing(), Expired)
    assert isinstance(job(f"{prefix}CANCELLED").missing(), Cancelled)
    assert job(f"{prefix}SUCCEEDED").missing().code == "missing_result"
    assert job(f"{prefix}PARTIALLY_SUCCEEDED").missing().code == "missing_result"


def test_a_failed_batch_says_why():
    failed = job("BATCH_STATE_FAILED", error={"code": 8, "message": "too many tokens, key AIzaSecret"}).missing()
    assert (failed.code, failed.retryable) == ("resource_exhausted", True)
    assert "too many tokens" in failed.message
    assert "AIzaSecret" not in failed.message
    assert job("BATCH_STATE_FAILED").missing().code == "batch_failed"


def test_results_are_found_where_they_may_be():
    assert job("BATCH_STATE_SUCCEEDED", response={"responsesFile": "files/1"}).responses_file == "files/1"
    assert job("x", response={"inlinedResponses": {"inlinedResponses": []}}).inlined == []
    for strange in (None, {}, {"name": 1}, []):
        assert read_job(strange) is None
