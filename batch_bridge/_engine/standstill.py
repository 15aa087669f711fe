"""For how long nothing has moved: every call of the providers has failed, one after the other. No I/O."""

from datetime import datetime, timedelta
from typing import Final

from batch_bridge import events
from batch_bridge._core.wording import log_text as _logged
from batch_bridge.errors import Stalled

TELL_AFTER: Final = timedelta(hours=1)
"""How long nothing moves before that is reported; the next time after twice that, and so on."""


class Standstill:
    """What all bridges of one host share: whether any of them gets on.

    What moves is a look that has told how a batch is, a batch that is created, a request that is settled. A batch that
    runs for a day moves with each look at it. Time in which no call was due, as while a machine sleeps, does not count.

    Args:
        give_up_after: After so long without a movement `given_up` returns an error; `None`: never.
    """

    def __init__(self, give_up_after: timedelta | None = None) -> None:
        self._limit = give_up_after
        self._at: datetime | None = None
        self._pause = timedelta(0)
        self._spent = timedelta(0)
        self._told_at = TELL_AFTER
        self._problem = self._logged = ""

    def moved(self) -> None:
        """Note that something has moved, or that the caller starts again."""
        self._at, self._spent, self._told_at = None, timedelta(0), TELL_AFTER

    def failed(self, problem: str, logged: str, now: datetime, pause: timedelta) -> None:
        """Note a call that has failed.

        Args:
            problem: What was tried, and why it has failed.
            logged: The same for the log.
            now: Aware UTC.
            pause: When the next call may be expected, at the latest.
        """
        if self._at is not None:
            self._spent += min(max(now - self._at, timedelta(0)), 2 * self._pause)
        self._at, self._pause, self._problem, self._logged = now, pause, problem, logged

    def event(self, bridge: str) -> events.Stalled | None:
        """Return the event that is due now, if any. Each event is returned once."""
        over = self._limit is not None and self._spent >= self._limit
        if self._spent < self._told_at and not (over and self._told_at < timedelta.max):
            return None
        self._told_at = timedelta.max if over else 2 * self._spent
        return events.Stalled(bridge=bridge, seconds=self._spent.total_seconds(), problem=self._problem)

    @property
    def logged(self) -> str:
        """What the log says of the last problem."""
        return self._logged

    def given_up(self) -> Stalled | None:
        """Return what ends the run, if nothing has moved for too long."""
        if self._limit is None or self._spent < self._limit:
            return None
        seconds = self._spent.total_seconds()
        text = (
            f"every call has failed for {seconds:,.0f} seconds, so give_up_after= has expired. The last problem: "
            "{}. The ledger is unchanged: once the problem is fixed, the same command continues"
        )
        error = Stalled(text.replace("{}", self._problem), problem=self._problem, seconds=seconds)
        return _logged.logged_as(error, text.replace("{}", self._logged))
