"""An answer to one request, and the answerer that gives it."""

import importlib
import inspect
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from batch_bridge.testing._server.errors import BatchServerError, error_body


@dataclass(frozen=True, slots=True)
class Answer:
    """What a request is answered with.

    Attributes:
        status_code: The HTTP status; 2xx is a success, which is billed.
        body: The JSON body.
    """

    status_code: int
    body: Any

    @property
    def ok(self) -> bool:
        """Whether the request succeeded."""
        return 200 <= self.status_code < 300  # noqa: PLR2004


@dataclass(frozen=True, slots=True)
class AnswerRequest:
    """One request, in a batch or not: the path and the JSON body."""

    url: str
    body: dict[str, Any]


AnswerFunction = Callable[[str, dict[str, Any]], "Answer | dict[str, Any] | str | Awaitable[Any]"]
"""A user's answerer: `(url, body)` to an `Answer`, a body (then the status is 200), or a text."""


class Answerer(Protocol):
    """Answers requests, in order; never raises for one of them.

    Attributes:
        concurrency: How many requests it works on at once.
        remote: Whether it merely waits for another server.
    """

    concurrency: int
    remote: bool

    async def many(self, requests: Sequence[AnswerRequest]) -> list[Answer]:
        """An answer for each."""
        ...

    async def close(self) -> None:
        """Close its connections."""
        ...


def refused(status_code: int, message: str, *, param: str | None = None, code: str | None = None) -> Answer:
    """An error answer in the provider's shape."""
    if status_code == 0:
        return Answer(0, None)
    kind = {429: "rate_limit_error", 401: "authentication_error"}.get(status_code)
    if kind is None:
        kind = "invalid_request_error" if status_code < 500 else "server_error"  # noqa: PLR2004
    return Answer(status_code, error_body(message, type=kind, param=param, code=code))


def load_function(path: str) -> AnswerFunction:
    """The function that `module:function` names.

    Raises:
        BatchServerError: There is no such module or function; says which.
    """
    module_name, _, name = path.partition(":")
    if not module_name or not name:
        raise BatchServerError(f"the answerer {path!r} is not of the form 'module:function'.")
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise BatchServerError(
            f"the answerer {path!r} cannot be imported: {error}. The module must be importable from "
            f"{sys.path[0] or 'the current folder'!r} or from where Python looks otherwise."
        ) from error
    function = getattr(module, name, None)
    if not callable(function):
        raise BatchServerError(f"the answerer {path!r} does not exist: {module_name} has no function {name!r}.")
    return function  # type: ignore[no-any-return]


def is_async(function: AnswerFunction) -> bool:
    """Whether the function must be awaited."""
    return inspect.iscoroutinefunction(function)
