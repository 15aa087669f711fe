"""What a call that failed means to the engine. Pure: errors in, errors out; no key is ever in their text."""

from collections.abc import Mapping
from typing import Final

from anthropic import AnthropicError, APIError

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

UNREACHABLE: Final = "unreachable"
"""The code of a request that could not be sent at all."""
INTERRUPTED: Final = "it may have been answered and billed all the same, so it was not sent again"
_BAD_REQUEST, _NOT_FOUND, _CONFLICT, _TOO_MANY, _SERVER = 400, 404, 409, 429, 500
_ADVICE: Final = {
    401: "check ANTHROPIC_API_KEY, or the api_key of the client",
    403: "check what the API key and its workspace may do",
    404: "check the client's base_url",
    413: "give FlushPolicy(max_bytes=…) a smaller number",
}


def is_gone(error: Exception) -> bool:
    """Tell whether the API itself says that there is no such thing; a 404 of a proxy's has no error in it."""
    return status_of(error) == _NOT_FOUND and bool(said(getattr(error, "body", None))[0])


def is_ended(error: Exception) -> bool:
    """Tell whether a cancellation was refused because there is nothing left to cancel."""
    return status_of(error) in (_BAD_REQUEST, _NOT_FOUND, _CONFLICT)


def is_unsupported(error: Exception) -> bool:
    """Tell whether the server does not know this call at all."""
    return status_of(error) in (405, 501)


def unavailable(doing: str, error: Exception) -> ProviderUnavailable:
    """Return "later" for any failure of a call that changes nothing."""
    return ProviderUnavailable(_told(doing, error), retry_after=retry_after(error))


def of_prepare(doing: str, error: Exception) -> Exception:
    """Judge a failure before anything was paid for: later, or never."""
    if _is_keyless(error):
        return SubmissionRefused(_told(doing, error), code="no_api_key")
    if (status := status_of(error)) is not None and not is_passing(status):
        return SubmissionRefused(_told(doing, error), code=_code(error), status_code=status)
    if is_one_of(BAD_URL, error):
        return SubmissionRefused(f"{_told(doing, error)}; check the client's base_url", code="bad_base_url")
    return unavailable(doing, error)


def of_create(doing: str, error: Exception) -> Exception:
    """Judge a failure of the call that pays: what was answered, or never sent, is known; the rest is not."""
    status = status_of(error)
    if status == _TOO_MANY or is_one_of(UNSENT, error):
        return unavailable(doing, error)
    if _is_keyless(error):
        return SubmissionRefused(_told(doing, error), code="no_api_key")
    if status is not None and not is_passing(status) and _BAD_REQUEST <= status < _SERVER:
        return SubmissionRefused(_told(doing, error), code=_code(error), status_code=status)
    return SubmissionUnknown(f"{_told(doing, error)}; whether the batch was created will be looked up")


def of_call(doing: str, error: Exception) -> Errored:
    """Judge a failure of a call for one request that was answered with no HTTP status."""
    message = _told(doing, error)
    if _is_keyless(error):
        return Errored(message, code="no_api_key")
    if is_one_of(BAD_URL, error):
        return Errored(f"{message}; check the client's base_url", code="bad_base_url")
    if is_one_of(UNSENT, error):
        return Errored(message, code=UNREACHABLE, retryable=True)
    return Errored(f"{message}; {INTERRUPTED}", code="realtime_interrupted", retryable=True)


def said(body: object) -> tuple[str | None, str | None]:
    """Return the type and the message of an error as the API writes it."""
    error = body.get("error") if isinstance(body, Mapping) else None
    if not isinstance(error, Mapping):
        return None, None
    kind, message = error.get("type"), error.get("message")
    return (kind if isinstance(kind, str) else None), (message if isinstance(message, str) else None)


def _is_keyless(error: Exception) -> bool:
    """Tell whether there is no key: the SDK says so with a TypeError, or with an error that is none of the API's."""
    if isinstance(error, NoCredentials) or (isinstance(error, AnthropicError) and not isinstance(error, APIError)):
        return True
    return isinstance(error, TypeError) and "authentication" in str(error)


def _code(error: Exception) -> str:
    return said(getattr(error, "body", None))[0] or "submit_failed"


def _told(doing: str, error: Exception) -> str:
    return told(doing, error, said(getattr(error, "body", None))[1], _ADVICE)
