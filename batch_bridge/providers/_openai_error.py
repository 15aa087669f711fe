"""An error of OpenAI's API, or of one that speaks like it. Pure."""

from collections.abc import Mapping
from typing import Final

_WRAPPED: Final = 3
"""Layers that an error is looked for in: vLLM wraps it twice, some write a list."""


def read_error(error: object) -> tuple[str | None, str | None]:
    """Return an error object's code, or else its type, and its message; as a string, in a list, or wrapped twice."""
    for _ in range(_WRAPPED):
        if isinstance(error, list | tuple):
            error = next(iter(error), None)
        if isinstance(error, Mapping) and "message" not in error and error.get("error"):
            error = error["error"]
    if isinstance(error, str) and error:
        return None, error
    if not isinstance(error, Mapping):
        return None, None
    code = next((error[name] for name in ("code", "type") if isinstance(error.get(name), str | int)), None)
    message = error.get("message")
    return (str(code) if code else None), (message if isinstance(message, str) and message else None)
