"""Streams of server-sent events: a finished answer, sent piece by piece."""

import math
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson
from starlette.responses import Response, StreamingResponse

from batch_bridge.testing._answers.asked import STREAM_FIELDS
from batch_bridge.testing._server.gate import HTTPCall, drop

PIECE_CHARACTERS: Final = 8
MAX_PIECES: Final = 64
"""A text comes in pieces of so many characters, and of more if it would be more than so many pieces."""


@dataclass(frozen=True, slots=True)
class Event:
    """One event.

    Attributes:
        data: Written as JSON; a text as it is.
        name: The event's name, where the API names its events.
    """

    data: object
    name: str | None = None

    def wire(self) -> bytes:
        """The event as it is sent."""
        data = self.data.encode() if isinstance(self.data, str) else write(self.data)
        return (b"" if self.name is None else b"event: " + self.name.encode() + b"\n") + b"data: " + data + b"\n\n"


def write(data: object) -> bytes:
    """A JSON value in one line."""
    return orjson.dumps(data, option=orjson.OPT_NON_STR_KEYS)


def pieces(text: object) -> Iterator[str]:
    """The pieces that a text comes in; none of what is no text, or empty."""
    if not isinstance(text, str):
        return
    size = max(PIECE_CHARACTERS, math.ceil(len(text) / MAX_PIECES))
    for start in range(0, len(text), size):
        yield text[start : start + size]


def without_stream(body: Mapping[str, Any]) -> dict[str, Any]:
    """A request as an answerer sees it: answers are the same, streamed or not."""
    return {name: value for name, value in body.items() if name not in STREAM_FIELDS}


def stream(call: HTTPCall, events: Iterable[Event]) -> Response:
    """Answer with events; the fault `cut_stream` closes the connection half way."""
    return send(call, [event.wire() for event in events], "text/event-stream")


def send(call: HTTPCall, parts: list[bytes], media_type: str) -> Response:
    """Answer with the parts of a body, one after the other; cut as in `stream`."""
    end = len(parts) // 2 if call.core.context.draws.strikes("cut_stream") else None

    async def body() -> AsyncIterator[bytes]:
        for number, part in enumerate(parts):
            if number == end:
                await drop(call.request)
                return
            yield part

    return StreamingResponse(body(), media_type=media_type, headers={"cache-control": "no-cache"})
