"""Answers of OpenAI's API as it streams them. Pure.

Source: platform.openai.com/docs/api-reference/chat-streaming and /responses-streaming, and the SDK's types.
"""

import itertools
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, Protocol

from batch_bridge.testing._batches.endpoints import CHAT, COMPLETIONS, RESPONSES
from batch_bridge.testing._server.event_stream import Event, pieces

_DONE: Final = Event("[DONE]")
_OWN: Final = ("role", "content", "refusal", "tool_calls", "annotations")
"""Fields of a message that a stream sends in another form, or not at all."""


def chat_events(answer: Mapping[str, Any], asked: Mapping[str, Any]) -> Iterator[Event]:
    """The chunks of a chat completion: the role, the text or the calls, the reason of the end, and the usage."""
    shared = {name: value for name, value in answer.items() if name not in ("choices", "usage")}
    shared["object"] = "chat.completion.chunk"
    usage: dict[str, Any] = {"usage": None} if _wants_usage(asked) else {}

    def chunk(index: int, delta: Mapping[str, Any], finish: object = None) -> Event:
        choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish}
        return Event({**shared, "choices": [choice], **usage})

    for index, choice in enumerate(answer.get("choices") or ()):
        for delta in _deltas(choice.get("message") or {}):
            yield chunk(index, delta)
        yield chunk(index, {}, choice.get("finish_reason"))
    if usage:
        yield Event({**shared, "choices": [], "usage": answer.get("usage")})
    yield _DONE


def _deltas(message: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    rest = {name: value for name, value in message.items() if value and name not in _OWN}
    begun = "" if isinstance(message.get("content"), str) else None
    yield {"role": "assistant", "content": begun, "refusal": None, **rest}
    for field in ("content", "refusal"):
        for piece in pieces(message.get(field)):
            yield {field: piece}
    for index, call in enumerate(message.get("tool_calls") or ()):
        function = call.get("function")
        if not isinstance(function, Mapping):
            yield {"tool_calls": [{"index": index, **call}]}
            continue
        yield {"tool_calls": [{"index": index, **call, "function": {**function, "arguments": ""}}]}
        for piece in pieces(function.get("arguments")):
            yield {"tool_calls": [{"index": index, "function": {"arguments": piece}}]}


def completion_events(answer: Mapping[str, Any], asked: Mapping[str, Any]) -> Iterator[Event]:
    """The chunks of a completion of the old kind."""
    shared = {name: value for name, value in answer.items() if name not in ("choices", "usage")}
    usage: dict[str, Any] = {"usage": None} if _wants_usage(asked) else {}
    for choice in answer.get("choices") or ():
        for piece in pieces(choice.get("text")):
            yield Event({**shared, "choices": [{**choice, "text": piece, "finish_reason": None}], **usage})
        yield Event({**shared, "choices": [{**choice, "text": ""}], **usage})
    if usage:
        yield Event({**shared, "choices": [], "usage": answer.get("usage")})
    yield _DONE


class _Tell(Protocol):
    def __call__(self, kind: str, **fields: object) -> Event: ...


def response_events(answer: Mapping[str, Any], _: Mapping[str, Any]) -> Iterator[Event]:
    """The events of a response: it begins, each item and each of its parts begins and ends, it ends."""
    number = itertools.count()

    def tell(kind: str, **fields: object) -> Event:
        return Event({"type": kind, "sequence_number": next(number), **fields}, kind)

    begun = {**answer, "status": "in_progress", "output": [], "usage": None}
    yield tell("response.created", response=begun)
    yield tell("response.in_progress", response=begun)
    for index, item in enumerate(answer.get("output") or ()):
        yield from _item(tell, item, {"item_id": item.get("id"), "output_index": index})
    status = answer.get("status")
    end = status if status in ("incomplete", "failed") else "completed"
    yield tell(f"response.{end}", response=answer)


def _item(tell: _Tell, item: Mapping[str, Any], place: dict[str, Any]) -> Iterator[Event]:
    index = place["output_index"]
    match item.get("type"):
        case "message":
            begun = {**item, "status": "in_progress", "content": []}
            yield tell("response.output_item.added", output_index=index, item=begun)
            for number, part in enumerate(item.get("content") or ()):
                yield from _part(tell, part, {**place, "content_index": number})
        case "function_call":
            begun = {**item, "status": "in_progress", "arguments": ""}
            yield tell("response.output_item.added", output_index=index, item=begun)
            kind = "response.function_call_arguments"
            for piece in pieces(item.get("arguments")):
                yield tell(f"{kind}.delta", **place, delta=piece)
            yield tell(f"{kind}.done", **place, name=item.get("name"), arguments=item.get("arguments"))
        case _:
            yield tell("response.output_item.added", output_index=index, item=item)
    yield tell("response.output_item.done", output_index=index, item=item)


def _part(tell: _Tell, part: Mapping[str, Any], place: dict[str, Any]) -> Iterator[Event]:
    field = _TEXTS.get(str(part.get("type")))
    if field is None:
        yield tell("response.content_part.added", **place, part=part)
    else:
        kind = f"response.{part['type']}"
        logprobs: dict[str, Any] = {"logprobs": []} if field == "text" else {}
        yield tell("response.content_part.added", **place, part={**part, field: ""})
        for piece in pieces(part.get(field)):
            yield tell(f"{kind}.delta", **place, delta=piece, **logprobs)
        yield tell(f"{kind}.done", **place, **{field: part.get(field)}, **logprobs)
    yield tell("response.content_part.done", **place, part=part)


def _wants_usage(asked: Mapping[str, Any]) -> bool:
    options = asked.get("stream_options")
    return isinstance(options, Mapping) and bool(options.get("include_usage"))


_TEXTS: Final[Mapping[str, str]] = {"output_text": "text", "refusal": "refusal"}
STREAMS: Final[Mapping[str, Callable[[Mapping[str, Any], Mapping[str, Any]], Iterator[Event]]]] = {
    CHAT: chat_events,
    COMPLETIONS: completion_events,
    RESPONSES: response_events,
}
"""The events of each streaming endpoint, made from the answer's body and the request's."""
