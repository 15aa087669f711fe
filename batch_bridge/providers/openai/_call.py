"""An item as a call of the API, and the call as a line of a batch's input. Pure."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

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
    write_mark,
)
from batch_bridge.providers.openai import _chat as _openai_chat
from batch_bridge.providers.openai import _responses as _openai_responses
from batch_bridge.providers.openai._dialects import OPENAI, Quirks
from batch_bridge.providers.openai._endpoint import CHAT, ENDPOINTS, RESPONSES, infer


@dataclass(frozen=True, slots=True)
class OpenAICall:
    """One call of the API.

    Attributes:
        endpoint: The path, as a batch names it.
        model: The body's.
        body: What is posted. Shares its values with the item.
        wants_message: Whether the answer is to be a LangChain message.
    """

    endpoint: str
    model: str
    body: Mapping[str, JSON]
    wants_message: bool

    def line(self, request_id: str, quirks: Quirks = OPENAI) -> bytes:
        r"""Return the call as a line of a batch's input, with its `b"\n"`.

        Raises:
            RequestRefused: A string in it is not valid Unicode.
        """
        custom_id = write_mark(request_id, wants_message=self.wants_message)
        line = {"custom_id": custom_id, **quirks.line(self.endpoint), "body": self.body}
        return write(line, self.body, orjson.OPT_APPEND_NEWLINE)

    def identity(self, place: Sequence[str]) -> bytes:
        """Return what decides the answer, as bytes that differ where the answer may.

        The order of the body's own fields, and of a message's or a tool's, means nothing; deeper it is kept: a model
        fills in a schema's properties in their order.

        Args:
            place: Where the call is sent.
        """
        return orjson.dumps([list(place), self.endpoint, self.wants_message, in_order(self.body)])

    def inputs(self) -> int:
        """Return how many texts an embedding request holds; a list of numbers is one text, as tokens."""
        match self.body.get("input"):
            case [int(), *_]:
                return 1
            case list(texts):
                return len(texts)
            case _:
                return 1


def read_item(item: JSON, defaults: Mapping[str, JSON], endpoint: str | None) -> OpenAICall:
    """Return the call that an item asks for.

    Args:
        item: Messages, a request body, or a whole line of a batch's input.
        defaults: Fields for bodies that do not have them.
        endpoint: Where a body goes that does not say.

    Raises:
        RequestRefused: It has another form, or a batch cannot hold it.
    """
    if type(item) is list:
        return _of_body(_conversation(item, endpoint), defaults, endpoint)
    if type(item) is not dict:
        refuse_kind(item)
    if TAG in item:
        return _of_body(_conversation([item], endpoint), defaults, endpoint)
    if "body" in item and "messages" not in item and "input" not in item:
        return _of_line(item, defaults, endpoint)
    return _of_body(item, defaults, endpoint)


def _of_line(line: Mapping[str, JSON], defaults: Mapping[str, JSON], endpoint: str | None) -> OpenAICall:
    url, method, body = line.get("url"), line.get("method", "POST"), line["body"]
    if not isinstance(body, dict):
        refuse(f"the body of its line is a {type(body).__name__}", "pass the request body as a dict")
    if method != "POST":
        refuse(f"its method is {method!r}", 'a batch supports only "POST"')
    if isinstance(url, str) and f"/v1{url}" in ENDPOINTS:
        url = f"/v1{url}"  # as Azure writes it
    if url is not None and url not in ENDPOINTS:
        refuse(f"a batch cannot be sent to {url!r}", f"the endpoints are {', '.join(ENDPOINTS)}")
    return _of_body(body, defaults, endpoint, url if isinstance(url, str) else None)


def _of_body(
    item: Mapping[str, JSON], defaults: Mapping[str, JSON], preferred: str | None, url: str | None = None
) -> OpenAICall:
    body = {**defaults, **item}
    model = body.get("model")
    if not isinstance(model, str) or not model:
        refuse("it names no model", 'put "model" in its body, or pass OpenAIBatch(model=…)')
    if body.get("stream"):
        refuse('its body has "stream" set, and a batch cannot stream', "omit it")
    endpoint = url or infer(item, model, preferred)
    if endpoint is None:
        refuse(
            "nothing in it names its endpoint",
            'add "messages" or "input" to it, or write a whole line {"url": …, "body": …}, '
            "or pass OpenAIBatch(endpoint=…)",
        )
    wants_message = False
    if endpoint == CHAT:
        wants_message = _convert(body, "messages", _openai_chat.to_messages)
    elif endpoint == RESPONSES:
        wants_message = _convert(body, "input", _openai_responses.to_input)
    return OpenAICall(endpoint, model, body, wants_message)


def _conversation(messages: Sequence[JSON], endpoint: str | None) -> dict[str, JSON]:
    if endpoint not in (CHAT, RESPONSES, None):
        refuse(
            f"it is a list, but {endpoint} does not accept a conversation",
            'write a request body, such as {"input": …}',
        )
    if not messages:
        refuse("it is an empty list", f"write {EXAMPLE}")
    check_messages(messages)
    return {"input" if endpoint == RESPONSES else "messages": [*messages]}


def _convert(body: dict[str, JSON], field: str, convert: Callable[[Sequence[JSON]], list[JSON]]) -> bool:
    """Put the LangChain messages in a field in OpenAI's terms; returns whether there are any."""
    messages = body.get(field)
    if type(messages) is not list or not any(map(is_message, messages)):
        return False
    try:
        body[field] = convert(messages)
    except (ValueError, TypeError, LookupError) as error:
        cause = f"one of its messages cannot be converted to OpenAI's format ({str(error)[:500]})"
        raise RequestRefused(f"the request cannot be sent: {cause}; change that message") from error
    return True
