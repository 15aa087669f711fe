"""What providers ask of the errors of any vendor's SDK. Pure; no key is ever in their text.

The SDKs of OpenAI and Anthropic share a maker, and so the shape of their errors.
"""

import math
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any, Final

from batch_bridge.providers._shared.clean_text import masked
from batch_bridge.providers._shared.results.result import loads

BAD_URL: Final = frozenset({"UnsupportedProtocol", "InvalidURL"})
"""Errors of the HTTP library, by name as there are two of them, that no pause helps."""
UNSENT: Final = frozenset({"ConnectError", "ConnectTimeout", "PoolTimeout", "ProxyError", *BAD_URL})
"""Those that come before a request is sent."""
_REQUEST_TIMEOUT, _CONFLICT, _TOO_MANY, _SERVER = 408, 409, 429, 500
_LONGEST_PAUSE: Final = 3_600.0
"""Seconds beyond which no `Retry-After` is believed."""


class NoCredentials(Exception):  # a fact, which its catcher turns into an error
    """There is no API key to make a client with."""


def status_of(error: Exception) -> int | None:
    """Return the HTTP status that a call was answered with, if it was."""
    status = getattr(error, "status_code", None)
    return status if isinstance(status, int) else None


def is_transient(status: int) -> bool:
    """Return whether a call that was answered with this HTTP status may be answered otherwise later."""
    return status in (_REQUEST_TIMEOUT, _CONFLICT, _TOO_MANY) or status >= _SERVER


def is_one_of(names: frozenset[str], error: Exception) -> bool:
    """Return whether an error, or the HTTP library's below it, is of a class with one of these names."""
    return any(kind.__name__ in names for kind in type(below(error) or error).__mro__)


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


def answer_of(error: Exception) -> tuple[Mapping[str, str], Any]:
    """Return the headers and the JSON of the answer that an error stands for; `None` where it is no JSON."""
    response: Any = getattr(error, "response", None)
    headers: Mapping[str, str] = getattr(response, "headers", {})
    try:
        return headers, loads(response.content)
    except (ValueError, AttributeError):
        return headers, None


def told(doing: str, error: Exception, said: object, advice: Mapping[int, str]) -> str:
    """Return what went wrong, for a person, without keys.

    Args:
        doing: What was tried.
        error: The SDK's error.
        said: The vendor's own message, where there was an answer with one.
        advice: What to do about an HTTP status.
    """
    status = status_of(error)
    if status is None:
        cause = below(error)
        reason = f"{type(cause).__name__}: {cause}" if cause is not None and str(cause) else str(error)
        return masked(f"{doing} failed: {reason or type(error).__name__}")
    text = masked(f"{doing} was answered with {status}: {said or error}")
    return f"{text.rstrip('.')}; {advice[status]}" if status in advice else text


def below(error: Exception) -> BaseException | None:
    """Return the HTTP library's error that an SDK has wrapped, or `None`."""
    wraps = any(kind.__name__ == "APIConnectionError" for kind in type(error).__mro__)
    return error.__cause__ if wraps else None
