"""Bytes as they arrive, as lines. Pure."""

from collections.abc import Sequence
from typing import Final, NamedTuple

from batch_bridge.providers._shared.http.response_limits import USUAL

_HEAD: Final = 8_000
_TAIL: Final = 500
"""Bytes of a line that is too long which are kept: where the name of its request may stand."""


class TooLong(NamedTuple):
    """A line that was longer than is allowed: its beginning and its end."""

    head: bytes
    tail: bytes


class LineSplitter:
    r"""Splits a stream at `b"\n"`, wherever its chunks begin and end; holds the line that is incomplete yet.

    A line may be megabytes long: its pieces are joined once, when its end has come. Of one that is too long the middle
    is dropped as it arrives.

    Args:
        most: The bytes that a line may have.
    """

    def __init__(self, most: int = USUAL.answer_bytes) -> None:
        self._most = most
        self._pieces: list[bytes] = []
        self._held = 0
        self._head: bytes | None = None

    def feed(self, chunk: bytes) -> list[bytes | TooLong]:
        """Take a chunk, and return the lines that it completes, without their ends."""
        first, *others = chunk.split(b"\n")
        self._add(first)
        if not others:
            return []
        *inner, last = others
        lines = [self._line(), *inner]
        if len(chunk) > self._most:  # else no line within it is
            lines[1:] = [each if len(each) <= self._most else _cut(each) for each in inner]
        self._add(last)
        return lines

    def end(self) -> list[bytes | TooLong]:
        """Return the last line, if the stream did not end with a line's end."""
        rest = self._line()
        return [rest] if rest else []

    def _add(self, piece: bytes) -> None:
        self._pieces.append(piece)
        self._held += len(piece)
        if self._held <= self._most:
            return
        if self._head is None:
            self._head = _first(self._pieces, _HEAD)
        self._pieces, self._held = [_last(self._pieces, _TAIL)], self._most  # whatever follows is too much, too

    def _line(self) -> bytes | TooLong:
        line, head = b"".join(self._pieces), self._head
        self._pieces, self._held, self._head = [], 0, None
        return line if head is None else TooLong(head, line[-_TAIL:])


def _first(pieces: Sequence[bytes], size: int) -> bytes:
    """Return the first bytes of what pieces are together; the pieces are not joined."""
    found = b""
    for piece in pieces:
        found += piece[: size - len(found)]
        if len(found) == size:
            break
    return found


def _last(pieces: Sequence[bytes], size: int) -> bytes:
    """Return the last bytes of what pieces are together; the pieces are not joined."""
    found = b""
    for piece in reversed(pieces):
        if len(found) == size:
            break
        found = piece[-(size - len(found)) :] + found
    return found


def _cut(line: bytes) -> TooLong:
    return TooLong(line[:_HEAD], line[-_TAIL:])
