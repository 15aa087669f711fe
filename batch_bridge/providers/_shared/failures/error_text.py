"""Reads an error's code and text from any shape that a vendor or a gateway uses. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from batch_bridge.providers._shared.clean_text import clean

_WITHIN: Final = ("error", "errors", "detail", "details", "message")
"""Where an error may stand inside another: vLLM from 0.10.1 wraps its errors twice."""
_WORDS: Final = ("message", "msg", "detail", "error", "errors")
_CODES: Final = ("code", "type")
_DEEPEST: Final = 4
_LONGEST_CODE: Final = 100
_SHOWN: Final = 3
"""Errors of a list that are shown."""

PASSING: Final = frozenset(
    {
        "api_error",
        "internal_error",
        "internal_server_error",
        "overloaded_error",
        "rate_limit_error",
        "rate_limit_exceeded",
        "request_timeout",
        "server_error",
        "service_unavailable",
        "timeout_error",
    }
)
"""Codes of transient errors that come without an HTTP status.

Sources: platform.openai.com/docs/guides/error-codes; platform.claude.com/docs/en/api/errors. `request_timeout` and
`server_error` stand in lines of requests that never ran.
"""


def said(error: object, codes: Sequence[str] = _CODES, depth: int = _DEEPEST) -> tuple[str | None, str | None]:
    """Return an error's code, or else its type, and its message; each is `None` if it is missing.

    Both are clean: on one line, without keys, and without what a terminal obeys.

    Args:
        error: An object, a text, or a list of either.
        codes: The fields that may hold its code, in order.
        depth: How many errors may stand inside each other.
    """
    code, message = _said(error, codes, depth)
    return code and clean(code, _LONGEST_CODE), message and clean(message)


def _said(error: object, codes: Sequence[str], depth: int) -> tuple[str | None, str | None]:
    if isinstance(error, str):
        return None, error or None
    if isinstance(error, list) and depth:
        return _of_list(error, codes, depth)
    if not isinstance(error, Mapping):
        return None, None
    code = next((error[name] for name in codes if _is_code(error.get(name))), None)
    message = next((error[name] for name in _WORDS if isinstance(error.get(name), str) and error[name]), None)
    for name in _WITHIN:
        if not depth or (code is not None and message is not None):
            break
        if isinstance(error.get(name), Mapping | list):
            inner_code, inner = _said(error[name], codes, depth - 1)
            if inner is not None and (message is None or name == "error"):
                message, code = inner, inner_code or code
            code = code or inner_code
    return (None if code is None else str(code)), message


def _of_list(errors: Sequence[Any], codes: Sequence[str], depth: int) -> tuple[str | None, str | None]:
    told = [_said(each, codes, depth - 1) for each in errors[:_SHOWN]]
    messages = [message for _, message in told if message]
    return next((code for code, _ in told if code), None), "; ".join(messages) or None


def _is_code(value: object) -> bool:
    return isinstance(value, str | int) and not isinstance(value, bool) and bool(value)


def is_error(body: object) -> bool:
    """Return whether a body that came with a good HTTP status is an error and no answer.

    A response of the Responses API that failed is an object of that API, which says so itself.
    """
    if not isinstance(body, Mapping):
        return False
    if body.get("object") == "error" or body.get("type") == "error":
        return True
    if body.get("object") == "response":
        return False
    holds_answer = any(body.get(name) for name in ("choices", "output", "data", "results", "candidates", "content"))
    return bool(body.get("error") or body.get("errors")) and not holds_answer


def status_in(value: object) -> int | None:
    """Return an HTTP status, which some servers write as a string or a float; `None` if it is no status."""
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) <= _DIGITS:
        return int(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _TOO_HIGH else None


_DIGITS: Final = 3
_TOO_HIGH: Final = 1_000
