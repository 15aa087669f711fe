"""A temporary file for a batch's input or output, which no event loop has to wait for."""

import asyncio
import io
import mmap
import tempfile
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager
from typing import IO, Any, Final, cast

from batch_bridge._core.wording.log import logger_of

logger = logger_of(__name__)

_CHUNK: Final = 1 << 20


_MOST_IN_MEMORY: Final = 256_000_000
"""Bytes of a batch that are kept in memory where the disk takes none."""


@asynccontextmanager
async def open_temp_file() -> AsyncIterator[IO[bytes]]:
    """Open a `TempFile`, and close it at the end."""
    file = await asyncio.to_thread(TempFile)
    try:
        yield cast("IO[bytes]", file)
    finally:
        await asyncio.to_thread(file.close)


class TempFile:
    """A temporary file that is written once from its start to its end, and then read. In memory where no disk takes it.

    Its methods block. What is written when the disk is full, or has gone read-only, continues in memory, up to
    `most_in_memory` bytes.
    """

    def __init__(self, most_in_memory: int = _MOST_IN_MEMORY) -> None:
        self._most = most_in_memory
        self._file: IO[bytes]
        self._lines: Iterable[bytes] | None = None
        try:
            self._file = cast("IO[bytes]", tempfile.TemporaryFile(buffering=0))  # noqa: SIM115  # closed by `open_temp_file`
        except OSError as error:
            self._file = io.BytesIO()
            self._note(error)

    def write(self, chunk: Any) -> int:
        """Write all of a chunk."""
        rest = memoryview(chunk).cast("B")
        size = len(rest)
        while rest:
            try:
                rest = rest[self._file.write(rest) :]
            except OSError as error:
                if isinstance(self._file, io.BytesIO):
                    raise
                self._move(error)
            self._check()
        return size

    def writelines(self, lines: Iterable[bytes]) -> None:
        """Write lines, some thousands of bytes at a time."""
        held = bytearray()
        for line in lines:
            held += line
            if len(held) >= _CHUNK:
                self.write(bytes(held))
                held.clear()
        self.write(bytes(held))

    def __iter__(self) -> Iterator[bytes]:
        """Return the lines that have not been read yet; called once all is written."""
        if self._lines is None:
            file = self._file
            self._lines = file if isinstance(file, io.BytesIO) else io.BufferedReader(cast("io.RawIOBase", file))
        return iter(self._lines)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def _move(self, error: OSError) -> None:
        """Go on in memory with what the disk has taken."""
        disk, self._file = self._file, io.BytesIO()
        disk.seek(0)
        while chunk := disk.read(_CHUNK):
            self._file.write(chunk)
            self._check()
        disk.close()
        self._note(error)

    def _check(self) -> None:
        if isinstance(self._file, io.BytesIO) and self._file.tell() > self._most:
            raise TempFileError(
                f"temporary files cannot be written, and a batch of over {self._most:,} bytes is not kept in "
                "memory; free disk space, or set TMPDIR to a directory with free space"
            )

    def _note(self, error: OSError) -> None:
        logger.warning(
            "a batch is kept in memory, because temporary files cannot be written: %s; set TMPDIR", error.strerror
        )


class TempFileError(ValueError):
    """Neither the disk nor the memory takes a batch's file. It is the machine's, and no later try helps by itself."""


class MmapReader(io.BufferedIOBase):
    """A file that was just written, to be read by a client on an event loop.

    SDKs read what they upload with plain calls. Servers that watch their event loop refuse those on a file; this one
    is read from the pages that writing it has left in memory.
    """

    def __init__(self, file: IO[bytes]) -> None:
        try:
            self._pages: Any = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            self._size = len(self._pages)
        except (OSError, io.UnsupportedOperation):  # it is in memory, or on a file system that maps none
            file.seek(0)
            self._pages = io.BytesIO(file.read())
            self._size = self._pages.getbuffer().nbytes

    def read(self, size: int | None = -1, /) -> bytes:
        """See `io.BufferedIOBase`."""
        return bytes(self._pages.read(size))

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """See `io.IOBase`."""
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._pages.tell(), io.SEEK_END: self._size}[whence]
        self._pages.seek(start + offset)
        return int(self._pages.tell())

    def tell(self) -> int:
        """See `io.IOBase`."""
        return int(self._pages.tell())

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
