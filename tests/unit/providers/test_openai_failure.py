import email.utils
import time

import httpx
import openai
import pytest

from batch_bridge.errors import ProviderUnavailable, SubmissionRefused, SubmissionUnknown
from batch_bridge.providers.openai import _failure as failure

REQUEST = httpx.Request("POST", "http://127.0.0.1/v1/batches")


def answered(status, *, headers=None, message="no", code=None):
    body = {"message": message, "type": "t", "code": code, "param": None}
    response = httpx.Response(status, headers=headers or {}, request=REQUEST)
    return openai.APIStatusError(f"Error code: {status} - {body}", response=response, body=body)


def broken(cause):
    error = (
        openai.APITimeoutError(REQUEST)
        if "Timeout" in type(cause).__name__
        else openai.APIConnectionError(request=REQUEST)
    )
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "upload", "create"),
    [
        (answered(400), SubmissionRefused, SubmissionRefused),
        (answered(401), SubmissionRefused, SubmissionRefused),
        (answered(403), SubmissionRefused, SubmissionRefused),
        (answered(413), SubmissionRefused, SubmissionRefused),
        (answered(408), ProviderUnavailable, SubmissionUnknown),
        (answered(409), ProviderUnavailable, SubmissionUnknown),
        (answered(429), ProviderUnavailable, ProviderUnavailable),
        (answered(500), ProviderUnavailable, SubmissionUnknown),
        (answered(503), ProviderUnavailable, SubmissionUnknown),
        (broken(httpx.ConnectError("refused")), ProviderUnavailable, ProviderUnavailable),
        (broken(httpx.ConnectTimeout("slow")), ProviderUnavailable, ProviderUnavailable),
        (broken(httpx.PoolTimeout("busy")), ProviderUnavailable, ProviderUnavailable),
        (broken(httpx.ReadTimeout("slow")), ProviderUnavailable, SubmissionUnknown),
        (broken(httpx.WriteError("cut")), ProviderUnavailable, SubmissionUnknown),
        (broken(httpx.RemoteProtocolError("cut")), ProviderUnavailable, SubmissionUnknown),
        (broken(RuntimeError("Event loop is closed")), ProviderUnavailable, SubmissionUnknown),
        (RuntimeError("Event loop is closed"), ProviderUnavailable, SubmissionUnknown),
        (OSError("disk full"), ProviderUnavailable, SubmissionUnknown),
        (openai.OpenAIError("Missing credentials."), SubmissionRefused, SubmissionRefused),
        (failure.NoCredentials("set OPENAI_API_KEY"), SubmissionRefused, SubmissionRefused),
    ],
)
def test_what_a_failed_call_means(error, upload, create):
    assert type(failure.of_upload("uploading", error)) is upload
    assert type(failure.of_create("creating", error)) is create


def test_a_refusal_carries_the_providers_code():
    refusal = failure.of_create(
        "creating the batch", answered(400, code="invalid_endpoint", message="No such endpoint.")
    )
    assert (refusal.code, refusal.status_code) == ("invalid_endpoint", 400)
    assert str(refusal) == "creating the batch was answered with 400: No such endpoint."


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after-ms": "250", "retry-after": "7"}, 0.25),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "-3"}, 0),
        ({"retry-after": "1e9"}, 3_600),
        ({"retry-after": "soon"}, None),
    ],
)
def test_retry_after_in_seconds(headers, seconds):
    assert failure.unavailable("polling", answered(429, headers=headers)).retry_after == seconds


def test_retry_after_as_a_date():
    headers = {"retry-after": email.utils.formatdate(time.time() + 60, usegmt=True)}
    assert 50 < failure.retry_after(answered(429, headers=headers)) <= 60


@pytest.mark.parametrize(
    "said",
    [
        "Incorrect API key provided: sk-proj-abcDEF123_*-x.yz. You can find your API key at https://x.",
        "Incorrect API key provided: my-own***cret. You can find your API key at https://x.",
        "bad header Authorization: Bearer abcDEF123",
    ],
)
def test_no_key_is_repeated(said):
    text = str(failure.unavailable("polling", answered(401, message=said)))
    for secret in ("abcDEF123", "my-own", "cret"):
        assert secret not in text
    assert "OPENAI_API_KEY" in text


def test_a_page_of_html_is_cut_short():
    assert len(str(failure.unavailable("polling", answered(502, message="<html>" * 1_000)))) < 700


def test_a_404_of_the_api_is_told_from_one_of_a_proxy():
    assert failure.is_gone(answered(404))
    response = httpx.Response(404, request=REQUEST)
    assert not failure.is_gone(openai.NotFoundError("x", response=response, body=None))
    assert not failure.is_gone(openai.NotFoundError("x", response=response, body={"detail": "Not Found"}))
    assert not failure.is_gone(answered(403))
