"""An outcome as what the OpenAI client returns, or as the exception that it raises."""

from typing import Any, Final, assert_never

import openai
from openai import APIError, OpenAIError

from batch_bridge._core import outcomes as _outcome
from batch_bridge._core.json import text as _text
from batch_bridge._core.models import JSON, Cancelled, Errored, Expired, Outcome, Succeeded
from batch_bridge.errors import RequestCancelled, RequestError, RequestExpired, RequestFailed

if int(openai.__version__.split(".")[0]) >= 3:  # noqa: PLR2004
    import httpx2 as httpx
else:
    import httpx  # type: ignore[no-redef]

_SMALLEST_ERROR: Final = 300
"""HTTP statuses from here on have an exception of the SDK's."""


class OpenAIRequestFailed(RequestFailed, APIError):  # type: ignore[misc]  # `code` is never None here
    """A request that failed without an HTTP status: of the SDK's errors and of ours."""


class OpenAIRequestExpired(RequestExpired, APIError):  # type: ignore[misc]  # `code` is never None here
    """A request that expired: of the SDK's errors and of ours."""


class OpenAIRequestCancelled(RequestCancelled, APIError):  # type: ignore[misc]  # `code` is never None here
    """A request that was cancelled: of the SDK's errors and of ours."""


def answer_of(client: Any, endpoint: str, ended: tuple[str, Outcome]) -> dict[str, JSON]:
    """Return the response's body. `ended` is a request's id and its outcome.

    Raises:
        APIStatusError: The line has an HTTP status: the SDK's own exception for it, caused by a `RequestFailed`.
        RequestFailed, RequestExpired, RequestCancelled: It has none. Each is an `openai.APIError` too.
    """
    request_id, outcome = ended
    if not isinstance(outcome, Succeeded):
        raise _error(client, endpoint, request_id, outcome)
    if not isinstance(outcome.answer, dict):
        kind = type(outcome.answer).__name__
        strange = Errored(
            f"the bridge answered with a {kind}, and the OpenAI client needs the response's body, a dict; let poll "
            "return that",
            code="unexpected_answer",
        )
        raise _error(client, endpoint, request_id, strange)
    return outcome.answer


def response(client: Any, endpoint: str, status: int, body: JSON, headers: dict[str, str]) -> "httpx.Response":
    """Return an HTTP response as if the call had been made at once.

    Args:
        client: The SDK's.
        endpoint: Where the call would have gone.
        status: Its HTTP status.
        body: What was answered.
        headers: The request's; the SDK tells by them what is wanted.
    """
    return httpx.Response(
        status,
        content=body.encode() if isinstance(body, str) else _text.write(body),
        headers={"content-type": "text/plain" if isinstance(body, str) else "application/json"},
        request=_request(client, endpoint, headers),
    )


def _request(client: Any, endpoint: str, headers: dict[str, str]) -> "httpx.Request":
    base_url = str(client.base_url).rstrip("/")
    return httpx.Request("POST", base_url + endpoint.removeprefix("/v1"), headers=headers)


def _error(client: Any, endpoint: str, request_id: str, outcome: Errored | Expired | Cancelled) -> Exception:
    told = _outcome.to_error(request_id, outcome)
    if isinstance(outcome, Errored) and (outcome.status_code or 0) >= _SMALLEST_ERROR:
        error = _status_error(client, endpoint, outcome)
        error.__cause__ = told
        return error
    match outcome:
        case Errored():
            return _both(OpenAIRequestFailed, told, _request(client, endpoint, {}), outcome.body)
        case Expired():
            return _both(OpenAIRequestExpired, told, _request(client, endpoint, {}), None)
        case Cancelled():
            return _both(OpenAIRequestCancelled, told, _request(client, endpoint, {}), None)
        case _:
            assert_never(outcome)


def _both(kind: Any, told: RequestError, request: "httpx.Request", body: JSON) -> Exception:
    """Return an error that is one of the SDK's and one of ours, with the attributes of both."""
    error = kind.__new__(kind)
    APIError.__init__(error, str(told), request, body=body)
    error.__dict__.update(told.__dict__)
    assert isinstance(error, Exception)  # noqa: S101
    return error


def _status_error(client: Any, endpoint: str, outcome: Errored) -> OpenAIError:
    status = outcome.status_code
    assert status is not None  # noqa: S101  # asked by the caller
    body = outcome.body
    if body is None:
        body = {"error": {"message": outcome.message, "code": outcome.code, "type": None, "param": None}}
    told = response(client, endpoint, status, body, {})
    if outcome.provider_request_id is not None:
        told.headers["x-request-id"] = outcome.provider_request_id
    error: OpenAIError = client._make_status_error_from_response(told)  # noqa: SLF001  # the SDK's own table
    return error
