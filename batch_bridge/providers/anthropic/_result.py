"""A line of a batch's results as an outcome. Pure; total: no line makes it raise."""

from collections.abc import Mapping
from typing import Any, Final

from batch_bridge._core.json import messages as _messages
from batch_bridge._core.models import Cancelled, Errored, Expired, Outcome, Succeeded
from batch_bridge.providers._shared.failures.error_text import is_error
from batch_bridge.providers._shared.results.result import loads
from batch_bridge.providers.anthropic._failure import said
from batch_bridge.providers.anthropic._handle import read_custom_id
from batch_bridge.providers.anthropic._messages import to_message

EXPIRED: Final = "the batch's 24 hours were over before this request ran; it was not billed, and can be sent again"
CANCELLED: Final = "the batch was cancelled before this request ran; it was not billed, and can be sent again"
_STATUSES: Final = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "api_error": 500,
    "timeout_error": 504,
    "overloaded_error": 529,
}
"""A result that is an error has a type, and no HTTP status.

Source: platform.claude.com/docs/en/api/errors, "HTTP errors".
"""


def read_pair(result: Mapping[str, Any]) -> tuple[str, Outcome] | None:
    """Return a request's id and its outcome, or `None` if the result is of no request of ours."""
    named = read_custom_id(result["custom_id"])
    if named is None:
        return None
    request_id, _, wants_message = named
    return request_id, _outcome(result.get("result"), wants_message=wants_message)


def read_result(line: bytes) -> Mapping[str, Any] | None:
    """Return what a line holds, if that has a `custom_id`."""
    try:
        result = loads(line)
    except ValueError:
        return None
    return result if isinstance(result, dict) and isinstance(result.get("custom_id"), str) else None


def answered(body: Any, *, wants_message: bool) -> Outcome:
    """Return the outcome of a request that was answered with a body; an error may be one."""
    if body is None or is_error(body):
        return failed(body)
    if not wants_message:
        return Succeeded(body)
    try:
        return Succeeded(_messages.encode_answer(to_message(body)))
    except Exception as error:  # noqa: BLE001  # whatever the body is, its neighbours have answers to be read
        cause = f"{type(error).__name__}: {error}"[:300]
        return Errored(f"the answer is not a message ({cause})", code="unexpected_answer")


def failed(body: Any, status: int | None = None) -> Errored:
    """Return the outcome of a request that was answered with an error."""
    kind, message = said(body)
    status = status or _STATUSES.get(kind or "")
    named = body.get("request_id") if isinstance(body, Mapping) else None
    return Errored(
        message or "the request was answered with an error that does not say which",
        code=kind or "error",
        status_code=status,
        retryable=status is None or status in (408, 409, 429) or status >= 500,  # noqa: PLR2004
        body=body,
        provider_request_id=named if isinstance(named, str) else None,
    )


def _outcome(result: Any, *, wants_message: bool) -> Outcome:
    kind = result.get("type") if isinstance(result, Mapping) else None
    match kind:
        case "succeeded" if result.get("message") is not None or not result.get("error"):
            return answered(result.get("message"), wants_message=wants_message)
        case "errored" | "succeeded":
            return failed(_whole(result.get("error")))
        case "expired":
            return Expired(EXPIRED)
        case "canceled":
            return Cancelled(CANCELLED)
        case _:
            return Errored(f"its line in the batch's results is of the type {kind!r}", code="unexpected_answer")


def _whole(error: Any) -> Any:
    """Return an error in the form that the API uses outside of batches, also if only its inner part is given."""
    if isinstance(error, Mapping) and "error" not in error and "message" in error:
        return {"type": "error", "error": error}
    return error
