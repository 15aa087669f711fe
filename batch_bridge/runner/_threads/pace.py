"""How many submitted threads run at the same time while the event loop is busy: it serves web requests, too.

Where nodes wait for a network, many threads side by side cost nothing. Where they compute, and LangGraph does, each one
more makes a turn of the loop longer; and a web request takes several turns until it is answered.
"""

import asyncio
from collections.abc import Callable
from typing import Final

FEW: Final = 8
"""Threads that run at the same time however busy the loop is: enough to share the commits of a file."""
LONG_TURN: Final = 0.02
"""Seconds of a turn of the loop after which fewer run."""
_LATER: Final = 0.05
"""Seconds after a long turn until one is measured again, while threads wait to run."""


class Pace:
    """Lets more threads run side by side after each short turn of the running event loop, and fewer after a long one.

    It measures only while threads wait to run.

    Args:
        most: Threads that run at the same time, however idle the loop is.
        go_on: Called when there may be room again.

    Attributes:
        limit: Threads that may run at the same time now.
    """

    def __init__(self, most: int, go_on: Callable[[], None]) -> None:
        self._most = most
        self._go_on = go_on
        self.limit = min(FEW, most)
        self._since: float | None = None
        self._later: asyncio.TimerHandle | None = None

    def look(self, running: int) -> None:
        """Measure a turn of the loop, and set the limit by it: threads wait, and so many run."""
        if self._since is None and self._later is None and running < self._most:
            loop = asyncio.get_running_loop()
            self._since = loop.time()
            loop.call_soon(self._turned)

    def stop(self) -> None:
        """Look no more, and call `go_on` no more."""
        self._since = None
        if self._later is not None:
            self._later.cancel()
            self._later = None

    def _turned(self) -> None:
        if self._since is None:
            return
        loop = asyncio.get_running_loop()
        took, self._since = loop.time() - self._since, None
        is_short = took < LONG_TURN
        self.limit = min(self.limit + FEW if is_short else max(self.limit // 2, FEW), self._most)
        self._later = loop.call_later(0 if is_short else _LATER, self._again)

    def _again(self) -> None:
        self._later = None
        self._go_on()
