"""One look a second at a file, however many watch it."""

import asyncio
from pathlib import Path
from time import monotonic
from typing import Final

from batch_bridge._status.models import Status
from batch_bridge._status.read import read_status

FRESH: Final = 0.9
"""Seconds for which a look is shared."""


class Watch:
    """Looks at a file for all who watch it. Bound to one event loop.

    Args:
        file: The file; looked at each time, so that it may come and go.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self._lock = asyncio.Lock()
        self._seen: Status | None = None
        self._seen_at = 0.0

    async def look(self) -> Status:
        """Return how the file is.

        Raises:
            RunFileError: It is not there, or cannot be read.
        """
        async with self._lock:
            if self._seen is None or monotonic() - self._seen_at > FRESH:
                self._seen = await asyncio.to_thread(read_status, self.file)
                self._seen_at = monotonic()
            return self._seen
