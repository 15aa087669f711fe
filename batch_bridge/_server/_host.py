"""A bridge in one process of a LangGraph server: the engine and the post, and the steps of a tick."""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any

import httpx
from langgraph_sdk.client import LangGraphClient
from langgraph_sdk.errors import APIError

from batch_bridge._deployment._access import Access, bridge_thread
from batch_bridge._deployment._bell import start_tick
from batch_bridge._engine import Engine
from batch_bridge._ledger import Ledger, Rows
from batch_bridge._server._intake import Intake
from batch_bridge._server._lease import Lease
from batch_bridge._server._ledger import DeploymentStore, ServerLedger
from batch_bridge._server._post import Post
from batch_bridge._server._retention import Retention

logger = logging.getLogger("batch_bridge")

_DELIVER_FOR = 1.0
"""Seconds of delivering, after which the inbox is looked at again."""
_NAP = timedelta(seconds=1)
_LAST_ORDERS = 200
"""Passes of a tick after which calls that run in this process are ended and no new ones begun: the next tick may run in
another process, which does not see them."""
_INSURANCE = timedelta(minutes=5)
"""A tick for which there is a run beforehand, in case that this one ends without asking for the next."""
_AWAKE = timedelta(seconds=5)
"""How long a tick goes on napping; then it ends, so that its thread shows how things are, and the next one begins."""
_SHOWN = 20
"""Batches and dead letters that the thread's state shows."""


class Host:
    """The steps of a tick, in the order of a tick. One tick at a time; what a step did need not be done again.

    Args:
        graph_id: The bridge's name on this server.
        engine: Makes the engine over a ledger.
        access: How the server is reached.
        retention: How long outcomes are kept that were delivered, and summaries of batches.
    """

    def __init__(
        self, graph_id: str, engine: Callable[[Ledger, str], Engine], access: Access, retention: timedelta
    ) -> None:
        self._name = graph_id
        self._access = access
        self._store = DeploymentStore()
        self._ledger = ServerLedger(self._store, graph_id)
        self._lease = Lease(self._store, graph_id)
        self._engine = engine(self._ledger, graph_id)
        self._post = Post(self._store, graph_id, self._ledger, self._engine.forget)
        self._intake = Intake(
            self._store,
            graph_id,
            self._ledger,
            engine=self._engine,
            post=self._post,
            renew=self._renew,
            patience=retention,
        )
        self._retention = Retention(self._store, graph_id, self._ledger, self._engine.forget, retention)
        self._engine.before_submit = self._lease.check
        self._opened = False
        self._look_at: datetime | None = None
        self._again = False
        self._began = _now()
        self._failures = 0
        self._tick = ""
        self._user = ""
        self.last_error = ""
        self.passes = 0

    @property
    def client(self) -> LangGraphClient:
        """Calls the server, as the service that was configured or as the user of this run."""
        return self._access.client()

    async def begin(self, store: Rows, tick: str) -> bool:
        """Begin a pass; tell whether this process may go on with the bridge, or another tick still runs.

        Args:
            store: The deployment's.
            tick: The run, and which attempt at it.
        """
        self._store.store = store
        now = _now()
        if self._tick != tick:
            if self._tick and self._lease.is_fresh(now):
                await self._wake_at(now + timedelta(seconds=5), now)
                return False
            self._tick, self._began, self.passes = tick, now, 0
        self.passes += 1
        mine = await self._lease.take(now)
        if mine is None:
            self._tick = ""
            await self._wake_at(now + timedelta(seconds=5), now)
            return False
        if not mine or not self._opened:
            self._opened = False  # until all is read: a tick that is cancelled half way leaves this as it is
            await self._ledger.load()
            await self._renew()  # a long queue takes its time
            await self._engine.open(now)
            self._post.load(now)
            self._opened = True
        return True

    async def collect(self, user: str) -> None:
        """Take in what newly parked threads ask for; look for forgotten ones now and then.

        Args:
            user: Whom this run calls the server as, where the deployment knows its users.
        """
        now = _now()
        self._user = user
        news = await self._intake.collect(self.client, now, may_hide=self._may_hide, user=user)
        self._again, self._look_at = news.again, news.look_at
        if news.problem:
            self.last_error = news.problem
        if self.passes == 1 and (news.notes or self._engine.queued or self._engine.in_flight or len(self._post)):
            await self._insure(now)

    async def advance(self) -> None:
        """Look after the batches that are due."""
        now = _now()
        await self._renew()
        await self._engine.advance(now)
        self._post.add(self._engine.tell(now).settled, now)
        self._note_error(self._engine)

    async def deliver(self) -> None:
        """Resume the threads whose outcomes are there."""
        now = _now()
        await self._renew()
        self._again |= await self._post.deliver(self.client, now, seconds=_DELIVER_FOR, hidden=self._may_hide)
        self._note_error(self._post)

    async def flush(self, *, everything: bool) -> None:
        """Send what is due, or all that waits, unless its thread has gone away meanwhile."""
        now = _now()
        ids = tuple(self._engine.waiting) if everything else self._engine.to_flush(now)
        if ids and not (self._engine.expects_news and self.passes > _LAST_ORDERS):
            await self._intake.drop_abandoned(self.client, ids, may_hide=self._may_hide)
            await self._renew()
            await self._engine.flush(_now(), drain=everything)
            self._note_error(self._engine)

    @property
    def again(self) -> bool:
        """Whether this tick has more to do."""
        return self._again

    async def rest(self) -> bool:
        """Wait for what is due within a second, and tell whether there was something.

        A run can be asked for by the second only, and costs more than a nap. What is answered in this process, and
        by no provider's batch, is waited for.
        """
        now, next_at = _now(), self._next_at()
        if next_at is None or (next_at - now > _NAP and not self._engine.expects_news):
            return False
        if not self._engine.expects_news and not timedelta(0) <= now - self._began < _AWAKE:
            return False
        news = asyncio.Event()
        self._engine.on_news = news.set
        try:
            async with asyncio.timeout(max(min(next_at - now, _NAP).total_seconds(), 0.0)):
                await news.wait()
        except TimeoutError:
            pass
        finally:
            self._engine.on_news = None
        return True

    async def end(self) -> datetime | None:
        """End the tick: see to it that there is a next one if there is anything to wait for. Returns when."""
        now = _now()
        await self._retention.tidy(self.client, now)
        self._failures, self.passes, self._tick = 0, 0, ""
        at = now if self._again else self._next_at()
        wake_at = await self._wake_at(at, now)
        await self._lease.end(_now())
        return wake_at

    def _next_at(self) -> datetime | None:
        now = _now()
        tick = self._engine.tell(now)
        self._post.add(tick.settled, now)
        waits = [time for time in (tick.wake_at, self._post.next_at, self._look_at) if time is not None]
        if waits and self._intake.sweep_at is not None:
            waits.append(self._intake.sweep_at)
        return min(waits, default=None)

    async def fail(self, error: Exception) -> datetime | None:
        """End a tick that an error has ended: try again, later each time."""
        now = _now()
        self.last_error = f"{type(error).__name__}: {error}"
        logger.error("%s: a tick failed", self._name, exc_info=error)
        self._spoil()
        self._failures += 1
        wake_at = await _stubbornly(self._wake_at, now + timedelta(seconds=min(2**self._failures, 60)), now)
        with contextlib.suppress(Exception):  # the lease runs out by itself, too
            await self._lease.end(_now())
        return wake_at

    async def break_off(self) -> None:
        """Leave a tick that is cancelled, so that the next one need not wait for it."""
        self._spoil()
        with contextlib.suppress(Exception):  # the lease runs out by itself, too
            await self._lease.end(_now())

    def _spoil(self) -> None:
        """Forget a tick that has failed: what is remembered may be wrong, and is read again."""
        self._opened, self.passes, self._tick = False, 0, ""

    @property
    def is_free(self) -> bool:
        """Whether this process is at no tick."""
        return not self._tick

    def is_at(self, tick: str) -> bool:
        """Tell whether a tick is the one that this process is at."""
        return self._tick == tick

    async def _renew(self) -> None:
        if not await self._lease.renew(_now()):
            raise RuntimeError(f"another tick of {self._name!r} has taken over from this one")

    async def replay(self, ids: list[str] | None) -> None:
        """Deliver dead letters again: those named, or all."""
        await self._ledger.replay(ids)
        self._post.add(self._ledger.outbox, _now())

    def status(self) -> dict[str, Any]:
        """Return what the thread's state shows."""
        dead: list[tuple[str, Any]] = list(islice(self._ledger.dead.items(), _SHOWN))
        return {
            "waiting": self._engine.queued if self._engine.is_open else 0,
            "in_flight": self._engine.in_flight,
            "batches": self._engine.batches_in_flight,
            "undelivered": len(self._post),
            "dead_letters": [{"request": each, "thread": thread, "reason": why} for each, (thread, why, _) in dead],
            "last_error": self.last_error,
        }

    @property
    def _may_hide(self) -> bool:
        """Whether a thread that is not seen may be there all the same: it may be another user's."""
        return bool(self._user) and self._access.service is None

    def _note_error(self, source: Engine | Post) -> None:
        if source.last_error:
            self.last_error, source.last_error = f"{_now():%Y-%m-%d %H:%M:%SZ} {source.last_error}", ""

    # -- the end of a tick -----------------------------------------------------------------------------------------

    async def _wake_at(self, at: datetime | None, now: datetime) -> datetime | None:
        if at is not None:
            at = max(at, now)
            pending: Any = await self.client.runs.list(bridge_thread(self._name), status="pending", limit=100)
            if not any((run.get("metadata") or {}).get("due", 0) <= at.timestamp() + 0.5 for run in pending):
                await start_tick(self.client, self._name, "timer", after=int((at - now).total_seconds()))
        return at

    async def _insure(self, now: datetime) -> None:
        """See to it that a run is pending while this one is under way: it may be cancelled, or its process killed."""
        pending: Any = await self.client.runs.list(bridge_thread(self._name), status="pending", limit=100)
        latest = (now + _INSURANCE * 2).timestamp()
        if not any((run.get("metadata") or {}).get("due", 0) <= latest for run in pending):
            await start_tick(self.client, self._name, "insurance", after=int(_INSURANCE.total_seconds()))


async def _stubbornly(
    wake_at: Callable[[datetime, datetime], Awaitable[datetime | None]], at: datetime, now: datetime
) -> datetime | None:
    """Ask for the next tick until the server takes it: there would be none otherwise."""
    for pause in (1, 4, 15, 60):
        try:
            return await wake_at(at, now)
        except (APIError, httpx.HTTPError) as error:
            logger.warning("could not ask for the next tick: %s", error)
            await asyncio.sleep(pause)
    return await wake_at(at, now)


def _now() -> datetime:
    return datetime.now(UTC)
