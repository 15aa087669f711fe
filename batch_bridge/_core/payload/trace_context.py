"""Where a request was asked, as OpenTelemetry knows it: a W3C `traceparent`, kept with the request and its batch.

Nothing here imports OpenTelemetry: who traces says how the context is read (`capture_with`).
"""

import re
from collections.abc import Callable
from typing import Final, TypeGuard

_FORM: Final = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
"""Source: https://www.w3.org/TR/trace-context/#traceparent-header."""

_capture: Callable[[], str] | None = None


def current() -> str:
    """Return the current trace context; empty without tracing, or outside of a trace."""
    return "" if _capture is None else _capture()


def capture_with(capture: Callable[[], str] | None) -> None:
    """Set how the context is read, for this whole process; `None` disables it."""
    global _capture  # noqa: PLW0603  # a node cannot know its tracer: its host may be another process
    _capture = capture


def is_context(given: object) -> TypeGuard[str]:
    """Return whether this is a `traceparent`, or none."""
    return given == "" or (isinstance(given, str) and _FORM.fullmatch(given) is not None)
