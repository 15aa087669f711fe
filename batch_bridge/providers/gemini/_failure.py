"""What a call that failed means to the engine. Pure: errors in, errors out; no key is ever in their text."""

import math
from collections.abc import Mapping
from typing import Any, Final

from google.genai.errors import APIError

from batch_bridge.providers._shared.clean_text import masked
from batch_bridge.providers._shared.failures.error_classifier import ErrorClassifier
from batch_bridge.providers._shared.failures.error_text import said
from batch_bridge.providers._shared.failures.failure import NoCredentials

__all__ = ["NoCredentials", "masked"]

_UNAUTHORIZED, _FORBIDDEN, _NOT_FOUND, _TOO_LARGE = 401, 403, 404, 413
_LONGEST_PAUSE: Final = 3_600.0
"""Seconds beyond which no wish to be left alone is believed."""
_ADVICE: Final = {
    _UNAUTHORIZED: "check GEMINI_API_KEY, or the api_key of the client",
    _FORBIDDEN: "check what the API key and its project may do",
    _NOT_FOUND: "check the model's name, and the client's base_url",
    _TOO_LARGE: "set FlushPolicy(max_bytes=…) to a smaller number",
}


def status_of(error: Exception) -> int | None:
    """Return the HTTP status that a call was answered with, if it was."""
    return error.code if isinstance(error, APIError) and isinstance(error.code, int) else None


def is_gone(error: Exception) -> bool:
    """Return whether the API itself says that the object does not exist.

    Of a file that does not exist the API says 403, "or it may not exist"; a 404 of a proxy's has no error in it.
    """
    held = said_by(error)
    if held is None:
        return False
    status = status_of(error)
    return status == _NOT_FOUND or (status == _FORBIDDEN and "may not exist" in str(held.get("message")))


def retry_after(error: Exception) -> float | None:
    """Return the seconds that the provider asked to be left alone, if it said so: in its error, or in a header."""
    details = (said_by(error) or {}).get("details")
    wishes = [each.get("retryDelay") for each in details if isinstance(each, Mapping)] if type(details) is list else []
    headers = getattr(getattr(error, "response", None), "headers", None) or {}
    for wish in (*wishes, headers.get("retry-after")):
        try:
            seconds = float(str(wish).removesuffix("s"))
        except ValueError:
            continue
        if math.isfinite(seconds):
            return min(max(seconds, 0.0), _LONGEST_PAUSE)
    return None


def said_by(error: Exception) -> Mapping[str, Any] | None:
    """Return the error object of the API's answer, if it has one."""
    details = getattr(error, "details", None)
    held = details.get("error") if isinstance(details, Mapping) else None
    return held if isinstance(held, Mapping) else None


def words_of(error: Exception) -> str:
    """Return what the API, or a gateway before it, has said in an error."""
    return said(getattr(error, "details", None))[1] or getattr(error, "message", None) or "no message"


def told(doing: str, error: Exception) -> str:
    """Return what went wrong, for a person, without keys."""
    status = status_of(error)
    if status is None:
        reason = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        return masked(f"{doing} failed: {reason}")
    text = masked(f"{doing} was answered with {status}: {words_of(error)}")
    return f"{text.rstrip('.')}; {_ADVICE[status]}" if status in _ADVICE else text


def _code(error: Exception) -> str:
    status = getattr(error, "status", None)
    return status.lower() if isinstance(status, str) and status else "submit_failed"


def _is_keyless(error: Exception) -> bool:
    return isinstance(error, NoCredentials)


CLASSIFIER: Final = ErrorClassifier(
    told=told, code=_code, is_keyless=_is_keyless, status_of=status_of, retry_after=retry_after
)
unavailable = CLASSIFIER.unavailable
of_upload = CLASSIFIER.of_prepare
of_create = CLASSIFIER.of_create
of_call = CLASSIFIER.of_call
is_ended = CLASSIFIER.is_ended
