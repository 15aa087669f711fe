"""What a call that failed means to the engine. Pure: errors in, errors out; no key is ever in their text."""

from typing import Final

from openai import APIError, OpenAIError

from batch_bridge._models import Errored
from batch_bridge.errors import ProviderUnavailable, SubmissionRefused, SubmissionUnknown
from batch_bridge.providers._failure import (
    BAD_URL,
    UNSENT,
    NoCredentials,
    is_one_of,
    is_passing,
    retry_after,
    status_of,
    told,
)

__all__ = ["NoCredentials", "retry_after", "status_of"]

UNREACHABLE: Final = "unreachable"
"""The code of a request that could not be sent at all."""
INTERRUPTED: Final = "it may have been answered and billed all the same, so it was not sent again"
_CONFLICT, _TOO_MANY, _SERVER = 409, 429, 500
_UNAUTHORIZED, _FORBIDDEN, _NOT_FOUND, _TOO_LARGE = 401, 403, 404, 413
_ADVICE: Final = {
    _UNAUTHORIZED: "check OPENAI_API_KEY, or the api_key of the client",
    _FORBIDDEN: "check what the API key and its project may do",
    _NOT_FOUND: "check the client's base_url",
    _TOO_LARGE: "give FlushPolicy(max_bytes=…) a smaller number",
}


def is_gone(error: Exception) -> bool:
    """Tell whether the API itself says that there is no such thing; a 404 of a proxy's has no error in it."""
    return status_of(error) == _NOT_FOUND and isinstance(getattr(error, "body", None), dict) and _named(error)


def is_ended(error: Exception) -> bool:
    """Tell whether a cancellation was refused because there is nothing left to cancel."""
    return status_of(error) in (400, _NOT_FOUND, _CONFLICT)


def is_unsupported(error: Exception) -> bool:
    """Tell whether the server does not know this call at all."""
    return status_of(error) in (405, 501)


def unavailable(doing: str, error: Exception) -> ProviderUnavailable:
    """Return "later" for any failure of a call that changes nothing."""
    return ProviderUnavailable(_told(doing, error), retry_after=retry_after(error))


def of_upload(doing: str, error: Exception) -> Exception:
    """Judge a failure before anything was paid for: later, or never."""
    if isinstance(error, NoCredentials):
        return SubmissionRefused(_told(doing, error), code="no_api_key")
    if (status := status_of(error)) is not None and not is_passing(status):
        return SubmissionRefused(_told(doing, error), code=_code(error), status_code=status)
    if is_one_of(BAD_URL, error):
        return SubmissionRefused(f"{_told(doing, error)}; check the client's base_url", code="bad_base_url")
    if isinstance(error, APIError | OSError) or status is not None:
        return unavailable(doing, error)
    if isinstance(error, OpenAIError):
        return SubmissionRefused(_told(doing, error), code="no_api_key")
    return error if isinstance(error, TypeError | ValueError | LookupError) else unavailable(doing, error)


def of_create(doing: str, error: Exception) -> Exception:
    """Judge a failure of the call that pays: what was answered, or never sent, is known; the rest is not."""
    status = status_of(error)
    if status == _TOO_MANY or is_one_of(UNSENT, error):
        return unavailable(doing, error)
    if isinstance(error, NoCredentials) or (isinstance(error, OpenAIError) and not isinstance(error, APIError)):
        return SubmissionRefused(_told(doing, error), code="no_api_key")
    if status is not None and not is_passing(status) and 400 <= status < _SERVER:  # noqa: PLR2004
        return SubmissionRefused(_told(doing, error), code=_code(error), status_code=status)
    return SubmissionUnknown(f"{_told(doing, error)}; whether the batch was created will be looked up")


def of_call(doing: str, error: Exception) -> Errored:
    """Judge a failure of a call for one request that was answered with no HTTP status.

    Raises:
        Exception: The error itself, where it is the caller's.
    """
    told = _told(doing, error)
    if isinstance(error, NoCredentials) or (isinstance(error, OpenAIError) and not isinstance(error, APIError)):
        return Errored(told, code="no_api_key")
    if is_one_of(BAD_URL, error):
        return Errored(f"{told}; check the client's base_url", code="bad_base_url")
    if is_one_of(UNSENT, error):
        return Errored(told, code=UNREACHABLE, retryable=True)
    if isinstance(error, TypeError | ValueError | LookupError):
        raise error
    return Errored(f"{told}; {INTERRUPTED}", code="realtime_interrupted", retryable=True)


def _named(error: Exception) -> bool:
    body = getattr(error, "body", None)
    return isinstance(body, dict) and ("message" in body or "error" in body)


def _code(error: Exception) -> str:
    return str(getattr(error, "code", None) or getattr(error, "type", None) or "submit_failed")


def _told(doing: str, error: Exception) -> str:
    body = getattr(error, "body", None)
    return told(doing, error, body.get("message") if isinstance(body, dict) else None, _ADVICE)
