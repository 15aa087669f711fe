"""The lines of a batch's input: of items that are bytes already, those bytes and what stands around them. Pure."""

import io
from collections.abc import Callable, Iterator, Sequence
from typing import Final

import orjson

from batch_bridge._core.models import JSON, LineFrame, Request, Serialized
from batch_bridge.errors import RequestRefused
from batch_bridge.providers.openai._call import OpenAICall
from batch_bridge.providers.openai._dialects import Quirks

_ID: Final = "\0id"
_ITEM: Final[list[JSON]] = [{"role": "user", "content": "\0item"}]
_EMPTY: Final = len(b"[]")


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

    def of_conversation(self, request: Request) -> tuple[LineFrame, str] | None:
        """Return the line, and the group, of a list of messages, which need not be read for it; else nothing."""
        if type(request) is not Serialized or not request.is_conversation or len(request.data) <= _EMPTY:
            return None
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

    def write(self, request: Request) -> bytes:
        """Return a request's line; what was measured in this process is not read again."""
        if type(request) is Serialized and (line := request.line) is not None and line.owner is self._owner:
            return line.write(request.id, request.data)
        return self._read(request).line(request.id, self._quirks)

    def reader(self, requests: Sequence[Request]) -> "LinesReader | None":
        """Return the lines of requests as a file; `None` if some are not finished yet."""
        size = 0
        for each in requests:
            if type(each) is not Serialized or (line := each.line) is None or line.owner is not self._owner:
                return None
            size += line.size(each.id, each.data)
        return LinesReader(requests, self.write, size)


class LinesReader(io.BufferedIOBase):
    """The lines of requests as a file that a client uploads: nothing is written, and few lines exist at a time.

    SDKs ask how long a file is, and read it from its beginning: once, or again where they follow a redirect.

    Args:
        requests: Whose lines; unchanged until all is read.
        write: Makes the line of one.
        size: The length of all lines, in bytes.
    """

    def __init__(self, requests: Sequence[Request], write: Callable[[Request], bytes], size: int) -> None:
        self._requests = requests
        self._write = write
        self._size = size
        self._at = 0
        self._lines: Iterator[bytes] = map(write, requests)
        self._rest = memoryview(b"")

    def read(self, size: int | None = -1, /) -> bytes:
        """See `io.BufferedIOBase`."""
        wanted = self._size if size is None or size < 0 else size
        pieces: list[bytes | memoryview] = []
        while wanted:
            if not self._rest:
                line = next(self._lines, None)
                if line is None:
                    break
                if len(line) <= wanted:
                    pieces.append(line)
                    wanted -= len(line)
                    continue
                self._rest = memoryview(line)
            piece = self._rest[:wanted]
            self._rest = self._rest[wanted:]
            pieces.append(piece)
            wanted -= len(piece)
        data = b"".join(pieces)
        self._at += len(data)
        return data

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """See `io.IOBase`; to the beginning, the end, or where it is."""
        place = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence] + offset
        if place == self._at:
            return place
        if place not in (0, self._size):
            raise io.UnsupportedOperation("lines are read from their beginning")
        self._lines = map(self._write, self._requests) if place == 0 else iter(())
        self._rest, self._at = memoryview(b""), place
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
