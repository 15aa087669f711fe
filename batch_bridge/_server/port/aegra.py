"""Aegra behind the port: its Postgres shows the state of threads, and its HTTP API resumes them.

Aegra speaks the API of a LangGraph server, and lacks what a bridge relies on there: a search ignores the ids that it is
given, a thread tells neither its interrupts nor its settings, a delayed run starts at once, two runs of a thread run
side by side, and a user's thread is hidden from everyone else. So nothing of that is asked: rows and checkpoints are
read where they are, one resume of a thread begins at a time, and a thread continues as its own user.

Source: `aegra_api` 0.11, `core/orm.py`, `services/run_preparation.py`, `services/run_status.py`.
"""

from collections.abc import Container, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from langgraph.checkpoint.serde.base import SerializerProtocol
from langgraph.types import Interrupt
from langgraph_sdk.errors import APIStatusError
from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool

from batch_bridge._core.models import JSON
from batch_bridge._node.platform.client import Access
from batch_bridge._node.platform.keys import KeyRing
from batch_bridge._node.platform.tickers import how
from batch_bridge._server.port.checkpoints import pending_interrupts
from batch_bridge._server.port.threads import ThreadBusyError
from batch_bridge._server.threads.view import ParkedWait, ThreadView, see
from batch_bridge.errors import BridgeUnreachableError

_PAGE: Final = 200
_KIND: Final = 0x6263
"""The first half of our advisory locks of threads."""
_LOOK: Final = """
SELECT t.thread_id, t.status, t.user_id, t.metadata_json AS metadata, t.updated_at, last.config,
    EXISTS (SELECT 1 FROM runs r WHERE r.thread_id = t.thread_id AND r.status IN ('pending', 'running')) AS active
FROM thread t LEFT JOIN LATERAL (
    SELECT r.config FROM runs r WHERE r.thread_id = t.thread_id ORDER BY r.created_at DESC LIMIT 1
) last ON TRUE
WHERE t.thread_id = ANY(%s)
"""
_HANDED_ON: Final = ("recursion_limit", "tags", "configurable")
"""Settings of a run that the run after it is given."""
_DENIED: Final = (401, 403, 404)
_NOBODY: Final = "anonymous"
"""Whose all threads are where Aegra has no `auth`. Source: `core/auth_middleware.py`."""


class AegraServer:
    """See `ThreadServer`.

    Args:
        bridge: The bridge's name.
        access: How its HTTP API is reached, as the service or as a user.
        connections: Of its database, with rows as dicts.
        serde: Its checkpointer's.
        key_ring: The deployment's keys, by which interrupts are known to be ours.
    """

    def __init__(
        self,
        bridge: str,
        access: Access,
        connections: "AsyncConnectionPool[Any]",
        serde: SerializerProtocol,
        key_ring: KeyRing,
    ) -> None:
        self._bridge = bridge
        self._access = access
        self._connections = connections
        self._serde = serde
        self._ring = key_ring

    async def look(
        self, ids: Sequence[str], *, closely: bool = False, doubted: Container[str] = ()
    ) -> dict[str, ThreadView]:
        """See `ThreadServer`. What a task shows that has finished is never shown, so that no look need be close.

        A thread shows nothing while a run of it is under way or waits to begin: that of a process that was killed
        begins again, and may ask for something else.
        """
        del closely, doubted
        found: dict[str, ThreadView] = {}
        for start in range(0, len(ids), _PAGE):
            threads, parked = await self._read(ids[start : start + _PAGE])
            for row in threads:
                tasks = parked.get(row["thread_id"], {})
                interrupts = {task: [{"id": each.id, "value": each.value} for each in tasks[task]] for task in tasks}
                status = "busy" if row["active"] else row["status"]
                found[row["thread_id"]] = see({**row, "status": status, "interrupts": interrupts}, self._ring)
        return found

    async def _read(
        self, ids: Sequence[str]
    ) -> tuple[list[dict[str, Any]], Mapping[str, Mapping[str, Sequence[Interrupt]]]]:
        """Return threads and what they are parked at, as both were at one moment."""
        async with self._connections.connection() as connection, connection.transaction():
            await connection.execute(b"SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            cursor = await connection.execute(_LOOK, (list(ids),))
            threads = await cursor.fetchall()
            waiting = [row["thread_id"] for row in threads if row["status"] == "interrupted" and not row["active"]]
            return threads, await pending_interrupts(connection, self._serde, waiting)

    async def parked(self, offset: int, since: datetime | None) -> tuple[list[ThreadView], bool]:
        """See `ThreadServer`."""
        rows = await self._fetch(
            "SELECT thread_id, updated_at FROM thread WHERE status = 'interrupted' "
            "ORDER BY updated_at DESC, thread_id LIMIT %s OFFSET %s",
            (_PAGE, offset),
        )
        is_last = len(rows) < _PAGE or (since is not None and rows[-1]["updated_at"] < since)
        return list((await self.look([row["thread_id"] for row in rows])).values()), is_last

    async def present(self, ids: Sequence[str]) -> set[str]:
        """See `ThreadServer`."""
        rows = await self._fetch("SELECT thread_id FROM thread WHERE thread_id = ANY(%s)", (list(ids),))
        return {row["thread_id"] for row in rows}

    async def resume(
        self,
        thread: ThreadView,
        interrupts: Sequence[ParkedWait],
        answers: Mapping[str, JSON],
        strikes: int,
        user: str | None = None,
    ) -> None:
        """See `ThreadServer`. Aegra looks whether a thread is interrupted before it makes a run, but not at once.

        So the thread is locked in Postgres, for all who resume for bridges, from that look until the run is there. Its
        row says whose it is.
        """
        async with self._connections.connection() as connection, connection.transaction():
            cursor = await connection.execute(
                "SELECT pg_try_advisory_xact_lock(%s, hashtext(%s)) AS locked", (_KIND, thread.id)
            )
            row = await cursor.fetchone()
            if row is None or not row["locked"]:
                raise ThreadBusyError(f"thread {thread.id} is being resumed by another process")
            row = await (await connection.execute(_LOOK, ([thread.id],))).fetchone()
            if row is None or row["active"] or row["status"] != "interrupted":
                raise ThreadBusyError(f"thread {thread.id} does not wait any more")
            user = "" if row["user_id"] == _NOBODY else str(row["user_id"])
            origin = next((interrupt.origin for interrupt in interrupts if interrupt.origin), "")
            settings = await self._settings(connection, thread, origin, user)
            by = sorted({each.by for each in interrupts if each.id in answers})
            settings["config"]["metadata"] |= {"batch_bridge_strikes": strikes, "batch_bridge_by": by}
            await self._create(thread, user, answers, settings)

    async def _settings(
        self, connection: "AsyncConnection[Any]", thread: ThreadView, origin: str, user: str
    ) -> dict[str, Any]:
        """Return what the next run of a thread is given of the one that asked: Aegra hands nothing on."""
        cursor = await connection.execute("SELECT config, context FROM runs WHERE run_id = %s", (origin,))
        before: Mapping[str, Any] = await cursor.fetchone() or {}
        held = before.get("config") or thread.config
        config = {name: held[name] for name in _HANDED_ON if held.get(name)}
        if own := config.pop("configurable", None):  # a checkpoint that the caller began at is behind the thread
            config["configurable"] = {name: own[name] for name in own if not name.startswith("checkpoint_")}
        config["metadata"] = {"batch_bridge": self._bridge}
        if user and self._access.service is not None:
            config["metadata"]["batch_bridge_user"] = user
        context = before.get("context")
        return {"config": config, "context": context} if context else {"config": config}

    async def _create(
        self, thread: ThreadView, user: str, answers: Mapping[str, JSON], settings: Mapping[str, Any]
    ) -> None:
        client, headers = self._access.acting(user)
        command: Any = {"resume": answers}
        try:
            await client.runs.create(thread.id, thread.assistant, command=command, headers=headers, **settings)
        except APIStatusError as error:
            if error.status_code == 400 and "interrupted" in str(error):  # noqa: PLR2004
                raise ThreadBusyError(f"thread {thread.id} does not wait any more") from error
            if error.status_code in _DENIED and await self.present([thread.id]):
                raise BridgeUnreachableError(
                    f"{self._bridge!r} may not resume thread {thread.id} of the user {user!r} on Aegra "
                    f"(HTTP {error.status_code}). {how(self._bridge)}"
                ) from error
            raise

    async def is_under_way(self, thread: str) -> bool:
        """See `ThreadServer`."""
        rows = await self._fetch(_LOOK, ([thread],))
        return any(row["active"] or row["status"] == "error" for row in rows)

    async def wake(self, after: timedelta, *, until: float, why: str) -> None:
        """See `ThreadServer`. The ticker comes by itself."""

    async def tidy(self) -> None:
        """See `ThreadServer`. Ticks leave nothing."""

    async def is_idle(self) -> bool:
        """Return whether no run is under way or waits to begin."""
        rows = await self._fetch("SELECT 1 FROM runs WHERE status IN ('pending', 'running') LIMIT 1", ())
        return not rows

    async def _fetch(self, query: str, given: Sequence[Any]) -> list[dict[str, Any]]:
        async with self._connections.connection() as connection:
            cursor = await connection.execute(query.encode(), given)
            return list(await cursor.fetchall())
