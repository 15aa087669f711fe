"""A LangGraph server behind the port: calls of `langgraph_sdk`, as the service or as the user whose run it is."""

from collections.abc import Container, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Literal

from langgraph_sdk.errors import APIError, NotFoundError

from batch_bridge._core.models import JSON
from batch_bridge._core.wording import log_text as _logged
from batch_bridge._core.wording.log import about, logger_of
from batch_bridge._ledger.rows import Rows
from batch_bridge._node.platform.client import Access
from batch_bridge._node.platform.identity_check import check_identity, vouch
from batch_bridge._node.platform.keys import KeyRing
from batch_bridge._node.platform.wakeup import start_tick
from batch_bridge._server.threads.stranded import find_late_answer, has_failed_node, look_closely
from batch_bridge._server.threads.view import ParkedWait, ThreadView, look, look_for_parked, present
from batch_bridge._server.users import Users
from batch_bridge.errors import BridgeUnreachableError

logger = logger_of(__name__)

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


class LangGraphServer:
    """See `ThreadServer`. A client belongs to a loop, and so is asked for at each call.

    Args:
        bridge: The bridge's name on this server.
        access: How the server is reached.
        store: The deployment's.
        key_ring: The deployment's keys, by which interrupts are known to be ours.
        users: The users of threads.
    """

    def __init__(self, bridge: str, access: Access, store: Rows, *, key_ring: KeyRing, users: Users) -> None:
        self._bridge = bridge
        self._access = access
        self._store = store
        self._ring = key_ring
        self._users = users

    async def look(
        self, ids: Sequence[str], *, closely: bool = False, doubted: Container[str] = ()
    ) -> dict[str, ThreadView]:
        """See `ThreadServer`."""
        client = self._access.client()
        if closely:
            return await look_closely(client, ids, self._ring, doubted)
        return await look(client, ids, self._ring)

    async def parked(self, offset: int, since: datetime | None) -> tuple[list[ThreadView], bool]:
        """See `ThreadServer`."""
        return await look_for_parked(self._access.client(), offset, since, self._ring)

    async def present(self, ids: Sequence[str]) -> set[str]:
        """See `ThreadServer`."""
        return await present(self._access.client(), ids)

    async def resume(
        self,
        thread: ThreadView,
        interrupts: Sequence[ParkedWait],
        answers: Mapping[str, JSON],
        strikes: int,
        user: str | None = None,
    ) -> None:
        """Resume a thread with our answers, and with a person's that LangGraph refused.

        A person's is not sent where another run has come in between: that may bring it as well, and LangGraph takes a
        second answer to one interrupt for an answer to the next.
        """
        late = await find_late_answer(self._access.client(), thread) if thread.stranded else None
        settings: dict[str, Any] = {}
        if user is None:
            user = (await self._users.of([thread.id])).get(thread.id, "") if self._access.service is not None else ""
        await vouch(self._bridge, self._access, user, thread.assistant)
        client, headers = self._access.acting(user)
        if headers:
            settings["headers"] = headers
        if thread.config:
            settings["config"] = thread.config
        if origin := next((interrupt.origin for interrupt in interrupts if interrupt.origin), ""):
            try:
                settings |= _handed_on(await client.runs.get(thread.id, origin, headers=headers), thread.config)
            except NotFoundError:
                logger.warning("thread %s is resumed without a context: its run %s is gone", thread.id, origin)
        metadata: dict[str, Any] = {
            "batch_bridge": self._bridge,
            "batch_bridge_strikes": strikes,
            "batch_bridge_by": sorted({each.by for each in interrupts if each.id in answers}),
        }
        if user and self._access.service is not None:
            metadata["batch_bridge_user"] = user
        command: Any = {"resume": answers}
        if late is not None:
            command, metadata["batch_bridge_answer_of"] = late.command_with(answers), late.run
            logger.info("thread %s: the answer that run %s brought is given to its interrupt", thread.id, late.run)
        run = await client.runs.create(
            thread.id,
            thread.assistant,
            command=command,
            multitask_strategy="enqueue" if late is None else "reject",
            metadata=metadata,
            **settings,
        )
        await self._check_identity(thread.id, user, run)

    async def _check_identity(self, thread: str, user: str, run: Mapping[str, Any] | None) -> None:
        """Cancel a run that belongs to another user than the one it was created for."""
        if not user or self._access.service is None or run is None:
            return
        try:
            check_identity(self._bridge, user, run)
        except BridgeUnreachableError:
            self._access.is_vouched = False
            await self._access.client().runs.cancel(thread, run["run_id"])
            raise

    async def is_under_way(self, thread: str) -> bool:
        """See `ThreadServer`. A run for a later hour keeps a thread busy, and is no reason to wait.

        A run may go from pending to running meanwhile, so one looks in that order.
        """
        client = self._access.client()
        for status in ("pending", "running"):
            for run in await client.runs.list(thread, status=status, limit=50):
                kwargs: Any = run.get("kwargs") or {}
                delayed = ((kwargs.get("config") or {}).get("configurable") or {}).get("__after_seconds__")
                if status == "running" or not delayed:
                    return True
        return await has_failed_node(client, thread)  # the run for a later hour is its owner's, and runs it again

    async def wake(self, after: timedelta, *, until: float, why: str) -> None:
        """See `ThreadServer`: by a run of the bridge's graph that waits for its time."""
        thread = await self._access.thread_of(self._bridge, self._store)
        pending: Any = await self._access.client().runs.list(thread, status="pending", limit=100)
        if not any(_due((run.get("metadata") or {}).get("due")) <= until for run in pending):
            await start_tick(self._access, thread, self._bridge, why, after=int(after.total_seconds()))

    async def tidy(self) -> None:
        """See `ThreadServer`: runs of the bridge's thread, and its old checkpoints."""
        client = self._access.client()
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


def _handed_on(run: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, Any]:
    """Return what gives a run the context of another one, the way that it was given: as such, or as `configurable`.

    The server keeps either as the run's context, and refuses to be given both.
    """
    kwargs = run.get("kwargs") or {}
    given = kwargs.get("context")
    if not given or ((kwargs.get("config") or {}).get("configurable") or {}).get("__context_provided__"):
        return {"context": given}
    return {"config": {**config, "configurable": given}}


def _due(given: object) -> float:
    return given if isinstance(given, int | float) else 0.0
