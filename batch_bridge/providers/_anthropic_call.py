"""An item as a call of the Messages API, and the call as an entry of a batch. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Final, NoReturn

import orjson

from batch_bridge._json import dumps
from batch_bridge._messages import TAG
from batch_bridge._models import JSON
from batch_bridge.errors import JSONError, RequestRefused
from batch_bridge.providers import _anthropic_messages as messages
from batch_bridge.providers._anthropic_handle import write_custom_id

_HEAD, _TAIL = b'{"requests":[', b"]}"
FRAME: Final = len(_HEAD + _TAIL) - len(b",")
"""Bytes of a create call that belong to no request, where each counts the comma behind it."""
_NO_TAG: Final = "0" * 24
_EXAMPLE: Final = '[{"role": "user", "content": "…"}]'


@dataclass(frozen=True, slots=True)
class Call:
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
        try:
            return orjson.dumps({"custom_id": custom_id, "params": self.body})
        except TypeError:
            try:
                dumps(dict(self.body))
            except JSONError as error:
                raise RequestRefused(f"the request cannot be sent: {error}") from error
            raise

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
        body = {
            name: [_in_order(each) for each in value] if isinstance(value, list) else value
            for name, value in sorted(self.body.items())
        }
        return orjson.dumps([list(place), self.wants_message, body])


def _in_order(value: JSON) -> JSON:
    return dict(sorted(value.items())) if isinstance(value, dict) else value


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


def read_item(item: JSON, defaults: Mapping[str, JSON]) -> Call:
    """Return the call that an item asks for.

    Args:
        item: Messages, a request body, or a whole entry of a batch.
        defaults: Fields for bodies that do not have them.

    Raises:
        RequestRefused: It is none of these, or a batch cannot hold it.
    """
    if type(item) is list:
        return _of_messages(item, {}, defaults)
    if type(item) is not dict:
        what = "a string" if isinstance(item, str) else "nothing" if item is None else f"a {type(item).__name__}"
        _refuse(f"it is {what}", f"write {_EXAMPLE}, or a request body as a dict")
    if TAG in item:
        return _of_messages([item], {}, defaults)
    if "params" in item and "messages" not in item:
        params = item["params"]
        if not isinstance(params, dict):
            _refuse(f"the params of its entry are a {type(params).__name__}", "give the request body as a dict")
        return read_item(params, defaults)
    given = item.get("messages")
    if not isinstance(given, list):
        _refuse("it has no list of messages", f'write {{"messages": {_EXAMPLE}}}')
    if any(_is_message(each) for each in given):
        return _of_messages(given, item, defaults)
    return _of_body({**defaults, **item}, wants_message=False)


def _of_messages(given: Sequence[JSON], item: Mapping[str, JSON], defaults: Mapping[str, JSON]) -> Call:
    if not given:
        _refuse("it is an empty list", f"write {_EXAMPLE}")
    for index, message in enumerate(given):
        if type(message) is not dict:
            kind = type(message).__name__
            _refuse(f"message {index} of it is a {kind}, not a message", f"write {_EXAMPLE}, or LangChain messages")
    try:
        system, conversation = messages.to_conversation(given)
    except (ValueError, TypeError, LookupError) as error:
        cause = f"one of its messages cannot be said in Anthropic's terms ({str(error)[:500]})"
        raise RequestRefused(f"the request cannot be sent: {cause}; change that message") from error
    if not conversation:
        _refuse("it holds system messages alone", "add what the user says")
    body: dict[str, JSON] = {**defaults, **item, "messages": conversation}
    if system:
        own = item.get("system", [])
        first: list[JSON] = (
            [{"type": "text", "text": own}] if isinstance(own, str) else [*own] if isinstance(own, list) else []
        )
        body["system"] = messages.joined([*first, *system])
    return _of_body(body, wants_message=any(_is_message(each) for each in given))


def _of_body(body: Mapping[str, JSON], *, wants_message: bool) -> Call:
    model = body.get("model")
    if not isinstance(model, str) or not model:
        _refuse("it names no model", 'put "model" in its body, or give AnthropicBatch(model=…)')
    if body.get("stream"):
        _refuse('its body has "stream" set, and a batch cannot stream', "leave it out")
    return Call(model, body, wants_message)


def _is_message(value: JSON) -> bool:
    return type(value) is dict and TAG in value


def _refuse(cause: str, action: str) -> NoReturn:
    raise RequestRefused(f"the request cannot be sent: {cause}; {action}")
