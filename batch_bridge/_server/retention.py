"""Lets go, now and then, of what a bridge has kept for long enough."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from typing import Any, Literal

from langgraph.store.base import ListNamespacesOp, MatchCondition, PutOp, SearchOp
from langgraph_sdk.client import LangGraphClient
from langgraph_sdk.errors import APIError

from batch_bridge._core import log_text as _logged
from batch_bridge._core.interrupt_payload import is_request_id
from batch_bridge._core.log import about, logger_of
from batch_bridge._ledger.ledger import Rows
from batch_bridge._node.platform.client import Access
from batch_bridge._server.delivery import delivered_namespace
from batch_bridge._server.ledger import ServerLedger
from batch_bridge._server.thread_claims import forget_stale
from batch_bridge._server.users import Users

logger = logger_of(__name__)

_EVERY = timedelta(hours=1)
_PAGE = 500
_MOST_PAGES = 20
_KEPT_RUNS = 20
"""Runs of the bridge's thread that stay, for a person to look at."""
_ENDS: tuple[Literal["success", "error", "timeout", "interrupted"], ...] = (
    "success",
    "error",
    "timeout",
    "interrupted",
)


class Retention:
    """Deletes old rows.

    Args:
        store: Where it is.
        bridge: The bridge's name on this server.
        ledger: The bridge's.
        forget: Lets go of outcomes.
        access: How the server is reached.
        users: Whose the threads are.
        period: How long delivered outcomes, dead letters and summaries of batches are kept.
    """

    def __init__(
        self,
        store: Rows,
        bridge: str,
        ledger: ServerLedger,
        forget: Callable[[Sequence[str]], Awaitable[None]],
        period: timedelta,
        *,
        access: Access,
        users: Users,
    ) -> None:
        self._store = store
        self._bridge = bridge
        self._ledger = ledger
        self._forget = forget
        self._period = period
        self._access = access
        self._users = users
        self._due: datetime | None = None

    async def tidy(self, client: LangGraphClient, now: datetime) -> None:
        """Let go of what is old, if it is time to."""
        if self._due is not None and now < self._due:
            return
        first, self._due = self._due is None, now + _EVERY
        oldest = now - self._period
        await self._forget_delivered(f"{oldest:%Y%m%d%H}")
        await self._ledger.forget_closed(oldest)
        await self._forget(await self._ledger.forget_dead(oldest))
        await self._ledger.forget_unclaimed(oldest)
        await forget_stale(self._store, now)
        if not first:
            await self._forget_runs(client)
            await self._users.forget_departed()

    async def _forget_delivered(self, before: str) -> None:
        """Let go of the outcomes that were delivered before an hour."""
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

    async def _forget_runs(self, client: LangGraphClient) -> None:
        thread = await self._access.thread_of(self._bridge, self._store)
        try:
            for status in _ENDS:
                for _ in range(_MOST_PAGES):
                    runs: Any = await client.runs.list(thread, status=status, limit=_PAGE, offset=_KEPT_RUNS)
                    for run in runs:
                        await client.runs.delete(thread, run["run_id"])
                    if len(runs) < _PAGE:
                        break
            if hasattr(client.threads, "prune"):
                await client.threads.prune([thread], strategy="keep_latest")
        except APIError as error:
            logger.info(
                "%s: could not tidy up the bridge's thread: %s",
                self._bridge,
                _logged.said(error),
                extra=about(bridge=self._bridge),
            )
