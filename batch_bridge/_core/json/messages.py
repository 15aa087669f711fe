"""LangChain messages on their way through JSON, and back.

A message becomes `{"__message__": {"type": …, "data": …}}`. Reading it back makes message objects only: no class is
named by what was stored.
"""

from collections.abc import Mapping
from decimal import Decimal
from typing import TypeVar, cast

import orjson
from langchain_core.messages import AIMessage, BaseMessage, message_to_dict, messages_from_dict

from batch_bridge._core.json import text as _text
from batch_bridge._core.json.json_values import Written, serialize, to_json
from batch_bridge._core.models import JSON

T = TypeVar("T")

TAG = "__message__"
_TAG_BYTES = TAG.encode()


def encode(value: object, *, what: str = "the item") -> JSON:
    """Return a value that may hold messages as JSON.

    Raises:
        JSONError: It holds something that JSON cannot carry.
    """
    return value.read() if type(value) is Written else to_json(value, default=_message, what=what)


def encode_bytes(value: object) -> tuple[bytes, bool]:
    """Return a value that may hold messages as JSON's bytes, and whether it is a list of dicts, and holds none.

    Raises:
        JSONError: It holds something that JSON cannot carry.
    """
    if type(value) is Written:
        return value.data, False
    is_conversation = type(value) is list and bool(value)
    is_flat = is_conversation
    for message in value if is_conversation else ():  # type: ignore[attr-defined]
        if type(message) is not dict:
            is_conversation = is_flat = False
            break
        if TAG in message:
            is_flat = False
        for each in message.values():
            if type(each) is not str:
                is_flat = False
                break
    data = serialize(value, is_flat=is_flat)
    if data is None:
        return orjson.dumps(encode(value)), False
    return data, is_flat or (is_conversation and _TAG_BYTES not in data)


def encode_answer(message: BaseMessage) -> JSON:
    """Return a message that was made of an answer's JSON, with all that this holds, as JSON."""
    try:
        return {TAG: cast("JSON", message_to_dict(message))}
    except ValueError:  # pydantic's own limit of nesting, which LangChain's models meet nowhere else
        return {TAG: {"type": message.type, "data": dict(message)}}


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

    A user's dict that merely looks like an encoded message stays a dict.
    """
    try:
        return _decode(value)
    except RecursionError:
        return value  # no message lies so deep


def decode_owned(value: JSON) -> object:
    """Decode JSON as `decode` does, but return JSON without messages as it is: for a caller that owns it."""
    return decode(value) if _TAG_BYTES in _text.write(value) else value


def may_hold_messages(data: bytes) -> bool:
    """Return whether JSON may hold an encoded message: cheap, and right where it says no."""
    return _TAG_BYTES in data


def with_cost(answer: T, cost: Decimal | None) -> T:
    """Return a LangChain answer with its cost, in `response_metadata["batch_bridge"]`; others as they are.

    Not in `usage_metadata`, where LangSmith has a `total_cost`: LangChain adds those up as whole numbers, and raises at
    others, so that counting tokens over several calls would fail. `langchain/_told.py` tells LangSmith alone.

    Source: langchain_core.utils.usage._dict_int_op.
    """
    if cost is None or not isinstance(answer, AIMessage):
        return answer
    told = {**answer.response_metadata, "batch_bridge": {"paid": f"{cost:f}"}}
    return answer.model_copy(update={"response_metadata": told})


def has_messages(value: object) -> bool:
    """Return whether a value as the user gave it holds messages."""
    if isinstance(value, BaseMessage):
        return True
    if isinstance(value, Mapping):
        return any(has_messages(each) for each in value.values())
    if isinstance(value, list | tuple):
        return any(has_messages(each) for each in value)
    return False


def _decode(value: JSON) -> object:
    match value:
        case {"__message__": {"type": str(kind), "data": dict(data)}, **rest} if not rest:
            try:
                return messages_from_dict([{"type": kind, "data": data}])[0]
            except (TypeError, ValueError):
                return value
        case dict():
            return {key: _decode(each) for key, each in value.items()}
        case list():
            return [_decode(each) for each in value]
        case _:
            return value


def _message(value: object) -> Mapping[str, object] | None:
    return {TAG: message_to_dict(value)} if isinstance(value, BaseMessage) else None
