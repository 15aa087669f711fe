"""A line of a batch's output or error file as an outcome. Pure; total: no line makes it raise."""

from collections.abc import Mapping
from typing import Any, TypeGuard

from batch_bridge._models import Cancelled, Errored, Expired, Outcome, Succeeded
from batch_bridge.providers import _openai_chat, _openai_responses
from batch_bridge.providers._item import read_mark
from batch_bridge.providers._openai_error import read_error
from batch_bridge.providers._result import as_message, read_named

EXPIRED = "the batch's completion window closed before this request ran; it was not billed, and can be sent again"
CANCELLED = "the batch was cancelled before this request ran; it was not billed, and can be sent again"


_OK = 200
_LONGEST_STATUS = 4
_ANSWERS = ("choices", "output", "data", "results", "object")
"""Fields of which every answer has one."""
_PASSING = frozenset({"request_timeout", "server_error", "internal_error", "rate_limit_exceeded"})
"""Codes of lines that never ran, and may the next time."""


def read_line(line: bytes) -> tuple[str, Outcome] | None:
    """Return a request's id and its outcome, or `None` if the line tells of no request."""
    named = read_named(line, "custom_id")
    if named is None:
        return None
    custom_id, result, exact = named
    request_id, wants_message = read_mark(custom_id)
    if isinstance(result, Errored):
        return request_id, result
    response = result.get("response")
    if response is None:
        return request_id, _never_ran(result.get("error"))
    if not isinstance(response, dict):
        return request_id, Errored("its line in the batch's output is no answer", code="unexpected_answer")
    status, body, error = _status(response.get("status_code")), response.get("body"), result.get("error")
    if is_success(status):
        if is_error(body) or (not body and error):
            return request_id, failed(status, body, error, response.get("request_id"))
        return request_id, answered(body, status, wants_message=wants_message, exact=exact)
    if status is None and _is_answer(body) and not error:
        return request_id, answered(body, _OK, wants_message=wants_message, exact=exact)
    return request_id, failed(status, body, error, response.get("request_id"))


def is_success(status: int | None) -> TypeGuard[int]:
    """Tell whether an HTTP status says that the request was answered."""
    return status is not None and 200 <= status < 300  # noqa: PLR2004


def answered(body: Any, status: int, *, wants_message: bool, exact: bool = False) -> Outcome:
    """Return the outcome of a request that was answered with a body; `exact` is of `Succeeded`."""
    if body is None:
        return Errored(
            f"the request was answered with HTTP status {status} and no body", "missing_result", status, retryable=True
        )
    return _message(body, status, exact=exact) if wants_message else Succeeded(body, exact)


def is_error(body: Any) -> bool:
    """Return whether a body is an error and no answer; a response of the Responses API may hold one, and is both."""
    if not isinstance(body, Mapping):
        return False
    if body.get("object") == "error":
        return True
    return bool(body.get("error")) and not any(body.get(name) for name in _ANSWERS)


def _is_answer(body: Any) -> bool:
    return isinstance(body, Mapping) and not is_error(body) and any(body.get(name) for name in _ANSWERS)


def _status(given: object) -> int | None:
    """Return an HTTP status, which some servers write as a string, or as a float."""
    if isinstance(given, str) and given.strip().isdecimal() and len(given) < _LONGEST_STATUS:
        return int(given)
    if isinstance(given, float) and given.is_integer():
        return int(given)
    return given if type(given) is int else None


def is_retryable(status: int | None) -> bool:
    """Tell whether a request that ended with this HTTP status may succeed when it is sent again."""
    return status is None or status in (0, 408, 409, 429) or status >= 500  # noqa: PLR2004


def _never_ran(error: object) -> Outcome:
    code, message = read_error(error)
    if code == "batch_expired":
        return Expired(message or EXPIRED)
    if code == "batch_cancelled":
        return Cancelled(message or CANCELLED)
    if code is None and message is None:
        return Errored(
            "the batch's output holds neither an answer nor an error for it", "missing_result", retryable=True
        )
    return Errored(message or f"the request did not run: {code}", code=code or "error", retryable=code in _PASSING)


def failed(status: int | None, body: Any, error: object, provider_request_id: object) -> Errored:
    """Return the outcome of a request that was answered with an error, or with nothing."""
    code, message = read_error(
        body.get("error") if isinstance(body, Mapping) else body if isinstance(body, str) else None
    )
    if code is None and message is None:
        code, message = read_error(error)
    if message is None and isinstance(body, Mapping) and isinstance(body.get("message"), str):
        message = body["message"]
    answered = "no HTTP status" if not status else f"HTTP status {status}"
    return Errored(
        message or f"the request was answered with {answered}",
        code=code or (f"http_{status}" if status else "no_status"),
        status_code=status,
        retryable=is_retryable(status),
        body=body,
        provider_request_id=provider_request_id if isinstance(provider_request_id, str) else None,
    )


def _message(body: Any, status: int, *, exact: bool) -> Outcome:
    if isinstance(body, Mapping) and body.get("error"):
        code, message = read_error(body["error"])
        return Errored(message or "the model's answer is an error", code=code or "error", status_code=status)
    try:
        is_chat = "choices" in body
        answer = _openai_chat.to_message(body) if is_chat else _openai_responses.to_message(body)
        return as_message(answer, exact=exact)
    except Exception as error:  # noqa: BLE001  # whatever the body is, its neighbours have answers to be read
        cause = f"{type(error).__name__}: {error}"[:300]
        return Errored(
            f"the answer is neither a chat completion nor a response, so it is no message ({cause})",
            code="unexpected_answer",
            status_code=status,
        )
