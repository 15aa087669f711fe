"""An item as a call of the Messages API, and the call as an entry of a batch. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Final

import orjson

from batch_bridge._core.json.messages import TAG
from batch_bridge._core.models import JSON
from batch_bridge.errors import RequestRefused
from batch_bridge.providers._shared.item import (
    EXAMPLE,
    check_messages,
    in_order,
    is_message,
    refuse,
    refuse_kind,
    write,
)
from batch_bridge.providers.anthropic import _messages as messages
from batch_bridge.providers.anthropic._handle import write_custom_id

_HEAD, _TAIL = b'{"requests":[', b"]}"
FRAME: Final = len(_HEAD + _TAIL) - len(b",")
"""Bytes of a create call that belong to no request, where each counts the comma behind it."""
_NO_TAG: Final = "0" * 24


@dataclass(frozen=True, slots=True)
class AnthropicCall:
    """One call of the API.

    Attributes:
        model: The body's.
        body: What is posted. Shares its values with the item.
        wants_message: Whether the answer is to be a LangChain message.
    """

    model: str
    body: Mapping[str, JSON]
    wants_message: bool

    def entry(self, request_id: str, tag: str) -> bytes:
        """Return the call as an entry of a batch.

        Raises:
            RequestRefused: A string in it is not valid Unicode.
        """
        custom_id = write_custom_id(request_id, tag, wants_message=self.wants_message)
        return write({"custom_id": custom_id, "params": self.body}, self.body)

    def size(self, request_id: str) -> int:
        """Return the bytes of its entry and of the comma behind it; one tag is as long as another.

        Raises:
            RequestRefused: As `entry`.
        """
        return len(self.entry(request_id, _NO_TAG)) + len(b",")

    def identity(self, place: Sequence[str]) -> bytes:
        """Return what decides the answer, as bytes that differ where the answer may.

        The order of the body's own fields, and of a message's or a tool's, means nothing; deeper it is kept: a model
        fills in a schema's properties in their order.

        Args:
            place: Where the call is sent.
        """
        return orjson.dumps([list(place), self.wants_message, in_order(self.body)])


def write_create(entries: Iterable[bytes]) -> bytes:
    """Return the body of a create call, held in memory once."""
    body = BytesIO()
    separator = _HEAD
    for entry in entries:
        body.write(separator)
        body.write(entry)
        separator = b","
    body.write(_TAIL)
    return body.getvalue()


def read_item(item: JSON, defaults: Mapping[str, JSON]) -> AnthropicCall:
    """Return the call that an item asks for.

    Args:
        item: Messages, a request body, or a whole entry of a batch.
        defaults: Fields for bodies that do not have them.

    Raises:
        RequestRefused: It has another form, or a batch cannot hold it.
    """
    if type(item) is list:
        return _of_messages(item, {}, defaults)
    if type(item) is not dict:
        refuse_kind(item)
    if TAG in item:
        return _of_messages([item], {}, defaults)
    if "params" in item and "messages" not in item:
        params = item["params"]
        if not isinstance(params, dict):
            refuse(f"the params of its entry are a {type(params).__name__}", "pass the request body as a dict")
        return read_item(params, defaults)
    given = item.get("messages")
    if not isinstance(given, list):
        refuse("it has no list of messages", f'write {{"messages": {EXAMPLE}}}')
    if any(is_message(each) for each in given):
        return _of_messages(given, item, defaults)
    return _of_body({**defaults, **item}, wants_message=False)


def _of_messages(given: Sequence[JSON], item: Mapping[str, JSON], defaults: Mapping[str, JSON]) -> AnthropicCall:
    if not given:
        refuse("it is an empty list", f"write {EXAMPLE}")
    check_messages(given)
    try:
        system, conversation = messages.to_conversation(given)
    except (ValueError, TypeError, LookupError) as error:
        cause = f"one of its messages cannot be converted to Anthropic's format ({str(error)[:500]})"
        raise RequestRefused(f"the request cannot be sent: {cause}; change that message") from error
    if not conversation:
        refuse("it contains only system messages", "add a user message")
    body: dict[str, JSON] = {**defaults, **item, "messages": conversation}
    if system:
        own = item.get("system", [])
        first: list[JSON] = (
            [{"type": "text", "text": own}] if isinstance(own, str) else [*own] if isinstance(own, list) else []
        )
        body["system"] = messages.joined([*first, *system])
    return _of_body(body, wants_message=any(is_message(each) for each in given))


def _of_body(body: Mapping[str, JSON], *, wants_message: bool) -> AnthropicCall:
    model = body.get("model")
    if not isinstance(model, str) or not model:
        refuse("it names no model", 'put "model" in its body, or pass AnthropicBatch(model=…)')
    if body.get("stream"):
        refuse('its body has "stream" set, and a batch cannot stream', "omit it")
    return AnthropicCall(model, body, wants_message)
