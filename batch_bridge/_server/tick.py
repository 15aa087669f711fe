"""A bridge in one process of a LangGraph server: the engine and the post, and the steps of a tick."""

import asyncio
import contextlib
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import islice
from typing import Any

from langgraph_sdk.client import LangGraphClient

from batch_bridge._core import clock as _clock
from batch_bridge._core.wording import log_text as _logged
from batch_bridge._core.wording.log import about, logger_of
from batch_bridge._engine import Engine
from batch_bridge._engine.flights.notices import Notices
from batch_bridge._host.batch_notices import batch_notices
from batch_bridge._host.callbacks import Listeners
from batch_bridge._host.notify import Notifier
from batch_bridge._ledger.ledger import Ledger
from batch_bridge._ledger.rows import Rows
from batch_bridge._money import receipt
from batch_bridge._money.receipt import to_json
from batch_bridge._node.platform.client import Access
from batch_bridge._node.platform.keys import KeyRing
from batch_bridge._node.platform.wakeup import start_tick
from batch_bridge._server import commands as command_log
from batch_bridge._server.command_executor import CommandExecutor
from batch_bridge._server.commands import Verb
from batch_bridge._server.delivery import DELIVERY_LIMITS, DeliveryLimits, Outbox
from batch_bridge._server.eraser import Eraser
from batch_bridge._server.intake import Intake
from batch_bridge._server.lease import Lease
from batch_bridge._server.parts import HostParts
from batch_bridge._server.port.langgraph import LangGraphServer
from batch_bridge._server.port.threads import ThreadServer
from batch_bridge._server.records import DeploymentStore, ServerRecords
from batch_bridge._server.retention import Retention
from batch_bridge._server.timer import TickTimer
from batch_bridge._server.users import Users
from batch_bridge.errors import BadPollResultError

logger = logger_of(__name__)

_NAP = timedelta(seconds=1)
_LAST_PASSES = 200
"""Passes of a tick after which calls that run in this process are ended and no new ones begun: the next tick may run in
another process, which does not see them."""
_AWAKE = timedelta(seconds=5)
"""How long a tick naps at most; then it ends, so that its thread shows the state, and the next tick begins."""
_COUNT_EVERY = timedelta(minutes=1)
_COUNTED_AT_ONCE = 1000
"""Batches up to which the money is counted after each of them."""
_SHOWN = 20
"""Batches and dead letters that the thread's state shows."""


class ServerHost:
    """The steps of a tick, in the order of a tick. One tick at a time; what a step did need not be done again.

    Args:
        graph_id: The bridge's name on this server.
        engine: Makes the engine over a ledger.
        access: How the server is reached.
        retention: How long outcomes are kept that were delivered, and summaries of batches.
        listeners: Receives the events; `None` without a callback.
        notifier: Sends notices of batches that have ended; `None` if none are wanted.
        server: Runs the threads; a LangGraph server that is reached by `access`, where it is left out.
        key_ring: The deployment's keys, where the server has to know them too.
    """

    def __init__(
        self,
        graph_id: str,
        engine: Callable[[Ledger, str], Engine],
        access: Access,
        retention: timedelta,
        *,
        listeners: Listeners | None = None,
        notifier: Notifier | None = None,
        server: ThreadServer | None = None,
        delivery: DeliveryLimits = DELIVERY_LIMITS,
        key_ring: KeyRing | None = None,
    ) -> None:
        self._delivery = delivery
        self._name = graph_id
        self._access = access
        self._store = DeploymentStore()
        self._records = ServerRecords(self._store, graph_id)
        self._lease = Lease(self._store, graph_id)
        self._engine = engine(self._records.ledger, graph_id)
        self._listeners = listeners
        tell = None if listeners is None else listeners.tell
        self._engine.on_event = tell
        self._engine.tells_cost = listeners is not None and listeners.hears_events
        self._batch_notices = batch_notices(graph_id, self._engine, notifier, self._store)
        self._ring = key_ring or KeyRing()
        users = Users(self._store, access)
        self._server: ThreadServer = server or LangGraphServer(
            graph_id, access, self._store, key_ring=self._ring, users=users
        )
        self._timer = TickTimer(graph_id, self._server)
        parts = HostParts(
            bridge=graph_id,
            store=self._store,
            records=self._records,
            engine=self._engine,
            renew=self._renew,
            access=access,
            users=users,
            server=self._server,
            key_ring=self._ring,
        )
        self._outbox = Outbox(parts, tell, limits=delivery)
        self._intake = Intake(parts, self._outbox, patience=retention)
        self._executor = CommandExecutor(parts, self._outbox, Eraser(parts))
        self._retention = Retention(parts, retention)
        self._engine.before_submit = self._lease.check
        self._opened = self._is_alone = False
        self._look_at: datetime | None = None
        self._again = False
        self._began = _clock.now()
        self._failures = 0
        self._notices = Notices()
        self._tick = ""
        self._user = ""
        self.last_error = ""
        self._cost: dict[str, Any] = {}
        self._counted = -1
        self._counted_at: datetime | None = None
        self.passes = 0

    @property
    def client(self) -> LangGraphClient:
        """Calls the server, as the service that was configured or as the user of this run."""
        return self._access.client()

    async def accept(self, store: Rows, command_id: str, commands: Mapping[Verb, Any], *, by: str = "") -> None:
        """Store a command to this bridge; from then on it is not lost. The next pass carries it out.

        Args:
            store: The deployment's.
            command_id: Tells a repeated command from a new one.
            commands: As `command_log.read` gives them.
            by: The user to whose threads they are limited; empty: they are the service's, and are not.
        """
        if commands:
            await command_log.leave(store, self._name, command_id, commands, _clock.now(), by=by)

    async def is_ours(self, store: Rows, thread: str) -> bool:
        """Return whether a thread is the one that all ticks of this bridge run on."""
        self._store.store = store
        return thread == await self._access.thread_of(self._name, self._store)

    async def limited_to(self, store: Rows, user: str) -> str:
        """Return the user to whose threads a user's commands are limited; empty if they are not.

        They are not where the bridge has no identity of its own, and where it is that user.
        """
        if self._access.service is None or not user:
            return ""
        if self._access.identity is None:  # a run of the service shows the identity that the server gives it
            await self.hand_on(store)
        return "" if user == self._access.identity else user

    async def hand_on(self, store: Rows, commands: Mapping[str, Any] | None = None) -> None:
        """Start a tick on the bridge's own thread, with commands."""
        thread = await self._access.thread_of(self._name, store)
        await start_tick(self._access, thread, self._name, "hand", after=0, commands=commands)

    async def begin(self, store: Rows, tick: str, *, alone: bool = False) -> bool:
        """Begin a pass; return whether this process may continue the bridge, or another tick still runs.

        Args:
            store: The deployment's.
            tick: The run, and which attempt at it.
            alone: Something else proves that no other tick runs, as a lock of the database does.
        """
        self._store.store, self._is_alone = store, alone
        now = _clock.now()
        if self._tick != tick:
            if self._tick and self._lease.is_fresh(now):
                await self._timer.set(now + timedelta(seconds=5), now)
                return False
            self._tick, self._began, self.passes = tick, now, 0
        self.passes += 1
        mine = await self._lease.take(now, alone=alone)
        if mine is None:
            self._tick = ""
            self._tell_taken(now)
            await self._timer.set(now + timedelta(seconds=5), now)
            return False
        await self._ring.load(self._store, first=self.passes == 1)
        if not mine or not self._opened:
            self._opened = False  # until all is read: a tick that is cancelled half way leaves this as it is
            await self._records.load(self._renew)
            await self._renew()  # a long queue takes its time
            await self._engine.open(now)
            self._outbox.load(now)
            if self._batch_notices is not None:
                await self._batch_notices.open()
            self._opened = True
            self._tell_held()
        return True

    def _tell_taken(self, now: datetime) -> None:
        if self._lease.problem:
            self.last_error = self._lease.problem
            if (again := self._notices.again(self._name, "lease", now)) is not None:
                logger.error("%s: %s%s", self._name, self.last_error, again)

    def _tell_held(self) -> None:
        for key, ids in self._records.ledger.held.items():
            self.last_error = (
                f"the rows of batch {key!r} cannot be read; {len(ids)} requests that it may hold are neither sent "
                f"again nor answered. Look it up at the provider, and then give them up: cancel={{'batch': {key!r}}}"
            )
            logger.error("%s: %s", self._name, self.last_error, extra=about(bridge=self._name))

    async def collect(self, user: str) -> None:
        """Take in the requests of newly parked threads, and carry out commands.

        Args:
            user: The identity with which this run calls the server, where the deployment knows its users.
        """
        now = _clock.now()
        self._user = user
        news = await self._intake.collect(self._server, now, may_hide=self._may_hide, user=user)
        self._again, self._look_at = news.again, news.look_at
        if news.problem:
            self.last_error = news.problem
        if self.passes == 1 and (news.notes or self._engine.queued or self._engine.in_flight or len(self._outbox)):
            await self._timer.insure(now)
        await self._executor.obey(news.unparked, _clock.now())

    def hear(self, names: Collection[str] | None) -> None:
        """Have batches looked at in this tick that their provider has news of; `None`: all."""
        self._engine.hear(names, _clock.now())

    async def advance(self) -> None:
        """Look after the batches that are due."""
        now = _clock.now()
        await self._renew()
        try:
            await self._engine.advance(now)
        except BadPollResultError as error:  # other batches, threads and users continue; it is logged, and shown
            self._engine.last_error = f"{error}"
        self._outbox.add(self._engine.tell(now).settled, now)
        self._note_error(self._engine)

    async def deliver(self) -> None:
        """Resume the threads whose outcomes are there."""
        now = _clock.now()
        await self._renew()
        self._again |= await self._outbox.deliver(
            self._server, now, seconds=self._delivery.seconds, hidden=self._may_hide
        )
        self._note_error(self._outbox)

    async def flush(self, *, everything: bool = False) -> None:
        """Send what is due, or all that waits if a command says so, unless its thread has gone meanwhile.

        Args:
            everything: Nothing more can be asked for now: all that waits is sent, as by a command.
        """
        now, everything = _clock.now(), everything or self._executor.wants_flush
        if self._engine.expects_news and self.passes > _LAST_PASSES:
            return  # a command stays until the next tick
        ids = tuple(self._engine.waiting) if everything else self._engine.to_flush(now)
        if ids:
            await self._intake.drop_abandoned(self._server, ids, may_hide=self._may_hide)
            await self._renew()
            before = self._engine.queued
            await self._engine.flush(_clock.now(), drain=everything)
            self._note_error(self._engine)
            ids = ids[: max(before - self._engine.queued, 0)]
        if everything:
            await self._executor.flushed(len(ids), now)

    @property
    def again(self) -> bool:
        """Whether this tick has more to do."""
        return self._again

    async def rest(self) -> bool:
        """Wait for what is due within a second, and return whether there was something.

        A run can be asked for by the second only, and costs more than a nap. What is answered in this process, and
        by no provider's batch, is waited for.
        """
        now, next_at = _clock.now(), self._next_at()
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
        now = _clock.now()
        await self._retention.tidy(self._server, now)
        self._failures, self.passes, self._tick = 0, 0, ""
        at = now if self._again else self._next_at()
        wake_at = await self._timer.set(at, now)
        if not self._is_alone:
            await self._lease.end(_clock.now())
        await self._tell_all()
        return wake_at

    def _next_at(self) -> datetime | None:
        now = _clock.now()
        tick = self._engine.tell(now)
        self._outbox.add(tick.settled, now)
        waits = [time for time in (tick.wake_at, self._outbox.next_at, self._look_at) if time is not None]
        if waits and self._intake.sweep_at is not None:
            waits.append(self._intake.sweep_at)
        return min(waits, default=None)

    async def fail(self, error: Exception) -> datetime | None:
        """End a tick that an error has ended: try again, later each time."""
        now = _clock.now()
        self.last_error = f"{type(error).__name__}: {error}"
        if (again := self._notices.again(self._name, type(error).__name__, now)) is not None:
            logger.error(
                "%s: a tick failed%s", self._name, again, exc_info=_logged.trace(error), extra=about(bridge=self._name)
            )
        self._spoil()
        self._failures += 1
        wake_at = await self._timer.set_stubbornly(now + timedelta(seconds=min(2**self._failures, 60)), now)
        with contextlib.suppress(Exception):  # the lease runs out by itself, too
            await self._lease.end(_clock.now())
        await self._tell_all()
        return wake_at

    async def break_off(self) -> None:
        """Leave a tick that is cancelled, so that the next one need not wait for it."""
        self._spoil()
        with contextlib.suppress(Exception):  # the lease runs out by itself, too
            await self._lease.end(_clock.now())

    def _spoil(self) -> None:
        """Forget a tick that has failed: what is remembered may be wrong, and is read again."""
        self._opened, self.passes, self._tick = False, 0, ""

    @property
    def is_free(self) -> bool:
        """Whether this process is at no tick."""
        return not self._tick

    def is_at(self, tick: str) -> bool:
        """Return whether a tick is the one that this process is at."""
        return self._tick == tick

    @property
    def waits_for_idleness(self) -> bool:
        """Whether something waits to be sent once all threads wait."""
        return self._engine.is_open and bool(self._engine.queued)

    async def beat(self) -> None:
        """Keep the lease alive while a step of a tick takes time.

        Raises:
            RuntimeError: Another process has taken over.
        """
        if self._tick:
            await self._renew()

    async def _renew(self) -> None:
        if not await self._lease.renew(_clock.now()):
            raise RuntimeError(f"another tick of {self._name!r} has taken over from this one")

    async def _tell_all(self) -> None:
        """Wait until all callbacks have been called: the next run may have another event loop."""
        if self._listeners is not None:
            await self._listeners.told()

    def commands(self, before: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Return what the thread's state shows of commands, after what it has shown before."""
        return self._executor.told(before)

    async def notify(self) -> None:
        """Send the notices of batches that have ended in this tick, if the bridge has a notifier."""
        if self._batch_notices is not None and self._engine.is_open:
            await self._batch_notices.send()

    async def count_money(self) -> None:
        """Count what was paid, as far as `retention` goes back; where that is much, once a minute at most."""
        version, now = self._engine.purse.version, _clock.now()
        is_early = self._counted_at is not None and now - self._counted_at < _COUNT_EVERY
        if not self._engine.is_open or version == self._counted or (is_early and version > _COUNTED_AT_ONCE):
            return
        accounts = await self._engine.accounts()
        lines = [line for account in accounts for line in account.each()]
        self._cost = to_json(await asyncio.to_thread(receipt, [(self._engine.prices, lines)]))
        self._counted, self._counted_at = version, now

    def status(self) -> dict[str, Any]:
        """Return what the thread's state shows."""
        dead: list[tuple[str, Any]] = list(islice(self._records.dead.items(), _SHOWN))
        return {
            "waiting": self._engine.queued if self._engine.is_open else 0,
            "in_flight": self._engine.in_flight,
            "batches": self._engine.batches_in_flight,
            "undelivered": len(self._outbox),
            "unclaimed": len(self._records.unclaimed),
            "held": sum(map(len, self._records.ledger.held.values())),
            "dead": len(self._records.dead),
            "dead_letters": [{"request": each, "thread": thread, "reason": why} for each, (thread, why, _) in dead],
            "last_error": self.last_error,
            "cost": self._cost,
        }

    @property
    def _may_hide(self) -> bool:
        """Whether a thread that is not seen may be there all the same: it may be another user's."""
        return bool(self._user) and self._access.service is None

    def _note_error(self, source: Engine | Outbox) -> None:
        if source.last_error:
            self.last_error, source.last_error = f"{_clock.now():%Y-%m-%d %H:%M:%SZ} {source.last_error}", ""
