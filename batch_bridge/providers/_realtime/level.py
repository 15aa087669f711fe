"""How many calls of a lane run at a time: always as many, or as many as the vendor has room for."""

import asyncio
import random
from collections import deque
from typing import Final, Protocol, Self

from batch_bridge.providers._shared.results.reply import TryLater

_START: Final = 8
"""Calls at the same time before anything is known of the room."""
_FIRST_PAUSE: Final = 0.5
_LONG_PAUSE: Final = 3.0
_MANY: Final = 40
_LONGEST_PAUSE: Final = 8.0
"""Seconds without calls after a refusal. They double with each refusal in a row, up to the second figure, and after so
many in a row to the third. A refused call costs nothing, so room that comes back after a minute is soon found."""
_NO_ROOM: Final = (429, 503)
"""HTTP statuses of a provider without free capacity.

Source: developers.openai.com/api/docs/guides/flex-processing, ai.google.dev/gemini-api/docs/flex-inference.
"""


def is_refusal(error: TryLater) -> bool:
    """Return whether a call was turned away for want of capacity, and so was not billed."""
    return error.errored.status_code in _NO_ROOM


class Level(Protocol):
    """Lets so many calls in at a time; entered and left as a context by each call."""

    @property
    def era(self) -> int:
        """Changes with each cut; a call remembers the era that it began in."""
        ...

    def answered(self) -> None:
        """Note that a call was answered."""
        ...

    def refused(self, error: TryLater, era: int) -> float | None:
        """Note a refused call; return for how many seconds no other call is made."""
        ...

    async def __aenter__(self) -> Self: ...

    async def __aexit__(self, *_: object) -> None: ...


class FixedLevel:
    """Always the same number of places.

    Args:
        places: How many.
    """

    era = 0

    def __init__(self, places: int) -> None:
        self._slots = asyncio.Semaphore(places)

    def answered(self) -> None:
        """It makes no difference."""

    def refused(self, error: TryLater, era: int) -> float | None:  # noqa: ARG002
        """Return what the vendor asked for."""
        return error.retry_after

    async def __aenter__(self) -> Self:
        await self._slots.acquire()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._slots.release()


class FindingLevel:
    """As many places as the vendor has room for: one more with each answer, half of them after a refusal.

    Calls that were under way when the places were halved do not halve them again. Who asks first gets a place first, so
    a call that is always refused queues behind those that wait.

    Args:
        most: The most places.
    """

    def __init__(self, most: int) -> None:
        self.places = min(most, _START)
        self.era = 0
        self._most = most
        self._running = 0
        self._streak = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    def answered(self) -> None:
        """There is room: one place more."""
        self.places = min(self.places + 1, self._most)
        self._streak = 0
        self._let_in()

    def refused(self, error: TryLater, era: int) -> float | None:
        """Halve the places, and return a pause that doubles with each refusal in a row."""
        if not is_refusal(error) or era != self.era:
            return error.retry_after
        self.places = max(self.places // 2, 1)
        self.era += 1
        longest = _LONG_PAUSE if self._streak < _MANY else _LONGEST_PAUSE
        pause: float = min(_FIRST_PAUSE * 2 ** min(self._streak, _MANY), longest) * random.uniform(0.5, 1)  # noqa: S311  # a jitter
        self._streak += 1
        return max(pause, error.retry_after or 0)

    async def __aenter__(self) -> Self:
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        self._let_in()
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled():  # it was let in, but cancelled before it ran
                self._leave()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        self._leave()

    def _leave(self) -> None:
        self._running -= 1
        self._let_in()

    def _let_in(self) -> None:
        """Give the free places to those that wait, the first one first."""
        while self._waiting and self._running < self.places:
            turn = self._waiting.popleft()
            if not turn.done():  # it may have been cancelled
                self._running += 1
                turn.set_result(None)
