"""The alarm: sees to it that there is a next tick, by runs of the bridge's graph that wait for their time."""

import asyncio
import logging
from datetime import datetime, timedelta
from typing import Any

import httpx
from langgraph_sdk.errors import APIError

from batch_bridge import _logged
from batch_bridge._deployment._access import Access
from batch_bridge._deployment._bell import start_tick
from batch_bridge._engine._notices import Notices
from batch_bridge._ledger import Rows

logger = logging.getLogger("batch_bridge")

_INSURANCE = timedelta(minutes=5)
"""A tick for which there is a run beforehand, in case that this one ends without asking for the next."""


class Alarm:
    """The next tick of a bridge.

    Args:
        bridge: Its name on this server.
        access: How the server is reached.
        store: The deployment's.
    """

    def __init__(self, bridge: str, access: Access, store: Rows) -> None:
        self._bridge = bridge
        self._access = access
        self._store = store
        self._notices = Notices()

    async def set(self, at: datetime | None, now: datetime) -> datetime | None:
        """See to it that a run is pending for a time, or an earlier one; `None` asks for nothing. Returns when."""
        if at is not None:
            at = max(at, now)
            if not await self._is_set(at.timestamp() + 0.5):
                await self._start("timer", at - now)
        return at

    async def set_stubbornly(self, at: datetime, now: datetime) -> datetime | None:
        """Do what `set` does until the server takes it: there would be no tick otherwise."""
        for pause in (1, 4, 15, 60):
            try:
                return await self.set(at, now)
            except (APIError, httpx.HTTPError) as error:
                if (again := self._notices.again(self._bridge, type(error).__name__, now)) is not None:
                    logger.warning("could not schedule the next tick: %s%s", _logged.said(error), again)
                await asyncio.sleep(pause)
        return await self.set(at, now)

    async def insure(self, now: datetime) -> None:
        """See to it that a run is pending while one is under way: that may be cancelled, or its process killed."""
        if not await self._is_set((now + _INSURANCE * 2).timestamp()):
            await self._start("insurance", _INSURANCE)

    async def _start(self, wake: str, after: timedelta) -> None:
        thread = await self._access.thread_of(self._bridge, self._store)
        await start_tick(self._access, thread, self._bridge, wake, after=int(after.total_seconds()))

    async def _is_set(self, latest: float) -> bool:
        thread = await self._access.thread_of(self._bridge, self._store)
        pending: Any = await self._access.client().runs.list(thread, status="pending", limit=100)
        return any(_due((run.get("metadata") or {}).get("due")) <= latest for run in pending)


def _due(given: object) -> float:
    return given if isinstance(given, int | float) else 0.0
