"""The timer: sees to it that there is a next tick."""

import asyncio
from datetime import datetime, timedelta

from langgraph_sdk.errors import APIStatusError

from batch_bridge._core.wording import log_text as _logged
from batch_bridge._core.wording.log import logger_of
from batch_bridge._engine.flights.notices import Notices
from batch_bridge._ledger.patience import is_transient
from batch_bridge._server.port.threads import ThreadServer

logger = logger_of(__name__)

_INSURANCE = timedelta(minutes=5)
"""A tick that is asked for beforehand, in case that this one ends without asking for the next."""
_PAUSES = (1, 4, 15, 60, 60, 120, 120, 240, 300)
"""Seconds between two attempts."""
_REFUSALS = 4
"""How often a server is asked again that refuses."""


class TickTimer:
    """The next tick of a bridge.

    Args:
        bridge: Its name on this server.
        server: Begins ticks.
    """

    def __init__(self, bridge: str, server: ThreadServer) -> None:
        self._bridge = bridge
        self._server = server
        self._notices = Notices()

    async def set(self, at: datetime | None, now: datetime) -> datetime | None:
        """See to it that a run is pending for a time, or an earlier one; `None` asks for nothing. Returns when."""
        if at is not None:
            at = max(at, now)
            await self._server.wake(at - now, until=at.timestamp() + 0.5, why="timer")
        return at

    async def set_stubbornly(self, at: datetime, now: datetime) -> datetime | None:
        """Do what `set` does until the server takes it: there would be no tick otherwise.

        A server or a store that is out of reach is tried for a quarter of an hour, one that refuses for a minute.

        Raises:
            Exception: What it has failed with last.
        """
        failures = 0
        while True:
            try:
                return await self.set(at, now)
            except Exception as error:
                pauses = _PAUSES[:_REFUSALS] if _is_refusal(error) else _PAUSES
                if failures == len(pauses) or not is_transient(error):
                    raise
                if (again := self._notices.again(self._bridge, type(error).__name__, now)) is not None:
                    logger.warning("could not ask for the next tick: %s%s", _logged.said(error), again)
                await asyncio.sleep(pauses[failures])
                failures += 1

    async def insure(self, now: datetime) -> None:
        """See to it that a run is pending while one is under way: that may be cancelled, or its process killed."""
        await self._server.wake(_INSURANCE, until=(now + _INSURANCE * 2).timestamp(), why="insurance")


def _is_refusal(error: Exception) -> bool:
    return isinstance(error, APIStatusError) and error.status_code < 500  # noqa: PLR2004
