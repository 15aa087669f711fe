"""Wakes targets once a second at most, however many deliveries come."""

import asyncio
from collections.abc import Sequence
from typing import Final

from batch_bridge.webhooks._targets import Names, Wake

PERIOD: Final = 1.0
"""Seconds between two wake-ups; the deliveries of one share the next one."""
PATIENCE: Final = 10.0
"""Seconds after which a target that cannot be woken is given up."""
MOST: Final = 1_000
"""Batches that one wake-up names; beyond, all are looked at."""


class Waker:
    """Gathers ended batches, and wakes the targets. It belongs to one event loop at a time.

    Args:
        wakes: What wakes each target.
        period: Seconds between two wake-ups.
    """

    def __init__(self, wakes: Sequence[Wake], *, period: float = PERIOD) -> None:
        self.period = period
        self._wakes = wakes
        self._names: dict[str, None] = {}
        self._is_all = False
        self._next: asyncio.Task[None] | None = None
        self._at: float | None = None

    async def wake(self, ended: Sequence[str]) -> None:
        """Have what has ended looked at, or all if nothing is named; return once the targets know.

        Raises:
            TimeoutError: A target does not answer.
            Exception: What a target has failed with.
        """
        loop = asyncio.get_running_loop()
        if self._next is None or self._next.done() or self._next.get_loop() is not loop:
            self._next = loop.create_task(self._work())
            self._next.add_done_callback(_retrieve)
        self._is_all = self._is_all or not ended or len(self._names) > MOST
        if not self._is_all:
            self._names.update(dict.fromkeys(ended))
        await asyncio.shield(self._next)

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        if self._at is not None:
            await asyncio.sleep(min(max(self._at + self.period - loop.time(), 0.0), self.period))
        else:
            await asyncio.sleep(0)  # deliveries that arrive together are passed on together
        names: Names = None if self._is_all else tuple(self._names)
        self._names, self._is_all, self._next, self._at = {}, False, None, loop.time()
        async with asyncio.timeout(PATIENCE):
            await asyncio.gather(*(wake(names) for wake in self._wakes))


def _retrieve(work: asyncio.Task[None]) -> None:
    """Retrieve an error that no caller waits for any more."""
    if not work.cancelled():
        work.exception()
