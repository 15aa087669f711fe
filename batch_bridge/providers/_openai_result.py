"""A line of a batch's output or error file as an outcome. Pure; total: no line makes it raise."""

from collections.abc import Mapping
from typing import Any, TypeGuard

from batch_bridge import _messages
from batch_bridge._models import Cancelled, Errored, Expired, Outcome, Succeeded
from batch_bridge.providers import _openai_chat, _openai_responses
from batch_bridge.providers._item import read_mark
from batch_bridge.providers._result import loads

EXPIRED = "the batch's completion window closed before this request ran; it was not billed, and can be sent again"
CANCELLED = "the batch was cancelled before this request ran; it was not billed, and can be sent again"


def read_line(line: bytes) -> tuple[str, Outcome] | None:
    """Return a request's id and its outcome, or `None` if the line tells of no request."""
    try:
        result = loads(line)
    except ValueError:
        return None
    if not isinstance(result, dict) or not isinstance(custom_id := result.get("custom_id"), str):
        return None
    request_id, wants_message = read_mark(custom_id)
    response = result.get("response")
    if response is None:
        return request_id, _never_ran(result.get("error"))
    if not isinstance(response, dict):
        return request_id, Errored("its line in the batch's output is no answer", code="unexpected_answer")
    status = response.get("status_code")
    if type(status) is not int:
        status = None
    body = response.get("body")
    if is_success(status):
        return request_id, answered(body, status, wants_message=wants_message)
    return request_id, failed(status, body, result.get("error"), response.get("request_id"))


def is_success(status: int | None) -> TypeGuard[int]:
    """Tell whether an HTTP status says that the request was answered."""
    return status is not None and 200 <= status < 300  # noqa: PLR2004


def answered(body: Any, status: int, *, wants_message: bool) -> Outcome:
    """Return the outcome of a request that was answered with a body."""
    return _message(body, status) if wants_message else Succeeded(body)


def is_retryable(status: int | None) -> bool:
    """Tell whether a request that ended with this HTTP status may succeed when it is sent again."""
    return status is None or status in (0, 408, 409, 429) or status >= 500  # noqa: PLR2004


def _never_ran(error: object) -> Outcome:
    code, message = _said(error)
    if code == "batch_expired":
        return Expired(message or EXPIRED)
    if code == "batch_cancelled":
        return Cancelled(message or CANCELLED)
    if code is None and message is None:
        return Errored(
            "the batch's output holds neither an answer nor an error for it", "missing_result", retryable=True
        )
    return Errored(message or f"the request did not run: {code}", code=code or "error")


def failed(status: int | None, body: Any, error: object, provider_request_id: object) -> Errored:
    """Return the outcome of a request that was answered with an error, or with nothing."""
    code, message = _said(body.get("error") if isinstance(body, Mapping) else None)
    if code is None and message is None:
        code, message = _said(error)
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


def _said(error: object) -> tuple[str | None, str | None]:
    """Return an error object's code, or else its type, and its message."""
    if isinstance(error, str) and error:
        return None, error
    if not isinstance(error, Mapping):
        return None, None
    code = next((error[name] for name in ("code", "type") if isinstance(error.get(name), str | int)), None)
    message = error.get("message")
    return (str(code) if code else None), (message if isinstance(message, str) and message else None)


def _message(body: Any, status: int) -> Outcome:
    if isinstance(body, Mapping) and body.get("error"):
        code, message = _said(body["error"])
        return Errored(message or "the model's answer is an error", code=code or "error", status_code=status)
    try:
        is_chat = "choices" in body
        answer = _openai_chat.to_message(body) if is_chat else _openai_responses.to_message(body)
        return Succeeded(_messages.encode(answer, what="the answer"))
    except Exception as error:  # noqa: BLE001  # whatever the body is, its neighbours have answers to be read
        cause = f"{type(error).__name__}: {error}"[:300]
        return Errored(
            f"the answer is neither a chat completion nor a response, so it is no message ({cause})",
            code="unexpected_answer",
            status_code=status,
        )
