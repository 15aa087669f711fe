"""The ticker: a loop outside of all runs, in every process that may tick, and awake in one of them.

Two things keep it alone. A Postgres advisory lock, on a connection of its own, says who may tick: it goes the moment
the holder's process dies. The lease row, which each tick begins with and which is read before each submission, says
who does: a holder that slept, or whose connection was lost, finds another's epoch there, and sends nothing.

A holder that hangs keeps its connection, and so its lock. Who waits watches the lease by its own clock; once it stands
still for a term, the connection of the holder is ended.
"""

import asyncio
import contextlib
import itertools
import logging
import zlib
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import uuid4

import psycopg
from langgraph.store.base import GetOp

from batch_bridge._core import clock as _clock
from batch_bridge._core.wording import log_text as _logged
from batch_bridge._ledger.rows import Rows
from batch_bridge._server.tick import ServerHost

logger = logging.getLogger("batch_bridge")

_KIND: Final = 0x6262
"""The first half of our advisory locks."""
_LOOK: Final = 0.5
"""Seconds between two attempts to get the lock: a take-over after a death takes so long."""
_LOOKS: Final = 4
"""Attempts to one look at the holder's leases: they show in seconds what the lock shows at once."""
_TERM: Final = 15.0
"""Seconds after which a lease that stands still is taken for that of a holder that hangs."""
_BEAT: Final = 2.0
"""Seconds between two signs of life."""
_ANSWER: Final = 20.0
"""Seconds in which the database answers on the lock's connection: a long queue that is read holds the loop up."""
_PAUSE: Final = timedelta(seconds=1)
"""The longest pause between two ticks that succeed: notes of threads that park are seen by then."""
_MOST_PASSES: Final = 300


class Ticker:
    """Ticks for bridges, when it is this process's turn.

    Args:
        dsn: Where the lock is.
        name: The ticker's name in the log: that of a pool, or of a bridge.
        hosts: One for each bridge, by the bridge's name.
        store: Where the ledgers are.
        is_idle: Returns whether a bridge is to send what waits, because no thread runs or could.
        beat: Seconds between two looks at whether the lock is still held.
    """

    def __init__(
        self,
        dsn: str,
        name: str,
        hosts: dict[str, ServerHost],
        store: Rows,
        is_idle: Callable[[str], Awaitable[bool]],
        *,
        beat: float = _BEAT,
    ) -> None:
        self._beat = beat
        self._dsn = dsn
        self._keys = [zlib.crc32(bridge.encode()) & 0x7FFFFFFF for bridge in sorted(hosts)]
        self._name = name
        self._hosts = hosts
        self._store = store
        self._is_idle = is_idle
        self.is_holder = False
        """Whether this process ticks."""
        self._lost = False

    async def run(self) -> None:
        """Tick whenever it is this process's turn, until it is cancelled."""
        while True:
            try:
                await self._serve()
            except* (psycopg.Error, OSError, TimeoutError) as errors:
                logger.warning("the ticker of %r has lost its database: %s", self._name, _logged.said(_first(errors)))
            await asyncio.sleep(_LOOK)

    async def _serve(self) -> None:
        connection = await psycopg.AsyncConnection.connect(
            self._dsn, autocommit=True, application_name=f"batch_bridge ticker {self._name}"[:63], connect_timeout=5
        )
        async with connection:
            watch = _Watch(asyncio.get_running_loop().time)
            for look in itertools.count():
                if await self._try(connection):
                    break
                if look % _LOOKS == 0 and watch.is_stale(await self._leases()):
                    await self._end_holder(connection)
                await asyncio.sleep(_LOOK)
            self.is_holder = True
            try:
                await self._hold(connection)
            finally:
                self.is_holder = False

    async def _try(self, connection: psycopg.AsyncConnection[Any]) -> bool:
        """Lock all bridges, or none: one that another pool of this database has too is ticked for by one of them."""
        for place, key in enumerate(self._keys):
            cursor = await connection.execute("SELECT pg_try_advisory_lock(%s, %s)", (_KIND, key))
            row = await cursor.fetchone()
            if not (row and row[0]):
                if place:
                    await connection.execute("SELECT pg_advisory_unlock_all()")
                return False
        return True

    async def _leases(self) -> Sequence[Any]:
        """Return the holder's leases, whose changes show that it lives."""
        names = sorted(self._hosts)
        rows = await self._store.abatch([GetOp(("batch_bridge", name, "lease"), "lease") for name in names])
        return [None if row is None else dict(row.value) for row in rows]

    async def _end_holder(self, connection: psycopg.AsyncConnection[Any]) -> None:
        cursor = await connection.execute(
            "SELECT pid, pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND classid = %s "
            "AND objid = ANY(%s) AND granted AND pid != pg_backend_pid() "
            "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
            (_KIND, self._keys),
        )
        for pid, _ in await cursor.fetchall():
            logger.warning("the ticker of %r has hung for %d s; its connection %d was ended", self._name, _TERM, pid)

    async def _hold(self, connection: psycopg.AsyncConnection[Any]) -> None:
        logger.info("this process ticks for %r", self._name)
        tick = uuid4().hex
        self._lost = False
        async with asyncio.TaskGroup() as group:
            group.create_task(self._guard(connection))
            for name, host in self._hosts.items():
                group.create_task(self._tick_on(name, host, tick))

    async def _guard(self, connection: psycopg.AsyncConnection[Any]) -> None:
        """Check the lock's connection now and then, and show in the leases that this process lives."""
        try:
            while True:
                await asyncio.sleep(self._beat)
                async with asyncio.timeout(_ANSWER):
                    await connection.execute("SELECT 1")
                for host in self._hosts.values():
                    with contextlib.suppress(RuntimeError):  # its tick finds out that it is not its own any more
                        await host.beat()
        finally:
            self._lost = True  # a tick may take its cancellation for an error, and would continue

    async def _tick_on(self, name: str, host: ServerHost, tick: str) -> None:
        while not self._lost:
            pause = await self.tick(name, host, tick)
            if not self._lost:
                await asyncio.sleep(pause.total_seconds())

    async def tick(self, name: str, host: ServerHost, tick: str) -> timedelta:
        """Do one tick, and return the pause until the next one: longer each time that ticks fail."""
        try:
            while True:
                is_idle = await self._is_idle(name)  # before the notes are read: what parked by then has left one
                if not await host.begin(self._store, tick, alone=not self._lost):
                    return _PAUSE
                await host.collect("")
                await host.advance()
                await host.deliver()
                await host.flush(everything=is_idle and host.waits_for_idleness and await self._is_idle(name))
                if host.passes >= _MOST_PASSES or not (host.again or await host.rest()):
                    await host.notify()
                    return min(_until(await host.end()), _PAUSE)
        except Exception as error:  # noqa: BLE001  # no graph runs here
            return _until(await host.fail(error))
        except BaseException:
            await host.break_off()
            raise


def _until(at: datetime | None) -> timedelta:
    return _PAUSE if at is None else max(at - _clock.now(), timedelta(0))


class _Watch:
    """Shows by this process's clock whether something has not changed for a term."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._seen: object = None
        self._since = self._looked_at = clock()

    def is_stale(self, seen: object) -> bool:
        now = self._clock()
        if seen != self._seen or now - self._looked_at > _TERM / 2:  # we slept ourselves
            self._seen, self._since = seen, now
        self._looked_at = now
        if now - self._since <= _TERM:
            return False
        self._since = now
        return True


def _first(errors: BaseExceptionGroup[Any]) -> Exception:
    for error in errors.exceptions:
        if isinstance(error, BaseExceptionGroup):
            return _first(error)
        if isinstance(error, Exception):
            return error
    return RuntimeError("unknown")
