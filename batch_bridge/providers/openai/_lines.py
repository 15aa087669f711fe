"""The lines of a batch's input: of items that are bytes already, those bytes and what stands around them. Pure."""

import io
from collections.abc import Callable, Hashable, Sequence
from typing import Final, cast

import orjson

from batch_bridge._core.models import JSON, LineFrame, Request, Serialized
from batch_bridge.errors import RequestRefused
from batch_bridge.providers.openai._call import OpenAICall
from batch_bridge.providers.openai._dialects import Quirks

_ID: Final = "\0id"
_ITEM: Final[list[JSON]] = [{"role": "user", "content": "\0item"}]
_BODY: Final = b'"body":'
_END: Final = b"}\n"
_MOST_FRAMES: Final = 100
"""Frames that are remembered; each client makes one or a few."""
_PIECE: Final = 512_000
"""Bytes of lines that are sent at once, about."""


class OpenAILines:
    """Writes lines, and remembers what stands around every conversation's messages.

    Args:
        owner: The provider.
        read: Reads a request, and refuses what cannot be sent.
        quirks: How the server writes lines.
    """

    def __init__(self, owner: object, read: Callable[[Request], OpenAICall], quirks: Quirks) -> None:
        self._owner = owner
        self._read = read
        self._quirks = quirks
        self._conversation: tuple[LineFrame, str] | None = None
        self._is_asked = False
        self._bodies: dict[tuple[bytes, bytes, int, int], LineFrame] = {}
        self._kinds: dict[Hashable, tuple[LineFrame, str]] = {}

    def of_conversations(self) -> tuple[LineFrame, str] | None:
        """Return the line, and the group, of every list of messages, which need not be read for it; else nothing."""
        if not self._is_asked:
            self._is_asked = True
            self._conversation = self._around()
        return self._conversation

    def _around(self) -> tuple[LineFrame, str] | None:
        try:
            call = self._read(Request(_ID, "", [*_ITEM]))
        except RequestRefused:  # each of them is, and is told why
            return None
        before, _, rest = call.line(_ID, self._quirks).partition(orjson.dumps(_ID)[1:-1])
        between, found, after = rest.partition(orjson.dumps(_ITEM))
        return (LineFrame(self._owner, before, between, after), f"{call.endpoint} {call.model}") if found else None

    def around_body(self, request: Serialized, line: bytes) -> LineFrame | None:
        """Return what stands around the body in a line that was made of an item in which the same body stands.

        It is the same for all that one client asks: they share what is returned.
        """
        before, _, rest = line.partition(request.id.encode())
        between, found, body = rest.partition(_BODY)
        body, after = body[: -len(_END)], body[-len(_END) :]
        start = request.data.find(body) if found and after == _END else -1
        if start < 0:
            return None
        place = (before, between, start, len(request.data) - start - len(body))
        frame = self._bodies.get(place)
        if frame is None:
            frame = LineFrame(self._owner, before, between + found, after, start=start, end=place[-1])
            if len(self._bodies) < _MOST_FRAMES:
                self._bodies[place] = frame
        return frame

    def of_kind(self, kind: Hashable) -> tuple[LineFrame, str] | None:
        """Return the line, and the group, of all requests of a kind, if one of them was measured; see `Serialized`."""
        return self._kinds.get(kind)

    def note_kind(self, kind: Hashable, frame: LineFrame, group: str) -> None:
        """Note what was measured of a request; the others of its kind have the same line, and group."""
        if len(self._kinds) < _MOST_FRAMES:
            self._kinds[kind] = frame, group

    def write(self, request: Request) -> bytes:
        """Return a request's line; what was measured in this process is not read again."""
        if type(request) is Serialized and (line := request.line) is not None and line.owner is self._owner:
            return line.write((request,))
        return self._read(request).line(request.id, self._quirks)

    def reader(self, requests: Sequence[Request]) -> "LinesReader | None":
        """Return the lines of requests as a file; `None` if some are not finished yet."""
        if set(map(type, requests)) != {Serialized}:
            return None
        finished = cast("Sequence[Serialized]", requests)
        frames = {each.line for each in finished}
        frame = frames.pop()
        if frames or frame is None or frame.owner is not self._owner:
            return None
        return LinesReader(finished, frame)


class LinesReader(io.BufferedIOBase):
    """The lines of requests as a file that a client uploads: nothing is written, and few lines exist at a time.

    SDKs ask how long a file is, and read it from its beginning: once, or again where they follow a redirect. What they
    read they send as it comes, and each piece costs them the same: so a piece is larger than they ask for.

    Args:
        requests: Whose lines; unchanged until all is read.
        frame: Makes the lines.
        piece: Bytes that are read at once, about.
    """

    def __init__(self, requests: Sequence[Serialized], frame: LineFrame, *, piece: int = _PIECE) -> None:
        self._requests = requests
        self._frame = frame
        data = sum([len(each.data) for each in requests])
        self._size = len(requests) * frame.fixed + sum([len(each.id) for each in requests]) + data
        self._in_piece = max(piece * len(requests) // self._size, 1)
        self._next = self._at = 0

    def read(self, size: int | None = -1, /) -> bytes:
        """Return the next lines: all that are left, or a piece, whatever `size` is."""
        start = self._next
        is_all = size is None or size < 0
        self._next = len(self._requests) if is_all else min(start + self._in_piece, len(self._requests))
        piece = self._frame.write(self._requests[start : self._next])
        self._at += len(piece)
        return piece

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """See `io.IOBase`; to the beginning, the end, or where it is."""
        place = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence] + offset
        if place == self._at:
            return place
        if place not in (0, self._size):
            raise io.UnsupportedOperation("lines are read from their beginning")
        self._next, self._at = (0 if place == 0 else len(self._requests)), place
        return place

    def tell(self) -> int:
        """See `io.IOBase`."""
        return self._at

    def readable(self) -> bool:
        """See `io.IOBase`."""
        return True

    def seekable(self) -> bool:
        """See `io.IOBase`."""
        return True
