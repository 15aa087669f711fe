"""How all vendors' answers are read. Pure; no line makes it raise."""

import re
from contextlib import suppress
from functools import cache
from typing import Any, Final

import orjson

from batch_bridge import _messages
from batch_bridge._exact import LEFT_OUT, TooDeepError, prune, read
from batch_bridge._models import JSON, Errored, Outcome, Succeeded
from batch_bridge.errors import JSONError

_RAW: Final = 65_536
"""Bytes of a line that cannot be read which are kept with its error: it was paid for."""
_CAUSE: Final = 300
_TOO_DEEP: Final = "answer_too_deep"
_UNREADABLE: Final = "unreadable_answer"


def loads(text: bytes | str) -> Any:
    """Read JSON as leniently as it was paid for; what is nested too deep to be carried is left out.

    Raises:
        ValueError: It is no JSON.
    """
    try:
        return read(text)[0]
    except TooDeepError:
        return read(prune(text))[0]


def is_cut(value: object) -> bool:
    """Return whether something was left out of what `loads` has read, because it was nested too deep."""
    try:
        return LEFT_OUT.encode() in orjson.dumps(value)
    except TypeError:  # it has been read the slow way, of which this is no part
        return LEFT_OUT in repr(value)


def needs_text(value: object) -> bool:
    """Return whether only text carries a value exactly."""
    try:
        orjson.dumps(value)
    except TypeError:
        return True
    return False


def read_named(line: bytes, field: str) -> tuple[str, dict[str, Any] | Errored, bool] | None:
    """Return a line's name, what it holds, and whether only text carries that exactly; `None` if it names nothing.

    A line that cannot be read, and whose name can, holds the error of that request, with the line.

    Args:
        line: The line.
        field: The field that its name stands in.
    """
    problem: Errored
    try:
        held, exact = read(line)
    except TooDeepError as error:
        problem = too_deep(error, raw_of(line))
    except ValueError as error:
        cause = str(error)[:_CAUSE]
        problem = Errored(
            f"the answer was paid for, and its line is no JSON ({cause}); it is in `body`",
            _UNREADABLE,
            body=raw_of(line),
        )
    else:
        name = held.get(field) if isinstance(held, dict) else None
        return (name, held, exact) if isinstance(name, str) else None
    found = _name_in(field).search(line)
    return None if found is None else (found[1].decode(errors="replace"), problem, False)


def is_broken(outcome: Outcome) -> bool:
    """Return whether an outcome is that of a line which could not be read."""
    return isinstance(outcome, Errored) and outcome.code in (_TOO_DEEP, _UNREADABLE)


def too_deep(why: object, body: JSON) -> Errored:
    """Return the outcome of a request whose answer is nested too deep to be carried."""
    return Errored(f"the answer was paid for, and cannot be carried: {why}; it is in `body`", _TOO_DEEP, body=body)


def as_message(message: object, *, exact: bool) -> Succeeded:
    """Return an answer that is a LangChain message.

    Args:
        message: The message.
        exact: It may hold what only text carries.

    Raises:
        TypeError, ValueError: It holds what JSON cannot carry.
    """
    if not exact:
        with suppress(JSONError, ValueError):  # what stood in a string, such as a tool's arguments, is known only now
            return Succeeded(_messages.encode(message, what="the answer"))
    return Succeeded(_messages.encode_exactly(message), exact=True)


def raw_of(line: bytes) -> str:
    """Return what was paid for and cannot be read, as it can be kept."""
    return line[:_RAW].decode(errors="replace")


@cache
def _name_in(field: str) -> re.Pattern[bytes]:
    return re.compile(rb'(?<!\\)"' + field.encode() + rb'"\s*:\s*"([^"\\]{1,200})"')
