"""Deletes, now and then, what a bridge has kept long enough."""

from datetime import datetime, timedelta

from langgraph.store.base import ListNamespacesOp, MatchCondition, PutOp, SearchOp

from batch_bridge._core.payload.interrupt_payload import is_request_id
from batch_bridge._core.wording.log import logger_of
from batch_bridge._server.delivery import delivered_namespace
from batch_bridge._server.parts import HostParts
from batch_bridge._server.port.threads import ThreadServer
from batch_bridge._server.threads.claims import forget_stale

logger = logger_of(__name__)

_EVERY = timedelta(hours=1)
_PAGE = 500


class Retention:
    """Deletes old rows.

    Args:
        parts: The parts of the host.
        period: How long delivered outcomes, dead letters and summaries of batches are kept.
    """

    def __init__(self, parts: HostParts, period: timedelta) -> None:
        self._bridge, self._store, self._records = parts.bridge, parts.store, parts.records
        self._forget, self._users = parts.engine.forget, parts.users
        self._period = period
        self._due: datetime | None = None

    async def tidy(self, server: ThreadServer, now: datetime) -> None:
        """Delete old rows, if the next tidying is due."""
        if self._due is not None and now < self._due:
            return
        first, self._due = self._due is None, now + _EVERY
        oldest = now - self._period
        await self._forget_delivered(f"{oldest:%Y%m%d%H}")
        await self._records.ledger.forget_closed(oldest)
        await self._forget(await self._records.forget_dead(oldest))
        await self._records.forget_unclaimed(oldest)
        await forget_stale(self._store, now)
        if not first:
            await server.tidy()
            await self._users.forget_departed()

    async def _forget_delivered(self, before: str) -> None:
        """Delete the outcomes that were delivered before an hour."""
        root = delivered_namespace(self._bridge)
        below = MatchCondition("prefix", root)
        (hours,) = await self._store.abatch([ListNamespacesOp((below,), max_depth=len(root) + 1, limit=10_000)])
        for hour in hours:
            while hour[-1] < before:
                (rows,) = await self._store.abatch([SearchOp(hour, limit=_PAGE)])
                if not rows:
                    break
                for row in rows:
                    ids = row.value.get("ids")
                    await self._forget([each for each in ids if is_request_id(each)] if isinstance(ids, list) else [])
                await self._store.abatch([PutOp(hour, row.key, None) for row in rows])
