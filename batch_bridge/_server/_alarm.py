"""The alarm: sees to it that there is a next tick, by runs of the bridge's graph that wait for their time."""

import asyncio
import logging
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import httpx
from langgraph_sdk.client import LangGraphClient
from langgraph_sdk.errors import APIError

from batch_bridge._deployment._access import bridge_thread
from batch_bridge._deployment._bell import start_tick

logger = logging.getLogger("batch_bridge")

_INSURANCE = timedelta(minutes=5)
"""A tick for which there is a run beforehand, in case that this one ends without asking for the next."""


class Alarm:
    """The next tick of a bridge.

    Args:
        bridge: Its name on this server.
        client: Returns what calls the server.
    """

    def __init__(self, bridge: str, client: Callable[[], LangGraphClient]) -> None:
        self._bridge = bridge
        self._client = client

    async def set(self, at: datetime | None, now: datetime) -> datetime | None:
        """See to it that a run is pending for a time, or an earlier one; `None` asks for nothing. Returns when."""
        if at is not None:
            at = max(at, now)
            if not await self._is_set(at.timestamp() + 0.5):
                await start_tick(self._client(), self._bridge, "timer", after=int((at - now).total_seconds()))
        return at

    async def set_stubbornly(self, at: datetime, now: datetime) -> datetime | None:
        """Do what `set` does until the server takes it: there would be no tick otherwise."""
        for pause in (1, 4, 15, 60):
            try:
                return await self.set(at, now)
            except (APIError, httpx.HTTPError) as error:
                logger.warning("could not ask for the next tick: %s", error)
                await asyncio.sleep(pause)
        return await self.set(at, now)

    async def insure(self, now: datetime) -> None:
        """See to it that a run is pending while one is under way: that may be cancelled, or its process killed."""
        if not await self._is_set((now + _INSURANCE * 2).timestamp()):
            await start_tick(self._client(), self._bridge, "insurance", after=int(_INSURANCE.total_seconds()))

    async def _is_set(self, latest: float) -> bool:
        pending: Any = await self._client().runs.list(bridge_thread(self._bridge), status="pending", limit=100)
        return any(_due((run.get("metadata") or {}).get("due")) <= latest for run in pending)


def _due(given: object) -> float:
    return given if isinstance(given, int | float) else 0.0
