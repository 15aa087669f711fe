"""What the page shows: a file, or the bridges of a deployment. One look a second at it, however many watch."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from time import monotonic
from typing import Final, Protocol

from batch_bridge._status.commands import Verb, ask, wait_for
from batch_bridge._status.models import Status
from batch_bridge._status.read import StatusReader
from batch_bridge._status.thread import ThreadSeen, read_thread
from batch_bridge.errors import RunFileError

FRESH: Final = 0.9
"""Seconds for which a look is shared."""
_PAUSE: Final = 20
"""A look that takes long is followed by a pause of so many times its length: watching never takes a core."""
_PATIENCE: Final = 5.0
"""Seconds to wait until a command was carried out."""


class PageSource(Protocol):
    """What a page shows."""

    async def look(self) -> Status:
        """Return how it is.

        Raises:
            RunFileError: It cannot be read now.
        """
        ...

    async def thread(self, key: str) -> ThreadSeen | None:
        """Return one of its threads; `None` if no thread has this id."""
        ...

    async def command(self, verb: Verb, target: Mapping[str, str]) -> str:
        """Have something done, and return what became of it, in a line."""
        ...


class SharedLook:
    """Reads a source for all its observers. Bound to one event loop."""

    def __init__(self, source: PageSource) -> None:
        self.source = source
        self._lock = asyncio.Lock()
        self._seen: Status | None = None
        self._next_at = 0.0

    async def look(self) -> Status:
        """Return how it is.

        Raises:
            RunFileError: It is not there, or cannot be read.
        """
        async with self._lock:
            if self._seen is None or monotonic() >= self._next_at:
                began = monotonic()
                self._seen = await self.source.look()
                ended = monotonic()
                self._next_at = ended + max(FRESH, _PAUSE * (ended - began))
            return self._seen


class WatchedFile:
    """A file of a Runner, a Batcher or Jobs; looked at each time, so that it may come and go.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._reader = StatusReader(path)

    async def look(self) -> Status:
        """See `PageSource`."""
        return await asyncio.to_thread(self._reader.read)

    async def thread(self, key: str) -> ThreadSeen | None:
        """See `PageSource`."""
        return await asyncio.to_thread(read_thread, self._path, key)

    async def command(self, verb: Verb, target: Mapping[str, str]) -> str:
        """See `PageSource`."""
        return await asyncio.to_thread(self._carry_out, verb, target)

    def _carry_out(self, verb: Verb, target: Mapping[str, str]) -> str:
        try:
            command = wait_for(self._path, ask(self._path, verb, target), _PATIENCE)
        except RunFileError as error:
            return f"{verb} is refused: {error}"
        if command is None or command.state == "asked":
            return f"{verb} is asked, and will be carried out"
        return f"{verb}: {command.said}"
