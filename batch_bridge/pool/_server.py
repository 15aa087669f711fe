"""The pool behind the server host's port: threads are rows, their interrupts are in LangGraph's checkpoints."""

from collections.abc import Container, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from langgraph.checkpoint.serde.base import SerializerProtocol
from psycopg_pool import AsyncConnectionPool

from batch_bridge._core.models import JSON
from batch_bridge._core.payload.interrupt_payload import read_author, read_interrupt, read_origin
from batch_bridge._server.port.checkpoints import pending_interrupts
from batch_bridge._server.threads.view import ParkedWait, ThreadView
from batch_bridge.pool._thread_table import ThreadTable

_PAGE: Final = 200


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
        self,
        thread: ThreadView,
        interrupts: Sequence[ParkedWait],
        answers: Mapping[str, JSON],
        strikes: int,
        user: str | None = None,
    ) -> None:
        """See `ThreadServer`. The job that continues the thread reads the answers itself."""
        del interrupts, answers, strikes, user
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
        async with self._connections.connection() as connection:
            held = await pending_interrupts(connection, self._serde, threads)
        return {
            thread: tuple(
                ParkedWait(each.id, task, tuple(asked), read_origin(each.value), read_author(each.value))
                for task, several in tasks.items()
                for each in several
                if (asked := read_interrupt(each.value)) is not None
            )
            for thread, tasks in held.items()
        }
