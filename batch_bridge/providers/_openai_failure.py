"""What a call that failed means to the engine. Pure: errors in, errors out; no key is ever in their text."""

import math
import re
import time
from email.utils import parsedate_to_datetime
from typing import Final

from openai import APIConnectionError, APIError, OpenAIError

from batch_bridge.errors import ProviderUnavailable, SubmissionRefused, SubmissionUnknown

_REQUEST_TIMEOUT, _CONFLICT, _TOO_MANY, _SERVER = 408, 409, 429, 500
_UNAUTHORIZED, _FORBIDDEN, _NOT_FOUND, _TOO_LARGE = 401, 403, 404, 413
_BAD_URL: Final = frozenset({"UnsupportedProtocol", "InvalidURL"})
_UNSENT: Final = frozenset({"ConnectError", "ConnectTimeout", "PoolTimeout", "ProxyError", *_BAD_URL})
"""Errors of the HTTP library, by name as there are two of them, that come before a request is sent."""
_LONGEST_PAUSE: Final = 3_600.0
"""Seconds beyond which no `Retry-After` is believed."""
_LONGEST_TEXT: Final = 500
_SECRETS: Final = (
    (re.compile(r"\b(?:sk|sess|rk|pk|ek)-[\w*.\-]+"), "***"),
    (re.compile(r"(?i)(key provided: )\S+"), r"\1***."),
    (re.compile(r"(?i)\b(bearer )\S+"), r"\1***"),
)
_ADVICE: Final = {
    _UNAUTHORIZED: "check OPENAI_API_KEY, or the api_key of the client",
    _FORBIDDEN: "check what the API key and its project may do",
    _NOT_FOUND: "check the client's base_url",
    _TOO_LARGE: "give FlushPolicy(max_bytes=…) a smaller number",
}


class NoCredentials(Exception):  # a fact, told apart below
    """There is no API key to make a client with."""


def status_of(error: Exception) -> int | None:
    """Return the HTTP status that a call was answered with, if it was."""
    status = getattr(error, "status_code", None)
    return status if isinstance(status, int) else None


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
    if (status := status_of(error)) is not None and not _is_passing(status):
        return SubmissionRefused(_told(doing, error), code=_code(error), status_code=status)
    if _is_one_of(_BAD_URL, error):
        return SubmissionRefused(f"{_told(doing, error)}; check the client's base_url", code="bad_base_url")
    if isinstance(error, APIError | OSError) or status is not None:
        return unavailable(doing, error)
    if isinstance(error, OpenAIError):
        return SubmissionRefused(_told(doing, error), code="no_api_key")
    return error if isinstance(error, TypeError | ValueError | LookupError) else unavailable(doing, error)


def of_create(doing: str, error: Exception) -> Exception:
    """Judge a failure of the call that pays: what was answered, or never sent, is known; the rest is not."""
    status = status_of(error)
    if status == _TOO_MANY or _is_one_of(_UNSENT, error):
        return unavailable(doing, error)
    if isinstance(error, NoCredentials) or (isinstance(error, OpenAIError) and not isinstance(error, APIError)):
        return SubmissionRefused(_told(doing, error), code="no_api_key")
    if status is not None and not _is_passing(status) and 400 <= status < _SERVER:  # noqa: PLR2004
        return SubmissionRefused(_told(doing, error), code=_code(error), status_code=status)
    return SubmissionUnknown(f"{_told(doing, error)}; whether the batch was created will be looked up")


def retry_after(error: Exception) -> float | None:
    """Return the seconds that the provider asked to be left alone, if it said so."""
    headers = getattr(getattr(error, "response", None), "headers", None)
    if headers is None:
        return None
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        try:
            seconds = float(headers.get(name, "")) * unit
        except ValueError:
            continue
        return min(max(seconds, 0.0), _LONGEST_PAUSE) if math.isfinite(seconds) else None
    try:
        seconds = parsedate_to_datetime(headers.get("retry-after", "")).timestamp() - time.time()
    except (TypeError, ValueError, OverflowError):
        return None
    return min(max(seconds, 0.0), _LONGEST_PAUSE)


def masked(text: str) -> str:
    """Return a text without API keys; OpenAI's own 401 repeats a part of the key."""
    for pattern, mask in _SECRETS:
        text = pattern.sub(mask, text)
    return text if len(text) <= _LONGEST_TEXT else text[:_LONGEST_TEXT] + "…"


def _is_passing(status: int) -> bool:
    return status in (_REQUEST_TIMEOUT, _CONFLICT, _TOO_MANY) or status >= _SERVER


def _is_one_of(names: frozenset[str], error: Exception) -> bool:
    cause = error.__cause__ if isinstance(error, APIConnectionError) else error
    return any(kind.__name__ in names for kind in type(cause).__mro__)


def _named(error: Exception) -> bool:
    body = getattr(error, "body", None)
    return isinstance(body, dict) and ("message" in body or "error" in body)


def _code(error: Exception) -> str:
    return str(getattr(error, "code", None) or getattr(error, "type", None) or "submit_failed")


def _told(doing: str, error: Exception) -> str:
    status = status_of(error)
    if status is None:
        cause = error.__cause__ if isinstance(error, APIConnectionError) else None
        reason = f"{type(cause).__name__}: {cause}" if cause is not None and str(cause) else str(error)
        return masked(f"{doing} failed: {reason or type(error).__name__}")
    body = getattr(error, "body", None)
    said = body.get("message") if isinstance(body, dict) else None
    text = masked(f"{doing} was answered with {status}: {said or error}")
    return f"{text.rstrip('.')}; {_ADVICE[status]}" if status in _ADVICE else text
