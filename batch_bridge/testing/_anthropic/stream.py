"""A message as Anthropic streams it. Pure.

Source: platform.claude.com/docs/en/build-with-claude/streaming.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from batch_bridge.testing._answers.answer import Answer
from batch_bridge.testing._server.event_stream import Event, pieces, write

_TOLD_LATER: Final[Mapping[str, Any]] = {"content": [], "stop_reason": None, "stop_sequence": None}


def message_events(answer: Answer) -> Iterator[Event]:
    """The events of a message: it begins, each block begins, grows and ends, the message ends."""
    message: Mapping[str, Any] = answer.body
    usage = message.get("usage") or {}
    yield _event("message_start", message={**message, **_TOLD_LATER, "usage": {**usage, "output_tokens": 1}})
    yield _event("ping")
    for index, block in enumerate(message.get("content") or ()):
        begun, deltas = _block(block)
        yield _event("content_block_start", index=index, content_block=begun)
        for delta in deltas:
            yield _event("content_block_delta", index=index, delta=delta)
        yield _event("content_block_stop", index=index)
    told = {name: value for name, value in usage.items() if name not in ("cache_creation", "service_tier")}
    end = {"stop_reason": message.get("stop_reason"), "stop_sequence": message.get("stop_sequence")}
    yield _event("message_delta", delta=end, usage=told)
    yield _event("message_stop")


def _block(block: Mapping[str, Any]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """A block as it begins, and how it grows; one of a kind that does not grow is whole from the start."""
    match block.get("type"):
        case "text":
            deltas = [{"type": "text_delta", "text": piece} for piece in pieces(block.get("text"))]
            return {**block, "text": ""}, deltas
        case "tool_use" | "server_tool_use":
            text = write(block.get("input") or {}).decode()
            return {**block, "input": {}}, [{"type": "input_json_delta", "partial_json": each} for each in pieces(text)]
        case "thinking":
            deltas = [{"type": "thinking_delta", "thinking": piece} for piece in pieces(block.get("thinking"))]
            signed = {"type": "signature_delta", "signature": block.get("signature") or ""}
            return {**block, "thinking": "", "signature": ""}, [*deltas, signed]
        case _:
            return dict(block), []


def _event(kind: str, **fields: object) -> Event:
    return Event({"type": kind, **fields}, kind)
