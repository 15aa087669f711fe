"""An item as a request to a model, and the request as a line of a batch's input. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import orjson

from batch_bridge._core.json.messages import TAG
from batch_bridge._core.models import JSON
from batch_bridge.errors import RequestRefused
from batch_bridge.providers._shared.item import (
    EXAMPLE,
    check_messages,
    is_message,
    refuse,
    refuse_kind,
    write,
    write_mark,
)
from batch_bridge.providers.gemini import _messages as messages

_SYSTEM: Final = ("systemInstruction", "system_instruction")


@dataclass(frozen=True, slots=True)
class GeminiCall:
    """One request to a model.

    Attributes:
        model: Its name, without `models/`.
        body: What `models/{model}:generateContent` would be posted. Shares its values with the item.
        wants_message: Whether the answer is to be a LangChain message.
    """

    model: str
    body: Mapping[str, JSON]
    wants_message: bool

    def key(self, request_id: str) -> str:
        """Return what the result of this request is known by."""
        return write_mark(request_id, wants_message=self.wants_message)

    def line(self, request_id: str) -> bytes:
        r"""Return the request as a line of a batch's input, with its `b"\n"`.

        Raises:
            RequestRefused: A string in it is not valid Unicode.
        """
        line = {"key": self.key(request_id), "request": self.body}
        return write(line, self.body, orjson.OPT_APPEND_NEWLINE)

    def identity(self, place: Sequence[str]) -> bytes:
        """Return what decides the answer, as bytes that differ where the answer may.

        The order of the body's own fields means nothing; deeper it is kept: a model fills in a schema's properties in
        their order.

        Args:
            place: Where the call is sent.
        """
        return orjson.dumps([list(place), self.model, self.wants_message, dict(sorted(self.body.items()))])

    def inlined(self, request_id: str) -> dict[str, JSON]:
        """Return the request as one of those that a create call holds."""
        return {"request": dict(self.body), "metadata": {"key": self.key(request_id)}}


def read_item(item: JSON, defaults: Mapping[str, JSON]) -> GeminiCall:
    """Return the request that an item asks for.

    Args:
        item: Messages, or a request body.
        defaults: Fields for bodies that do not have them, `model` among them.

    Raises:
        RequestRefused: It is neither, or a batch cannot hold it.
    """
    if type(item) is list:
        return _of_body({"messages": item}, defaults)
    if type(item) is not dict:
        refuse_kind(item)
    if TAG in item:
        return _of_body({"messages": [item]}, defaults)
    return _of_body(item, defaults)


def _of_body(item: Mapping[str, JSON], defaults: Mapping[str, JSON]) -> GeminiCall:
    body = {**defaults, **item}
    model = body.pop("model", None)
    if not isinstance(model, str) or not model.removeprefix("models/"):
        refuse("it names no model", 'put "model" in its body, or pass GeminiBatch(model=…)')
    if "config" in body:
        refuse(
            'its body has a "config", which belongs to the SDK and not to the API',
            'write its content as in the API: "generationConfig", "systemInstruction", "tools", "safetySettings"',
        )
    wants_message = _converse(body) if "messages" in body else False
    contents = body.get("contents")
    if not isinstance(contents, list) or not contents:
        refuse(
            "its body has no list of contents" if contents is None else "its contents are not a non-empty list",
            'add "contents": [{"role": "user", "parts": [{"text": "…"}]}], or "messages"',
        )
    return GeminiCall(model.removeprefix("models/"), body, wants_message)


def _converse(body: dict[str, JSON]) -> bool:
    """Put the messages of a body in Gemini's terms; returns whether LangChain's are among them."""
    conversation = body.pop("messages")
    if not isinstance(conversation, list) or not conversation:
        refuse("its messages are not a non-empty list", f"write {EXAMPLE}")
    if "contents" in body:
        refuse('its body has both "messages" and "contents"', "pass one or the other")
    check_messages(conversation)
    try:
        system, contents = messages.to_contents(conversation)
    except (ValueError, TypeError, LookupError) as error:
        cause = f"one of its messages cannot be converted to Gemini's format ({str(error)[:500]})"
        raise RequestRefused(f"the request cannot be sent: {cause}; change that message") from error
    if system and any(name in body for name in _SYSTEM):
        refuse('it has a system message and a "systemInstruction"', "pass one or the other")
    if system:
        body["systemInstruction"] = {"parts": system}
    body["contents"] = contents
    return any(map(is_message, conversation))
