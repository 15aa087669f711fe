"""The pool behind the server host's port: threads are rows, their interrupts are in LangGraph's checkpoints."""

from collections.abc import Container, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from langgraph.checkpoint.serde.base import SerializerProtocol
from psycopg_pool import AsyncConnectionPool

from batch_bridge._core.models import JSON
from batch_bridge._core.payload.interrupt_payload import read_author, read_interrupt, read_origin
from batch_bridge._server.thread_view import ParkedWait, ThreadView
from batch_bridge.pool._thread_table import ThreadTable

_PAGE: Final = 200
_PENDING: Final = """
SELECT t.thread, w.task_id, w.type, CASE WHEN w.channel = '__interrupt__' THEN w.blob END AS blob, w.channel
FROM unnest(%s::text[]) AS t(thread)
CROSS JOIN LATERAL (
    SELECT c.checkpoint_id FROM checkpoints c
    WHERE c.thread_id = t.thread AND c.checkpoint_ns = '' ORDER BY c.checkpoint_id DESC LIMIT 1
) newest
JOIN checkpoint_writes w ON w.thread_id = t.thread AND w.checkpoint_ns = '' AND w.checkpoint_id = newest.checkpoint_id
"""
"""What the tasks of threads have written since their newest checkpoint. Tables of `langgraph-checkpoint-postgres`."""
_OF_RESUMING: Final = frozenset({"__interrupt__", "__resume__", "__error__", "__scheduled__"})
"""What a task writes that has not finished."""


class PoolServer:
    """See `ThreadServer`. Its threads are called by their handles, which are UUIDs.

    Args:
        threads: The rows.
        connections: Where the checkpoints are.
        serde: The checkpointer's.
    """

    def __init__(
        self, threads: ThreadTable, connections: "AsyncConnectionPool[Any]", serde: SerializerProtocol
    ) -> None:
        self._threads = threads
        self._connections = connections
        self._serde = serde

    async def look(
        self, ids: Sequence[str], *, closely: bool = False, doubted: Container[str] = ()
    ) -> dict[str, ThreadView]:
        """See `ThreadServer`. What a task shows that has finished is never shown, so that no look need be close."""
        del closely, doubted
        found: dict[str, ThreadView] = {}
        for start in range(0, len(ids), _PAGE):
            states = await self._threads.states(ids[start : start + _PAGE])
            waiting = [thread for thread, state in states.values() if state in ("parked", "failed")]
            parked = await self._interrupts(waiting)
            for handle, (thread, state) in states.items():
                found[handle] = ThreadView(
                    id=handle,
                    assistant="",
                    busy=state == "ready",
                    failed=state == "failed",
                    ended=state == "done",
                    parked=parked.get(thread, ()),
                    config={},
                )
        return found

    async def parked(self, offset: int, since: datetime | None) -> tuple[list[ThreadView], bool]:
        """See `ThreadServer`."""
        del since
        handles = await self._threads.parked(offset, _PAGE)
        return list((await self.look(handles)).values()), len(handles) < _PAGE

    async def present(self, ids: Sequence[str]) -> set[str]:
        """See `ThreadServer`."""
        return set(await self._threads.states(ids))

    async def resume(
        self, thread: ThreadView, interrupts: Sequence[ParkedWait], answers: Mapping[str, JSON], strikes: int
    ) -> None:
        """See `ThreadServer`. The job that goes on with it reads the answers itself."""
        del interrupts, answers, strikes
        await self._threads.resume(thread.id)

    async def is_under_way(self, thread: str) -> bool:
        """See `ThreadServer`."""
        return (await self._threads.states([thread])).get(thread, ("", ""))[1] in ("ready", "failed")

    async def wake(self, after: timedelta, *, until: float, why: str) -> None:
        """See `ThreadServer`. The ticker comes by itself."""

    async def tidy(self) -> None:
        """See `ThreadServer`. Ticks leave nothing."""

    async def _interrupts(self, threads: Sequence[str]) -> dict[str, tuple[ParkedWait, ...]]:
        """Return our interrupts that threads are parked at."""
        if not threads:
            return {}
        async with self._connections.connection() as connection:
            cursor = await connection.execute(_PENDING, (list(threads),))
            rows = await cursor.fetchall()
        finished = {(row["thread"], row["task_id"]) for row in rows if row["channel"] not in _OF_RESUMING}
        found: dict[str, list[ParkedWait]] = {}
        for row in rows:
            if row["channel"] != "__interrupt__" or (row["thread"], row["task_id"]) in finished:
                continue
            for each in self._serde.loads_typed((row["type"], bytes(row["blob"]))):
                asked = read_interrupt(each.value)
                if asked is not None:
                    by, origin = read_author(each.value), read_origin(each.value)
                    found.setdefault(row["thread"], []).append(
                        ParkedWait(each.id, row["task_id"], tuple(asked), origin, by)
                    )
        return {thread: tuple(waits) for thread, waits in found.items()}
