"""A batch's results on their way from the provider: to the disk first, and from there a line at a time."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final

from batch_bridge._core.closing import Closing
from batch_bridge.providers._shared.clean_text import holds_secrets, without_secrets
from batch_bridge.providers._shared.results.line_splitter import LineSplitter, TooLong
from batch_bridge.providers._shared.results.temp_file import TempFile

_HELD: Final = 4_000_000
"""Bytes that are held in memory: smaller results need no file."""


class Download:
    """Results as far as they came.

    Attributes:
        error: What broke them off; what had come by then can be read, and was paid for.
        is_gone: Whether the API says that no results exist.
    """

    def __init__(self, held: int = _HELD) -> None:
        self._most_held = held
        self.error: Exception | None = None
        self.is_gone = False
        self._pieces: list[bytes] = []
        self._held = 0
        self._at = 0
        self._file: TempFile | None = None

    async def write(self, chunk: bytes) -> None:
        """Add a piece."""
        self._pieces.append(chunk)
        self._held += len(chunk)
        if self._held >= self._most_held:
            await asyncio.to_thread(self._spill)

    async def lines(self, most: int) -> AsyncGenerator[bytes | TooLong, None]:
        """Yield the lines without keys, once; those longer than `most` bytes without their middle.

        Raises:
            Exception: What broke the results off, after the lines that had come.
        """
        async for lines in self.many_lines(most):
            for line in lines:
                yield line

    async def many_lines(self, most: int) -> AsyncGenerator[list[bytes | TooLong], None]:
        """Yield what `lines` does, as many at a time as have come together.

        Raises:
            Exception: As `lines`.
        """
        splitter = LineSplitter(most)
        async for chunk in self._chunks():
            lines = splitter.feed(chunk)
            # a line within the chunk holds a key only if the chunk does; the first one began in another
            inner = lines[1:] if lines and not holds_secrets(chunk) else list(map(_cleaned, lines[1:]))
            if lines:
                yield [_cleaned(lines[0]), *inner]
        if self.error is not None:
            raise self.error
        if rest := splitter.end():
            yield list(map(_cleaned, rest))

    async def close(self) -> None:
        """Release what was kept. Idempotent."""
        self._pieces.clear()
        if (file := self._file) is not None:
            self._file = None
            await asyncio.to_thread(file.close)

    async def _chunks(self) -> AsyncIterator[bytes]:
        if self._file is not None:
            while chunk := await asyncio.to_thread(self._read):
                yield chunk
        pieces, self._pieces = self._pieces, []
        for piece in pieces:
            yield piece

    def _spill(self) -> None:
        if self._file is None:
            self._file = TempFile()
        pieces, self._pieces, self._held = self._pieces, [], 0  # if this fails, they are not read a second time
        self._file.writelines(pieces)

    def _read(self) -> bytes:
        assert self._file is not None  # noqa: S101  # as `_chunks` has seen
        self._file.seek(self._at)
        chunk: bytes = self._file.read(self._most_held)
        self._at += len(chunk)
        return chunk


def _cleaned(line: bytes | TooLong) -> bytes | TooLong:
    return line if isinstance(line, TooLong) else without_secrets(line)


async def fetched(
    into: Callable[[Download], Awaitable[None]],
    is_gone: Callable[[Exception], bool],
    told: Callable[[Exception], Exception],
) -> Download:
    """Return a download as far as it came.

    Args:
        into: Fetches it.
        is_gone: Whether an error says that there is nothing to fetch.
        told: What an error means to the engine.
    """
    download = Download()
    try:
        await into(download)
    except asyncio.CancelledError:
        await download.close()
        raise
    except Exception as error:  # noqa: BLE001  # what had come by then is read first
        download.is_gone = is_gone(error)
        if not download.is_gone:
            download.error = told(error)
    return download


@asynccontextmanager
async def held(*downloads: Download | None) -> AsyncIterator[None]:
    """Close downloads at the end."""
    async with Closing(each.close for each in downloads if each is not None):
        yield
