"""A thread's place among those of its call that run at the same time. It lends it while it waits for another thread.

Else threads whose nodes await threads of the same Runner might take all places, and wait for ever.
"""

import contextlib
from collections.abc import Callable, Iterator
from contextvars import ContextVar


class Place:
    """One thread's place, while it runs.

    Args:
        lend: Called with 1 when the place is lent, and with -1 when it is taken back.
    """

    def __init__(self, lend: Callable[[int], None]) -> None:
        self._lend = lend
        self._waits = 0
        self._is_over = False

    def take(self) -> None:
        """Be the place of all that runs in this context."""
        _place.set(self)

    def give_up(self) -> None:
        """End: the thread runs no more. What it has started and still waits changes nothing."""
        if self._waits:
            self._lend(-1)
        self._is_over = True

    def wait(self, change: int) -> None:
        """Count a wait of the thread in (1) or out (-1)."""
        if self._is_over:
            return
        before = self._waits
        self._waits += change
        if bool(before) != bool(self._waits):
            self._lend(change)


_place: ContextVar[Place | None] = ContextVar("batch_bridge_place", default=None)


@contextlib.contextmanager
def lent() -> Iterator[None]:
    """Lend the place of the thread in whose node this runs, if it is one. The thread may take it back at any time."""
    place = _place.get()
    if place is None:
        yield
        return
    place.wait(1)
    try:
        yield
    finally:
        place.wait(-1)
