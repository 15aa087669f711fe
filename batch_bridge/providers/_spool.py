"""A temporary file for a batch's input or output, which no event loop has to wait for."""

import asyncio
import io
import mmap
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import IO


@asynccontextmanager
async def spool() -> AsyncIterator[IO[bytes]]:
    """Open a temporary file, which goes when it is closed."""
    file = await asyncio.to_thread(tempfile.TemporaryFile)
    try:
        yield file
    finally:
        await asyncio.to_thread(file.close)


class Mapped(io.BufferedIOBase):
    """A file that was just written, to be read by a client on an event loop.

    SDKs read what they upload with plain calls. Servers that watch their event loop refuse those on a file; this one
    is read from the pages that writing it has left in memory.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._pages = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)

    def read(self, size: int | None = -1, /) -> bytes:
        """See `io.BufferedIOBase`."""
        return self._pages.read(size)

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """See `io.IOBase`."""
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._pages.tell(), io.SEEK_END: len(self._pages)}[whence]
        self._pages.seek(start + offset)
        return self._pages.tell()

    def tell(self) -> int:
        """See `io.IOBase`."""
        return self._pages.tell()

    def readable(self) -> bool:
        """See `io.IOBase`."""
        return True

    def seekable(self) -> bool:
        """See `io.IOBase`."""
        return True

    def close(self) -> None:
        """See `io.IOBase`."""
        self._pages.close()
        super().close()
