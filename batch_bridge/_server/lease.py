"""The lease: which process's tick drives a bridge. Its row tells a process whether its memory is still current.

The bridge's thread keeps two ticks apart; the lease is for servers that run a run again while it still runs elsewhere.
A store has no compare-and-set, so it is no lock: it is read once more right before every submission, and a process that
has lost it sends nothing. What its last submission may have left is found and fenced as after a crash.
"""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

from langgraph.store.base import GetOp, PutOp

from batch_bridge._ledger.claims import lease_of, runner_of
from batch_bridge._ledger.rows import Rows
from batch_bridge.errors import ProviderUnavailable

_TERM = timedelta(seconds=20)
"""How long a tick is believed to run without a sign of life. It renews the lease at the start of each step."""


class Lease:
    """One process's claim on a bridge."""

    def __init__(self, store: Rows, bridge: str) -> None:
        self._store = store
        self._bridge = bridge
        self._namespace = lease_of(bridge)
        self._holder = uuid4().hex
        self._epoch = 0
        self._said_at = datetime.min.replace(tzinfo=UTC)
        self.problem = ""
        """Why it was not taken, where a person must do something about it."""

    async def take(self, now: datetime, *, alone: bool = False) -> bool | None:
        """Begin a tick.

        Args:
            now: Aware UTC.
            alone: Something else proves that no other tick runs: the lease is taken whatever its row says.

        Returns:
            Whether this process held the lease already, and so remembers all; `None` if another tick still runs, or
            a Runner has this bridge on the same store.
        """
        row = await self._read()
        mine = row is not None and row["holder"] == self._holder
        if row is not None and not mine:
            if not alone and row["running"] and abs(now.timestamp() - row["at"]) < _TERM.total_seconds():
                return None
            self._epoch = row["epoch"]
        if not mine:
            self._epoch += 1
        await self._write(now, running=True)
        return mine if row is not None or await self._is_alone() else None

    async def _is_alone(self) -> bool:
        """Return whether no Runner has this bridge; asked before the first tick of all, for then Runners see the row.

        A Runner writes its claim and then looks for this row, and so one of the two, or both, see the other.
        """
        other = await runner_of(self._store, self._bridge)
        if other is None:
            self.problem = ""
            return True
        await self._store.abatch([PutOp(self._namespace, "lease", None)])
        self.problem = (
            f"a Runner (process {other['pid']} on {other['host']}) has bridge {self._bridge!r} open on this "
            "store: two would pay twice. Nothing is sent until it is closed; give one another name"
        )
        return False

    async def renew(self, now: datetime) -> bool:
        """Renew the lease; return whether this process still owns it."""
        if not await self.is_held():
            return False
        if abs(now - self._said_at) > _TERM / 4:
            await self._write(now, running=True)
        return True

    def is_fresh(self, now: datetime) -> bool:
        """Return whether this process has said lately that a tick runs in it."""
        return abs(now - self._said_at) < _TERM

    async def end(self, now: datetime) -> None:
        """End a tick. The lease is kept, for the next one in this process."""
        if await self.is_held():
            await self._write(now, running=False)

    async def is_held(self) -> bool:
        """Return whether no other process has taken the lease."""
        row = await self._read()
        return row is not None and row["holder"] == self._holder and row["epoch"] == self._epoch

    async def check(self) -> None:
        """Called right before a submission.

        Raises:
            ProviderUnavailable: Another process continues this bridge; nothing was sent.
        """
        if not await self.is_held():
            raise ProviderUnavailable("another tick of this bridge has taken over; this one sends nothing")

    async def _read(self) -> dict[str, Any] | None:
        (item,) = await self._store.abatch([GetOp(self._namespace, "lease")])
        row = None if item is None else item.value
        return row if isinstance(row, dict) and _is_lease(row) else None

    async def _write(self, now: datetime, *, running: bool) -> None:
        self._said_at = now
        row = {"holder": self._holder, "epoch": self._epoch, "running": running, "at": now.timestamp()}
        await self._store.abatch([PutOp(self._namespace, "lease", row, index=False)])


def _is_lease(row: dict[str, Any]) -> bool:
    """Return whether a row is a lease; any other row has no owner."""
    at, epoch = row.get("at"), row.get("epoch")
    is_time = isinstance(at, int | float) and not isinstance(at, bool)
    return (
        is_time and type(epoch) is int and isinstance(row.get("holder"), str) and isinstance(row.get("running"), bool)
    )
