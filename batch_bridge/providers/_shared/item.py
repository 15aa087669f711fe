"""What all vendors ask of an item, and do with the body that is made of it. Pure."""

from collections.abc import Iterable, Mapping
from typing import Final, NoReturn

import orjson

from batch_bridge._core.json.json_values import dumps
from batch_bridge._core.json.messages import TAG
from batch_bridge._core.models import JSON
from batch_bridge.errors import JSONError, RequestRefused

EXAMPLE: Final = '[{"role": "user", "content": "…"}]'
"""The plainest item, for errors."""
MARK: Final = "-m"
"""What the name of a request ends with whose answer is to be a LangChain message."""


def refuse(cause: str, action: str) -> NoReturn:
    """Return the error of an item that is no request.

    Raises:
        RequestRefused: Always.
    """
    raise RequestRefused(f"the request cannot be sent: {cause}; {action}")


def refuse_kind(item: JSON) -> NoReturn:
    """Return the error of an item that is neither a list nor a dict.

    Raises:
        RequestRefused: Always.
    """
    what = "a string" if isinstance(item, str) else "nothing" if item is None else f"a {type(item).__name__}"
    refuse(f"it is {what}", f"write {EXAMPLE}, or a request body as a dict")


def check_messages(given: Iterable[JSON]) -> None:
    """Pass if all of a list are dicts, as messages are.

    Raises:
        RequestRefused: One is not.
    """
    for index, message in enumerate(given):
        if type(message) is not dict:
            kind = type(message).__name__
            refuse(f"message {index} of it is a {kind}, not a message", f"write {EXAMPLE}, or LangChain messages")


def is_message(value: JSON) -> bool:
    """Return whether this is a LangChain message."""
    return type(value) is dict and TAG in value


def write(entry: Mapping[str, object], body: Mapping[str, JSON], option: int | None = None) -> bytes:
    """Return one request of a batch's input as JSON.

    Args:
        entry: All of it.
        body: The part that came from the item.
        option: As `orjson.dumps` takes it.

    Raises:
        RequestRefused: A string in the body is not valid Unicode.
    """
    try:
        return orjson.dumps(entry, option=option)
    except TypeError:
        try:
            dumps(dict(body))
        except JSONError as error:
            raise RequestRefused(f"the request cannot be sent: {error}") from error
        raise


def in_order(body: Mapping[str, JSON]) -> dict[str, JSON]:
    """Return a body with its fields in order, and those of its messages and tools; deeper the order is kept."""
    return {
        name: [_sorted(each) for each in value] if isinstance(value, list) else value
        for name, value in sorted(body.items())
    }


def _sorted(value: JSON) -> JSON:
    return dict(sorted(value.items())) if isinstance(value, dict) else value


def write_mark(request_id: str, *, wants_message: bool) -> str:
    """Return what a request is called in a batch: a poll sees no items, and must know what the answer is to be."""
    return request_id + MARK if wants_message else request_id


def read_mark(name: str) -> tuple[str, bool]:
    """Return the request's id, and whether its answer is to be a LangChain message."""
    request_id = name.removesuffix(MARK)
    return request_id, request_id != name
