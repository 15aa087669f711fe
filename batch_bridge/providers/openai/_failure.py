"""What a call that failed means to the engine. Pure: errors in, errors out; no key is ever in their text."""

from typing import Final

from openai import APIError, OpenAIError

from batch_bridge.providers._shared.failures.error_classifier import ErrorClassifier
from batch_bridge.providers._shared.failures.error_text import said
from batch_bridge.providers._shared.failures.failure import NoCredentials, retry_after, status_of, told

__all__ = ["NoCredentials", "retry_after", "status_of"]

_UNAUTHORIZED, _FORBIDDEN, _NOT_FOUND, _TOO_LARGE = 401, 403, 404, 413
_ADVICE: Final = {
    _UNAUTHORIZED: "check OPENAI_API_KEY, or the api_key of the client",
    _FORBIDDEN: "check what the API key and its project may do",
    _NOT_FOUND: "check the client's base_url",
    _TOO_LARGE: "set FlushPolicy(max_bytes=…) to a smaller number",
}


def is_gone(error: Exception) -> bool:
    """Return whether the API itself says that there is no such thing; a 404 of a proxy's has no error in it."""
    return status_of(error) == _NOT_FOUND and isinstance(getattr(error, "body", None), dict) and _named(error)


def _named(error: Exception) -> bool:
    body = getattr(error, "body", None)
    return isinstance(body, dict) and ("message" in body or "error" in body)


def _is_keyless(error: Exception) -> bool:
    return isinstance(error, NoCredentials) or (isinstance(error, OpenAIError) and not isinstance(error, APIError))


def _is_callers(error: Exception) -> bool:
    return isinstance(error, TypeError | ValueError | LookupError) and not isinstance(error, APIError | OSError)


def _code(error: Exception) -> str:
    own = getattr(error, "code", None) or getattr(error, "type", None)
    return str(own or said(getattr(error, "body", None))[0] or "submit_failed")


def _told(doing: str, error: Exception) -> str:
    return told(doing, error, said(getattr(error, "body", None))[1], _ADVICE)


CLASSIFIER: Final = ErrorClassifier(told=_told, code=_code, is_keyless=_is_keyless, is_callers=_is_callers)
unavailable = CLASSIFIER.unavailable
of_upload = CLASSIFIER.of_prepare
of_create = CLASSIFIER.of_create
of_call = CLASSIFIER.of_call
is_ended = CLASSIFIER.is_ended
is_unsupported = CLASSIFIER.is_unsupported
is_unseen = CLASSIFIER.is_unseen
