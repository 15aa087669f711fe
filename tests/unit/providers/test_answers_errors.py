"""What a provider says when there is no answer, in whichever shape; and what is late is not missing."""

import json
from types import SimpleNamespace

import anthropic
import openai
import pytest
from google.genai import errors as gemini_errors
from openai._models import construct_type

from batch_bridge._core.models import Errored, Succeeded
from batch_bridge._core.policy.resubmission import is_transient
from batch_bridge.errors import ProviderUnavailable, SubmissionRefused
from batch_bridge.providers._shared.failures.error_classifier import FILE_VISIBILITY
from batch_bridge.providers._shared.failures.error_text import said
from batch_bridge.providers.anthropic import _failure as _anthropic_failure
from batch_bridge.providers.anthropic._result import read_pair, read_result
from batch_bridge.providers.gemini import _failure as _gemini_failure
from batch_bridge.providers.gemini._job import read_job
from batch_bridge.providers.gemini._result import GeminiUsageTotal, read_error
from batch_bridge.providers.gemini._result import read_line as read_gemini
from batch_bridge.providers.openai import _failure as _openai_failure
from batch_bridge.providers.openai._batch import read_batch
from batch_bridge.providers.openai._batch_calls import _mistral
from batch_bridge.providers.openai._result import read_line

ID = "0123456789abcdef" * 2
TAGGED = f"{ID}_{'0' * 24}"
COMPLETION = {"choices": [{"message": {"content": "Hi"}}]}


def openai_outcome(response, error=None):
    line = json.dumps({"custom_id": ID, "response": response, "error": error})
    request_id, outcome = read_line(line.encode())
    assert request_id == ID
    return outcome


# -- shapes of errors --------------------------------------------------------------------------------------------------

SHAPES = [
    ({"message": "no", "code": "c"}, ("c", "no")),
    ({"message": "no", "type": "t", "code": None}, ("t", "no")),
    ({"error": {"message": "no", "type": "BadRequestError", "code": 400}}, ("400", "no")),
    ({"error": {"error": {"message": "no", "type": "t"}}}, ("t", "no")),
    ({"error": {"error": {"error": {"message": "no"}}}}, (None, "no")),
    ({"error": "no"}, (None, "no")),
    ({"error": {"error": "no"}}, (None, "no")),
    ("no", (None, "no")),
    (["no", {"message": "never", "code": "c"}], ("c", "no; never")),
    ({"errors": [{"message": "no", "code": "c"}]}, ("c", "no")),
    ({"errors": "no"}, (None, "no")),
    ({"errors": ["no"]}, (None, "no")),
    ({"detail": [{"loc": ["body"], "msg": "no", "type": "missing"}]}, ("missing", "no")),
    ({"detail": "no"}, (None, "no")),
    ({"message": {"detail": [{"msg": "no"}]}}, (None, "no")),
    ({"object": "error", "message": "no", "type": "t"}, ("t", "no")),
]


@pytest.mark.parametrize(("error", "told"), SHAPES, ids=[json.dumps(error) for error, _ in SHAPES])
def test_an_error_is_read_in_whichever_shape(error, told):
    assert said(error) == told
    line = openai_outcome({"status_code": 400, "body": error})
    assert (line.message, line.code) == ("no; never" if told[1] == "no; never" else "no", told[0] or "http_400")
    never = openai_outcome(None, error)
    assert (never.message, never.code) == (told[1], told[0] or "error")


@pytest.mark.parametrize(
    "error", [None, 7, [], {}, "", [[[]]], {"error": None}, {"errors": {}}, {"a": {"message": "x"}}]
)
def test_what_says_nothing_says_nothing(error):
    assert said(error) == (None, None)


@pytest.mark.parametrize(
    "body",
    [
        {"error": {"error": {"message": "no such model"}}},
        {"error": "no such model"},
        {"errors": ["no such model"]},
        {"errors": "no such model"},
        {"detail": [{"msg": "no such model"}]},
    ],
    ids=json.dumps,
)
def test_an_http_error_says_what_the_provider_said(body):
    response = SimpleNamespace(status_code=400, request=None, headers={})
    of_openai = openai.OpenAI(api_key="k")._make_status_error("refused", body=body, response=response)
    assert "no such model" in str(_openai_failure.of_create("creating the batch", of_openai))
    of_anthropic = anthropic.BadRequestError("refused", response=response, body=body)
    assert "no such model" in str(_anthropic_failure.of_create("creating the batch", of_anthropic))
    try:
        of_gemini = gemini_errors.ClientError(400, body, None)
    except AttributeError:
        pytest.skip("this google-genai cannot read such an error itself")
    assert "no such model" in str(_gemini_failure.of_create("creating the batch", of_gemini))


@pytest.mark.parametrize(
    "fields",
    [
        {"errors": {"object": "list", "data": [{"code": "c", "message": "too long", "line": 3}]}},
        {"errors": [{"code": "c", "message": "too long", "line": 3}]},
        {"errors": ["too long"]},
        {"errors": "too long"},
        {"errors": {"message": "too long"}},
        {"error": "too long"},
        {"error": {"error": {"message": "too long"}}},
    ],
    ids=json.dumps,
)
def test_a_failed_batch_says_why_in_whichever_shape(fields):
    seen = {"id": "b", "object": "batch", "status": "failed", **fields}
    for batch in (
        read_batch(construct_type(value=seen, type_=openai.types.Batch)),
        read_batch(SimpleNamespace(**seen)),
        read_batch(_mistral(seen)) if "errors" in fields else None,
    ):
        if batch is not None:
            assert "too long" in batch.missing().message


def test_a_status_of_googles_is_read_in_whichever_shape():
    for error in (
        {"code": 3, "message": "no"},
        {"error": {"code": 3, "message": "no"}},
        [{"error": {"code": 3, "message": "no"}}],
    ):
        outcome = read_error(error)
        assert (outcome.message, outcome.code, outcome.status_code) == ("no", "invalid_argument", 400)
    assert read_error("no").message == "no"


# -- a status that says otherwise than the body ----------------------------------------------------------------------------


@pytest.mark.parametrize("status", [200, 200.0, "200", "201", None, "OK", {}])
def test_a_good_body_is_an_answer_whatever_its_status_is_written_as(status):
    assert openai_outcome({"status_code": status, "body": COMPLETION}) == Succeeded(COMPLETION)
    assert openai_outcome({"body": COMPLETION}) == Succeeded(COMPLETION)


@pytest.mark.parametrize("status", [400, "400", 400.0, 0, "0"])
def test_a_status_that_is_no_success_stays_one(status):
    outcome = openai_outcome({"status_code": status, "body": COMPLETION})
    assert (type(outcome), outcome.status_code) == (Errored, int(float(status)))


ERRORS_AS_ANSWERS = [
    {"error": {"message": "no", "code": "c"}},
    {"error": {"error": {"message": "no", "code": "c"}}},
    {"object": "error", "message": "no", "code": "c"},
    {"error": {"message": "no", "code": "c"}, "choices": []},
]


@pytest.mark.parametrize("body", ERRORS_AS_ANSWERS, ids=json.dumps)
@pytest.mark.parametrize("status", [200, "200", None])
def test_an_error_with_a_good_status_is_a_failure(body, status):
    outcome = openai_outcome({"status_code": status, "body": body})
    assert (type(outcome), outcome.message, outcome.code, outcome.body) == (Errored, "no", "c", body)


def test_no_body_and_an_error_is_a_failure_with_its_message():
    outcome = openai_outcome({"status_code": 200, "body": None}, {"code": "c", "message": "no"})
    assert (outcome.message, outcome.code) == ("no", "c")
    outcome = openai_outcome({"status_code": 200, "body": None})
    assert (outcome.message, outcome.code) == (
        "the request was answered with HTTP status 200 and no answer",
        "unexpected_answer",
    )


def test_a_response_that_failed_is_told_by_itself_as_the_sdk_tells_it():
    body = {"object": "response", "status": "failed", "error": {"code": "server_error", "message": "no"}, "output": []}
    assert openai_outcome({"status_code": 200, "body": body}) == Succeeded(body)


def test_the_siblings_know_an_error_in_place_of_an_answer():
    error = {"type": "error", "error": {"type": "overloaded_error", "message": "no"}}
    for result in (
        {"type": "succeeded", "message": error},
        {"type": "succeeded", "message": None, "error": error},
        {"type": "errored", "error": {"error": error}},
    ):
        _, outcome = read_pair(read_result(json.dumps({"custom_id": TAGGED, "result": result}).encode()))
        assert (type(outcome), outcome.message, outcome.code) == (Errored, "no", "overloaded_error"), result
    for response in ({"error": {"code": 8, "message": "no"}}, {"error": {"error": {"code": 8, "message": "no"}}}):
        _, outcome = read_gemini(json.dumps({"key": ID, "response": response}).encode(), GeminiUsageTotal("m"))
        assert (type(outcome), outcome.message, outcome.code) == (Errored, "no", "resource_exhausted"), response


@pytest.mark.parametrize("code", ["request_timeout", "server_error", "rate_limit_exceeded"])
def test_a_line_that_never_ran_for_a_passing_cause_is_sent_again(code):
    outcome = openai_outcome(None, {"code": code, "message": "no"})
    assert (outcome.code, is_transient(outcome)) == (code, True)
    assert not is_transient(openai_outcome(None, {"code": "invalid_request", "message": "no"}))


@pytest.mark.parametrize("code", ["unreadable_answer", "unmatched_result", "missing_result"])
def test_what_may_have_been_paid_for_is_not_sent_again_by_itself(code):
    assert not is_transient(Errored("x", code=code, retryable=True))


# -- what is late ----------------------------------------------------------------------------------------------------------


def counts(completed, failed, total):
    return SimpleNamespace(completed=completed, failed=failed, total=total)


@pytest.mark.parametrize(
    ("status", "request_counts", "output", "errors", "late"),
    [
        ("completed", counts(3, 0, 3), None, None, True),
        ("completed", counts(0, 0, 0), None, None, True),
        ("completed", counts(0, 0, 3), None, None, True),
        ("completed", counts(None, None, None), None, None, True),
        ("completed", None, None, None, True),
        ("completed", None, None, "file-e", False),
        ("completed", counts(0, 3, 3), None, None, True),
        ("completed", counts(0, 3, 3), None, "file-e", False),
        ("completed", counts(2, 1, 3), None, "file-e", True),
        ("completed", None, "file-o", None, False),
        ("completed", counts(0, 0, 0), "file-o", None, False),
        ("completed", counts(2, 1, 3), "file-o", None, False),
        ("expired", counts(2, 0, 3), None, "file-e", True),
        ("expired", counts(0, 0, 3), None, "file-e", False),
        ("cancelled", counts(2, 0, 3), None, None, True),
        ("cancelled", counts(0, 0, 0), None, None, False),
        ("failed", counts(0, 0, 0), None, None, False),
        ("in_progress", counts(3, 0, 3), None, None, False),
    ],
)
def test_when_the_file_of_an_ended_batch_is_late(status, request_counts, output, errors, late):
    seen = SimpleNamespace(
        id="b", status=status, request_counts=request_counts, output_file_id=output, error_file_id=errors
    )
    assert read_batch(seen).awaits_file is late


@pytest.mark.parametrize("state", ["SUCCEEDED", "PARTIALLY_SUCCEEDED"])
@pytest.mark.parametrize("stats", [{}, {"requestCount": "3"}, {"requestCount": "3", "successfulRequestCount": "3"}])
def test_when_the_results_of_a_batch_of_geminis_are_late(state, stats):
    metadata = {"state": f"BATCH_STATE_{state}", "batchStats": stats}
    assert read_job({"name": "batches/1", "metadata": metadata}).awaits_results
    there = {"output": {"responsesFile": "files/1"}}
    assert not read_job({"name": "batches/1", "metadata": metadata | there}).awaits_results


UNSEEN = [
    (404, "No such File object: file-1"),
    (400, "No such File object: file-1"),
    (400, "cannot find file file-1"),
    (400, "Could not find the input file with id file-1"),
    (404, "File 'file-1' not found"),
    (422, "input file file-1 does not exist"),
    (400, "Invalid input_file_id: file-1 was not found"),
]


def refusal(status, message):
    response = SimpleNamespace(status_code=status, request=None, headers={})
    return openai.APIStatusError("refused", response=response, body={"message": message})


@pytest.mark.parametrize(("status", "message"), UNSEEN)
def test_a_file_that_was_just_uploaded_and_is_not_found_is_found_later(status, message):
    judged = _openai_failure.of_create("creating the batch", refusal(status, message), age=5)
    assert isinstance(judged, ProviderUnavailable)
    for age in (FILE_VISIBILITY + 1, None):
        judged = _openai_failure.of_create("creating the batch", refusal(status, message), age=age)
        assert isinstance(judged, SubmissionRefused)


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (404, "The model `x` does not exist"),
        (404, "The API deployment for this resource does not exist."),
        (400, "Invalid file format of file-1: line 3 is no JSON"),
        (400, "the file's purpose is 'evals' and must be 'batch'"),
        (401, "cannot find file file-1"),
    ],
)
def test_any_other_refusal_of_a_create_stays_one(status, message):
    judged = _openai_failure.of_create("creating the batch", refusal(status, message), age=5)
    assert isinstance(judged, SubmissionRefused)


def test_geminis_file_that_may_not_exist_is_found_later():
    said = "You do not have permission to access the File x or it may not exist."
    error = gemini_errors.ClientError(
        403, {"error": {"code": 403, "message": said, "status": "PERMISSION_DENIED"}}, None
    )
    assert isinstance(_gemini_failure.of_create("creating the batch", error, age=5), ProviderUnavailable)
    assert isinstance(_gemini_failure.of_create("creating the batch", error, age=900), SubmissionRefused)
