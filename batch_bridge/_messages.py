"""LangChain messages on their way through JSON, and back.

A message becomes `{"__message__": {"type": …, "data": …}}`. Reading it back makes message objects only: no class is
named by what was stored.
"""

import json
from collections.abc import Mapping
from typing import Any

from langchain_core.messages import BaseMessage, message_to_dict, messages_from_dict
from pydantic import BaseModel

from batch_bridge._exact import write
from batch_bridge._json import to_json
from batch_bridge._models import JSON

TAG = "__message__"
_TAG_BYTES = TAG.encode()


def encode(value: object, *, what: str = "the item") -> JSON:
    """Return a value that may hold messages as JSON.

    Raises:
        JSONError: It holds something that JSON cannot carry.
    """
    return to_json(value, default=_message, what=what)


def encode_exactly(value: object) -> JSON:
    """Return a value that may hold messages as JSON, with all that Python's own writer of JSON carries.

    For answers: whole numbers beyond 64 bits, half surrogate pairs and deep nesting are kept.

    Raises:
        TypeError, ValueError: It holds something that JSON cannot carry.
    """
    read: JSON = json.loads(json.dumps(value, default=_fields, allow_nan=False))
    return read


def _fields(value: object) -> Mapping[str, object]:
    if isinstance(value, BaseMessage):
        return {TAG: {"type": value.type, "data": dict(value)}}  # dumping it would end where it is nested deep
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    raise TypeError(f"a {type(value).__name__} has no JSON")


def without_ids(value: JSON) -> JSON:
    """Return encoded JSON without the ids that LangChain gives to messages: what identity goes by."""
    match value:
        case {"__message__": {"type": kind, "data": dict(data)}, **rest} if not rest:
            return {TAG: {"type": kind, "data": {key: without_ids(each) for key, each in data.items() if key != "id"}}}
        case dict():
            return {key: without_ids(each) for key, each in value.items()}
        case list():
            return [without_ids(each) for each in value]
        case _:
            return value


def decode(value: JSON) -> object:
    """Return encoded JSON with its messages as message objects again; everything else is as it was.

    Somebody's own dict that merely looks like an encoded message is part of everything else.
    """
    try:
        return _decode(value)
    except RecursionError:  # an answer that is nested deep: without Python's own frames
        return json.loads(json.dumps(value), object_hook=_revive)


def _revive(value: dict[str, Any]) -> object:
    return _message_in(value) if value.keys() == {TAG} else value


def _message_in(value: Mapping[str, Any]) -> object:
    match value:
        case {"__message__": {"type": str(kind), "data": dict(data)}}:
            try:
                return messages_from_dict([{"type": kind, "data": data}])[0]
            except (TypeError, ValueError):
                return value
        case _:
            return value


def _decode(value: JSON) -> object:
    match value:
        case {"__message__": {"type": str(), "data": dict()}, **rest} if not rest:
            return _message_in(value)  # type: ignore[arg-type]  # the pattern says what it is
        case dict():
            return {key: _decode(each) for key, each in value.items()}
        case list():
            return [_decode(each) for each in value]
        case _:
            return value


def decode_owned(value: JSON) -> object:
    """Return encoded JSON as `decode` does, and itself where it holds no messages: for a caller who owns it alone."""
    return decode(value) if _TAG_BYTES in write(value) else value


def has_messages(value: object) -> bool:
    """Tell whether a value as the user gave it holds messages."""
    if isinstance(value, BaseMessage):
        return True
    if isinstance(value, Mapping):
        return any(has_messages(each) for each in value.values())
    if isinstance(value, list | tuple):
        return any(has_messages(each) for each in value)
    return False


def _message(value: object) -> Mapping[str, object] | None:
    return {TAG: message_to_dict(value)} if isinstance(value, BaseMessage) else None
