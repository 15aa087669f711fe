"""What a call of Gemini's that failed means to the engine."""

import httpx
import pytest
from google.genai.errors import ClientError, ServerError

from batch_bridge.errors import ProviderUnavailable, SubmissionRefused, SubmissionUnknown
from batch_bridge.providers.gemini import _failure as failure


def answered(status, message="no", name="X", details=(), headers=None):
    body = {"error": {"code": status, "message": message, "status": name, "details": list(details)}}
    kind = ClientError if status < 500 else ServerError
    return kind(status, body, httpx.Response(status, headers=headers or {}))


@pytest.mark.parametrize(
    "error", [answered(429), httpx.ConnectError("no"), httpx.ConnectTimeout("no"), httpx.PoolTimeout("no")]
)
def test_a_create_that_was_not_taken_may_be_repeated(error):
    assert isinstance(failure.of_create("creating", error), ProviderUnavailable)


@pytest.mark.parametrize(
    "error",
    [
        answered(500),
        answered(503),
        answered(408),
        httpx.ReadTimeout("no"),
        httpx.RemoteProtocolError("no"),
        ValueError("x"),
    ],
)
def test_a_create_whose_end_was_not_seen_is_unknown(error):
    assert isinstance(failure.of_create("creating", error), SubmissionUnknown)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 413])
def test_a_create_that_was_refused_will_be_again(status):
    refused = failure.of_create("creating", answered(status, name="PERMISSION_DENIED"))
    assert isinstance(refused, SubmissionRefused)
    assert (refused.code, refused.status_code) == ("permission_denied", status)


def test_an_upload_that_failed_is_later_or_never():
    for error in (answered(500), answered(429), httpx.ReadTimeout("no"), KeyError("x")):
        assert isinstance(failure.of_upload("uploading", error), ProviderUnavailable)
    for error in (answered(400), failure.NoCredentials("no key"), httpx.UnsupportedProtocol("x")):
        assert isinstance(failure.of_upload("uploading", error), SubmissionRefused)


@pytest.mark.parametrize(
    ("details", "headers", "seconds"),
    [
        ([{"@type": "RetryInfo", "retryDelay": "17s"}], {}, 17.0),
        ([{"@type": "RetryInfo", "retryDelay": "0.5s"}], {"retry-after": "9"}, 0.5),
        ([{"@type": "Help"}], {"retry-after": "9"}, 9.0),
        ([], {}, None),
        ([{"retryDelay": "inf"}], {}, None),
        ([{"retryDelay": "999999s"}], {}, 3600.0),
        (["x"], {"retry-after": "soon"}, None),
    ],
)
def test_how_long_to_wait(details, headers, seconds):
    assert failure.retry_after(answered(429, details=details, headers=headers)) == seconds


def test_what_is_gone_is_told_from_what_is_forbidden():
    assert failure.is_gone(answered(404))
    assert failure.is_gone(answered(403, "You do not have permission to access the File x or it may not exist."))
    assert not failure.is_gone(answered(403, "API key not valid"))
    assert not failure.is_gone(ClientError(404, {"message": "Not Found"}, httpx.Response(404)))
    assert not failure.is_gone(ValueError("x"))


def test_no_key_is_in_what_is_told():
    for error in (
        answered(400, "API key AIzaSyVerySecret is wrong"),
        httpx.ReadTimeout("https://x/v1beta/models?key=AIzaSyVerySecret"),
    ):
        assert "VerySecret" not in str(failure.unavailable("polling", error))
