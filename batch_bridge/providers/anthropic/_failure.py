"""What a call that failed means to the engine. Pure: errors in, errors out; no key is ever in their text."""

from collections.abc import Mapping
from typing import Final

from anthropic import AnthropicError, APIError

from batch_bridge.providers._shared.failures.error_classifier import ErrorClassifier
from batch_bridge.providers._shared.failures.error_text import said as read_error
from batch_bridge.providers._shared.failures.failure import NoCredentials, status_of, told

_NOT_FOUND: Final = 404
_ADVICE: Final = {
    401: "check ANTHROPIC_API_KEY, or the api_key of the client",
    403: "check what the API key and its workspace may do",
    404: "check the client's base_url",
    413: "set FlushPolicy(max_bytes=…) to a smaller number",
}


def is_gone(error: Exception) -> bool:
    """Return whether the API itself says that the object does not exist; a proxy's 404 contains no error."""
    return status_of(error) == _NOT_FOUND and bool(said(getattr(error, "body", None))[0])


def said(body: object) -> tuple[str | None, str | None]:
    """Return the type and the message of an error as the API, or a gateway before it, writes it."""
    if isinstance(body, Mapping) and body.get("error"):
        return read_error(body["error"], ("type", "code"))
    return read_error(body, ("code",))  # the whole has the type "error"


def _is_keyless(error: Exception) -> bool:
    """Return whether the key is missing: the SDK raises a TypeError then, or an error that is not of the API."""
    if isinstance(error, NoCredentials) or (isinstance(error, AnthropicError) and not isinstance(error, APIError)):
        return True
    return isinstance(error, TypeError) and "authentication" in str(error)


def _code(error: Exception) -> str:
    return said(getattr(error, "body", None))[0] or "submit_failed"


def _told(doing: str, error: Exception) -> str:
    return told(doing, error, said(getattr(error, "body", None))[1], _ADVICE)


CLASSIFIER: Final = ErrorClassifier(told=_told, code=_code, is_keyless=_is_keyless)
unavailable = CLASSIFIER.unavailable
of_prepare = CLASSIFIER.of_prepare
of_create = CLASSIFIER.of_create
of_call = CLASSIFIER.of_call
is_ended = CLASSIFIER.is_ended
is_unsupported = CLASSIFIER.is_unsupported
