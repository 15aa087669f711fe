"""Claims on a bridge or a run in a store that several processes may open: one process at a time owns it.

A store has no compare-and-set. So a process that wants to own something takes a ticket, as in a bakery, and waits until
no other process has a lower one; a ticket is 0 while its holder chooses. The owner names itself in a row of its own,
which it reads before each submission: a process that was taken for dead, and wakes up again, finds another name there,
and sends nothing.

::

    ("batch_bridge_claims", <digest>)   holder  -> ticket, beat, at, host, pid, machine, started
                                        "owner" -> holder                 written by who has got it

A holder is dead if its process is gone, where that can be seen from here, or if its beat stands still for a term: by
the clock of who looks, so that the clocks of two machines need not agree.
"""

import asyncio
import contextlib
import hashlib
import os
import socket
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any, Final
from uuid import uuid4

from langgraph.store.base import GetOp, PutOp, SearchOp

from batch_bridge._core import clock as _clock
from batch_bridge._core.wording import log_text as _logged
from batch_bridge._core.wording.log import logger_of
from batch_bridge._ledger.process import machine, started
from batch_bridge._ledger.rows import Rows
from batch_bridge.errors import StoreInUseError

logger = logger_of(__name__)

TERM: Final = timedelta(seconds=30)
"""How long a holder is believed to live that says nothing."""
_LOOKS: Final = 6
"""How often in a term a holder shows that it lives, and a waiter looks."""
_SHORT: Final = 0.05
"""Seconds between two looks while another one chooses its ticket."""
_LAST: Final = 1.0
"""Seconds that taking a ticket back may last."""
_ROOT: Final = "batch_bridge_claims"
_OWNER: Final = "owner"
_AGED: Final = timedelta(days=7).total_seconds()
"""Seconds after which a row goes whose holder cannot be seen from here: longer than clocks differ or machines sleep."""
_MOST: Final = 10_000
_alive: set[str] = set()
"""Holders of this process."""


class Claims:
    """What one session owns in a store. Bound to one event loop.

    Args:
        store: Where the ledgers are.
        term: How long a holder is believed to live that says nothing.
    """

    def __init__(self, store: Rows, *, term: timedelta = TERM) -> None:
        self._store = store
        self._term = term.total_seconds()
        self._holder = uuid4().hex
        self._held: dict[str, dict[str, Any]] = {}
        self._renewing = asyncio.Lock()
        self._beating: asyncio.Task[None] | None = None
        self._unrenewed = 0
        self._here = {"host": socket.gethostname(), "pid": os.getpid(), "machine": machine(), "started": started()}

    async def take(self, what: str, patience: timedelta) -> None:
        """Own something; wait while another process does.

        Args:
            what: `"bridge …"` or `"run …"`.
            patience: How long to wait for an owner that lives.

        Raises:
            StoreInUseError: Another Runner owns it still.
        """
        _alive.add(self._holder)
        watch = _Renewal(self._term, asyncio.get_running_loop().time)
        try:
            await self._queue_up(what, watch, patience.total_seconds())
        except BaseException:
            with contextlib.suppress(Exception):  # it goes stale by itself, and a store that fails is not waited for
                async with asyncio.timeout(_LAST):
                    await self._put(what, self._holder, None)
            raise
        if self._beating is None:
            self._beating = asyncio.get_running_loop().create_task(self._beat(), name="batch_bridge claims")

    async def _queue_up(self, what: str, watch: "_Renewal", patience: float) -> None:
        loop = asyncio.get_running_loop()
        row: dict[str, Any] = {"ticket": 0, "beat": 0, "what": what, **self._here}
        await self._put(what, self._holder, row)
        owner, others = await self._others(what)
        row["ticket"] = 1 + max((other["ticket"] for other in others.values()), default=0)
        until, has_told = loop.time() + patience, False
        while True:
            row["beat"] += 1
            await self._put(what, self._holder, row)
            owner, others = await self._others(what)
            for holder, other in list(others.items()):
                if watch.is_dead(holder, other):
                    await self._put(what, holder, None)
                    del others[holder]
            ahead = [
                (holder, other)
                for holder, other in others.items()
                if holder == owner or (other["ticket"], holder) < (row["ticket"], self._holder)
            ]
            if not ahead:
                break
            holder, other = max(ahead, key=lambda each: each[1]["ticket"] == 0)
            choosing = other["ticket"] == 0
            if not choosing and loop.time() >= until and not watch.is_doubtful(holder, other):
                raise _refused(what, other)
            if not has_told and not choosing:
                has_told = True
                logger.warning("%s is owned by process %s on %s; waiting for it", what, other["pid"], other["host"])
            pause = self._term / _LOOKS
            if loop.time() < until:
                pause = min(pause, max(until - loop.time(), _SHORT), 1.0)
            await asyncio.sleep(_SHORT if choosing else pause)
        await self._put(what, _OWNER, {"holder": self._holder, **self._here})
        self._held[what] = row

    async def sweep(self) -> None:
        """Delete the rows of killed processes whose runs no other process has continued."""
        (rows,) = await self._store.abatch([SearchOp((_ROOT,), limit=_MOST)])
        dead = [
            row
            for row in rows
            if "machine" in row.value
            and (
                _is_gone(row.value.get("holder", row.key), row.value)
                or _clock.now().timestamp() - row.value["at"] > _AGED
            )
        ]
        await self._store.abatch([PutOp(row.namespace, row.key, None) for row in dead])

    async def check(self) -> None:
        """Check that all is still owned. Called right before a submission, and before a batch is closed.

        Raises:
            StoreInUseError: Another Runner has taken over.
        """
        held = list(self._held.items())
        found = await self._store.abatch([GetOp(_namespace(what), _OWNER) for what, _ in held])
        for (what, row), item in zip(held, found, strict=True):
            is_lost = item is None or item.value["holder"] != self._holder
            if is_lost and self._held.get(what) is row:  # else it was released while it was looked up
                raise _lost(what, None if item is None else item.value)

    async def release(self, what: str) -> None:
        """Release something that is owned. Idempotent. What is taken again meanwhile stays."""
        held = self._held.get(what)
        async with self._renewing:  # a row that is renewed once it is deleted would stay
            if held is None or self._held.get(what) is not held:
                return
            del self._held[what]
        (item,) = await self._store.abatch([GetOp(_namespace(what), _OWNER)])
        if item is not None and item.value["holder"] == self._holder:
            await self._put(what, _OWNER, None)  # first: the next owner writes it again
        await self._put(what, self._holder, None)

    async def close(self) -> None:
        """Release everything."""
        if self._beating is not None:
            self._beating.cancel()
            await asyncio.wait((self._beating,))
        try:
            for what in tuple(self._held):
                try:
                    await self.release(what)
                except Exception as error:  # noqa: BLE001  # it goes stale by itself
                    logger.warning(
                        "the claim on %s could not be released, and runs out by itself: %s", what, _logged.said(error)
                    )
        finally:
            _alive.discard(self._holder)

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(self._term / _LOOKS)
            for what, row in list(self._held.items()):
                try:
                    async with asyncio.timeout(self._term / _LOOKS):  # a call that hangs must not cost the claim
                        await self._renew(what, row)
                except Exception as error:  # noqa: BLE001  # the next beat, or the next check, finds out
                    self._tell_unrenewed(what, error)

    async def _renew(self, what: str, row: dict[str, Any]) -> None:
        """Say that the holder lives, unless another one is the owner by now."""
        async with self._renewing:
            if self._held.get(what) is not row:
                return
            (item,) = await self._store.abatch([GetOp(_namespace(what), _OWNER)])
            if item is not None and item.value["holder"] == self._holder:
                row["beat"] += 1
                await self._put(what, self._holder, row)

    def _tell_unrenewed(self, what: str, error: Exception) -> None:
        self._unrenewed += 1
        if not self._unrenewed & (self._unrenewed - 1):  # the 1st, 2nd, 4th, 8th… is logged
            told = _logged.said(error)
            logger.warning("the claim on %s could not be renewed: %s (%d times so far)", what, told, self._unrenewed)

    async def _others(self, what: str) -> tuple[str, dict[str, dict[str, Any]]]:
        """Return the owner of something, if it is known, and the rows of all others that want it."""
        (rows,) = await self._store.abatch([SearchOp(_namespace(what), limit=_MOST)])
        found: dict[str, dict[str, Any]] = {row.key: row.value for row in rows}
        owner = str(found.pop(_OWNER, {}).get("holder", ""))
        found.pop(self._holder, None)
        return owner, found

    async def _put(self, what: str, key: str, row: dict[str, Any] | None) -> None:
        value = None if row is None else {**row, "at": _clock.now().timestamp()}
        await self._store.abatch([PutOp(_namespace(what), key, value, index=False)])


class _Renewal:
    """Judges whether holders live, as seen from here.

    Args:
        term: Seconds in which a holder that lives says so.
        clock: Seconds that never go back.
    """

    def __init__(self, term: float, clock: Callable[[], float]) -> None:
        self._term = term
        self._clock = clock
        self._seen: dict[str, tuple[int, float]] = {}
        self._looked_at = clock()

    def is_dead(self, holder: str, row: dict[str, Any]) -> bool:
        """Return whether a holder's process is gone, or has said nothing for a term."""
        if _is_gone(holder, row):
            return True
        if row["machine"] == machine() != "" and row["pid"] == os.getpid() and row["started"] == started():
            return False
        now = self._clock()
        if now - self._looked_at > self._term / 2:  # we could not look: nor could it say anything, perhaps
            self._seen.clear()
        self._looked_at = now
        beat, since = self._seen.setdefault(holder, (row["beat"], now))
        if beat != row["beat"]:
            self._seen[holder] = (row["beat"], now)
            return False
        return now - since > self._term

    def is_doubtful(self, holder: str, row: dict[str, Any]) -> bool:
        """Return whether a holder looks dead by the clock, and was not watched for long enough to be certain."""
        beat, since = self._seen.get(holder, (row["beat"], self._clock()))
        looks_dead = abs(_clock.now().timestamp() - float(row["at"])) > self._term
        return looks_dead and beat == row["beat"] and self._clock() - since <= self._term


def _is_gone(holder: str, row: dict[str, Any]) -> bool:
    """Return whether a holder is of this machine, and its process or its session is no more."""
    if row["machine"] != machine() or not row["machine"]:
        return False
    if row["pid"] == os.getpid() and row["started"] == started():
        return holder not in _alive
    return bool(started(row["pid"]) != row["started"])


def _refused(what: str, row: dict[str, Any]) -> StoreInUseError:
    return StoreInUseError(
        f"{what} is owned by another Runner on this store: process {row['pid']} on {row['host']}. Two would pay twice. "
        "Wait until it has ended, pass Runner(…, patience=60) to wait for it, or use a bridge with another "
        "name, or another run_id. For several processes on one database there is batch_bridge.pool.Pool",
        host=row["host"],
        pid=row["pid"],
    )


def _lost(what: str, row: dict[str, Any] | None) -> StoreInUseError:
    host, pid = ("", 0) if row is None else (row["host"], row["pid"])
    by = "another Runner" if row is None else f"process {pid} on {host}"
    return StoreInUseError(
        f"{what} was taken over by {by}, because this process did not respond for too long. It sends nothing "
        "more; the run "
        "continues there. Was its event loop blocked, or the machine asleep?",
        host=host,
        pid=pid,
    )


def _namespace(what: str) -> tuple[str, str]:
    return (_ROOT, hashlib.blake2b(what.encode(errors="surrogatepass"), digest_size=16).hexdigest())


def lease_of(bridge: str) -> tuple[str, str, str]:
    """Return below what a LangGraph deployment, or a Pool, says that a bridge is its own."""
    return ("batch_bridge", bridge, "lease")


async def check_no_deployment(store: Rows, bridges: Sequence[str]) -> None:
    """Pass if no LangGraph deployment, and no Pool, keeps bridges of these names in a store.

    Called by who has claimed them: the other writes its row first and looks for claims then.

    Raises:
        StoreInUseError: One does: it reads no claims of Runners while it runs, and would settle their batches.
    """
    found = await store.abatch([GetOp(lease_of(each), "lease") for each in bridges])
    for bridge, item in zip(bridges, found, strict=True):
        if item is not None:
            raise StoreInUseError(
                f"bridge {bridge!r} belongs to a LangGraph deployment, or a Pool, that has its rows in this store. A "
                "Runner beside it would take its batches. Use a bridge with another name, or another store; if the "
                f"other is gone for good, delete the row 'lease' below {lease_of(bridge)}"
            )


async def runner_of(store: Rows, bridge: str) -> dict[str, Any] | None:
    """Return the row of a Runner that owns a bridge, or wants to, and lives as far as can be seen from here."""
    (what,) = names_of([bridge])
    (rows,) = await store.abatch([SearchOp(_namespace(what), limit=_MOST)])
    now = _clock.now().timestamp()
    for row in rows:
        at = row.value.get("at")
        if row.key == _OWNER or "machine" not in row.value or not isinstance(at, int | float):
            continue
        if abs(now - at) < 2 * TERM.total_seconds() and not _is_gone(row.key, row.value):
            return dict(row.value)
    return None


def names_of(bridges: Sequence[str]) -> list[str]:
    """Return what claims on bridges are called, in the order in which every process takes them."""
    return [f"bridge {name!r}" for name in sorted(bridges)]


def name_of(run_id: str) -> str:
    """Return what the claim on a run is called."""
    return f"run {run_id!r}"
