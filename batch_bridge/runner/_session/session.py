"""What an open Runner holds: the compiled graph, an engine loop for each bridge, and the waiters of requests."""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from functools import partial
from typing import Any
from uuid import uuid4
from weakref import WeakSet

from langgraph.checkpoint.base import BaseCheckpointSaver

from batch_bridge._core.closing import Closing, close_all
from batch_bridge._core.models import JSON, Outcome
from batch_bridge._core.payload.interrupt_payload import Asked
from batch_bridge._core.pending import Pending
from batch_bridge._engine.standstill import Standstill
from batch_bridge._host.bridge_row import bridge_row
from batch_bridge._host.callbacks import Listeners
from batch_bridge._host.engine_loop import EngineLoop
from batch_bridge._host.uncollected import warn_of_uncollected
from batch_bridge._ledger.claims import Claims, check_no_deployment, name_of, names_of
from batch_bridge._ledger.in_memory import MemoryRows
from batch_bridge._ledger.make import ledger_in
from batch_bridge._ledger.patience import Patience, PatientRows, patient_saver
from batch_bridge._ledger.rows import Rows
from batch_bridge._money import Purse
from batch_bridge._node.pending_waits import LONG_GRACE
from batch_bridge._node.untracked_state import UntrackedMemory
from batch_bridge._status.journal import Look
from batch_bridge.bridge import Bridge
from batch_bridge.errors import RunnerStateError
from batch_bridge.events import Delivered, Event
from batch_bridge.runner._run import Run
from batch_bridge.runner._session.activity import Activity
from batch_bridge.runner._session.books import Books
from batch_bridge.runner._session.hands import RunnerHands
from batch_bridge.runner._session.roster import Roster
from batch_bridge.runner._session.stopwatch import Stopwatch
from batch_bridge.runner._session.traffic import Traffic
from batch_bridge.runner._settings import SessionSettings
from batch_bridge.runner._threads.handover import handing_over
from batch_bridge.runner._threads.recovery import Failures
from batch_bridge.runner._threads.restart import restart
from batch_bridge.runner._threads.thread import Thread
from batch_bridge.runner._threads.unclaimed import Unclaimed

_open_sessions: WeakSet["Session"] = WeakSet()


def is_any_open() -> bool:
    """Return whether a Runner is open in this process. From any thread."""
    return len(_open_sessions) > 0


class Session:
    """The open half of a Runner; bound to one event loop.

    Args:
        graph: A `StateGraph` builder, or a compiled graph.
        bridges: By name.
        saver: The checkpointer, unless the graph has one.
        store: Where the ledgers are.
        settings: What the Runner decided.
        listeners: Receives the events of all bridges; `None` without a callback.
        heard: Receives the events of one bridge, by its name.
        volatile: The ledger or the checkpoints end with this process: no later one finds anything again.
        is_heard: Whether `on_events` is set.

    Attributes:
        roster: Its calls.
        traffic: What is queued and on its way.
        hands: Carries out commands.
        books: What was done and paid.
        on_events: Called with each event of all bridges, besides the listeners.
    """

    def __init__(
        self,
        graph: Any,
        bridges: Sequence[Bridge],
        saver: BaseCheckpointSaver[Any] | None,
        store: Rows,
        settings: SessionSettings,
        *,
        listeners: Listeners | None = None,
        heard: Mapping[str, Listeners] | None = None,
        volatile: bool = False,
        is_heard: bool = False,
    ) -> None:
        self.listeners = listeners
        self.on_events: Callable[[Event], None] | None = None
        self.runner: object = None  # its owner, as long as it runs
        self._heard = heard or {}
        self._ledger_patience = Patience("ledger", limit=settings.store_patience, tell=self._tell_store_failed)
        self._saver_patience = Patience("checkpointer", limit=settings.store_patience, tell=self._tell_store_failed)
        store = store if isinstance(store, MemoryRows) else PatientRows(store, self._ledger_patience)
        self._claims = Claims(store) if settings.is_shared else None
        self._wait_for_owner = settings.patience
        self._standstill = Standstill(settings.give_up_after)
        self.graph = _compiled(graph, saver, self._saver_patience)
        self.bridges = frozenset(bridge.name for bridge in bridges)
        self.failures = Failures(store)
        self.rows: Rows = store
        self.untracked = UntrackedMemory()
        self.grace = LONG_GRACE
        self.unclaimed = Unclaimed(store)
        self.by = uuid4().hex[:16]
        self.under_way: dict[str, Run | None] = {}
        self.newcomers: set[str] = set()
        self.roster = Roster()
        self._bridges = {bridge.name: bridge for bridge in bridges}
        self._activity = Activity()
        self._policies = {bridge.name: bridge.flush for bridge in bridges}
        self._stopwatch = Stopwatch()
        ledgers = {bridge.name: ledger_in(store, bridge.name) for bridge in bridges}
        self._providers = [provider for bridge in bridges for provider in bridge.providers]
        self._engine_loops = {
            bridge.name: EngineLoop(
                bridge.engine(ledgers[bridge.name]),
                self._settled,
                partial(self._pause, bridge.name),
                self._at_work,
                bridge.linger,
            )
            for bridge in bridges
        }
        purse = Purse(settings.budget)
        for bridge in bridges:
            if settings.budget is not None or bridge.budget is None:
                self._engine_loops[bridge.name].engine.purse = purse
        for name, engine_loop in self._engine_loops.items():
            engine_loop.engine.standstill = self._standstill
            engine_loop.on_turn = self._leave
            if listeners is not None or name in self._heard or is_heard:
                engine_loop.engine.on_event = self._tell
            engine_loop.engine.tells_cost = any(
                each is not None and each.hears_events for each in (listeners, self._heard.get(name))
            )
            engine_loop.engine.keeps_askers = listeners is not None and listeners.wants_item_cost
            if self._claims is not None:
                engine_loop.engine.before_submit = self._claims.check
        self._waiters: dict[str, tuple[Run, Thread]] = {}
        self.traffic = Traffic(self._engine_loops.values(), self.roster.whereabouts)
        self.hands = RunnerHands(self._engine_loops.values(), self._waiters, self.roster)
        self.books = Books(
            self._engine_loops,
            ledgers,
            self.roster,
            self._stopwatch,
            self.unclaimed,
            stores=(self._ledger_patience, self._saver_patience),
            listeners=listeners,
        )
        self._volatile = volatile
        self._uncollected: dict[str, JSON] = {}
        self._loops: list[asyncio.Task[None]] = []
        self._working = 0

    async def open(self) -> None:
        """Own the bridges, read the ledgers and start the drivers.

        Raises:
            StoreInUseError: Another Runner owns one of the bridges, or a LangGraph deployment.
        """
        if self._claims is not None:
            for what in names_of(list(self.bridges)):
                await self._claims.take(what, self._wait_for_owner)
            await check_no_deployment(self.rows, sorted(self.bridges))
            await self._claims.sweep()
        for engine_loop in self._engine_loops.values():
            await engine_loop.open()
        for name, engine_loop in self._engine_loops.items():
            self._start(name, engine_loop)
        _open_sessions.add(self)

    def _start(self, name: str, engine_loop: EngineLoop) -> None:
        self._loops = [loop for loop in self._loops if not loop.done()]
        loop = asyncio.get_running_loop().create_task(engine_loop.run(), name=f"bridge {name}")
        loop.add_done_callback(self._loop_ended)
        self._loops.append(loop)

    async def close(self) -> None:
        """Stop after the bridges have ended their current work. A caller that cannot wait cancels this.

        What is parked or in flight is found again by the next session on the same file.
        """
        _open_sessions.discard(self)
        self._hurry()
        claims = () if self._claims is None else (self._claims.close,)
        async with Closing([*claims, *(provider.aclose for provider in self._providers)]):
            await self._stop()

    async def _stop(self) -> None:
        """Fail the calls, end the drivers' turns, and write down what is still to be forgotten."""
        calls = list(self.roster.calls)
        try:
            for call in calls:
                self.roster.end(call)
                self._activity.end(call)
                if call.live:
                    self._let_go(call)
                call.fail(
                    RunnerStateError("the Runner was closed while this ran; await it inside of the `async with` block")
                )
            for call in calls:
                await call.cancel()
            for engine_loop in self._engine_loops.values():
                engine_loop.stop()
            await asyncio.gather(*self._loops, return_exceptions=True)
            self._warn_of_uncollected()
            await close_all(
                engine_loop.finish for engine_loop in self._engine_loops.values() if not engine_loop.has_failed
            )
        finally:
            self.unclaimed.tell_all()
            for loop in self._loops:
                loop.cancel()

    def _warn_of_uncollected(self) -> None:
        sent: dict[str, JSON] = {}
        for engine_loop in self._engine_loops.values():
            if engine_loop.engine.is_open:
                sent |= engine_loop.engine.sent()
        left = {key: handle for key, handle in sent.items() if key in self._uncollected}
        cure = 'Pass Runner(…, path="run.db") and abatch(…, run_id="…"), and the same command continues'
        warn_of_uncollected(left, cure)

    async def own(self, run_id: str) -> None:
        """Own a run, until it is given up.

        Raises:
            StoreInUseError: Another Runner owns it.
        """
        if self._claims is not None:
            await self._claims.take(name_of(run_id), self._wait_for_owner)

    async def disown(self, run_id: str) -> None:
        """Release a run."""
        if self._claims is not None:
            await self._claims.release(name_of(run_id))

    def begin(self, call: Run) -> None:
        """Take a call in. A bridge that an error has stopped starts again, and reads its ledger again."""
        self._ledger_patience.relax()
        self._saver_patience.relax()
        if not self.roster.calls or any(engine_loop.has_failed for engine_loop in self._engine_loops.values()):
            self._standstill.moved()
        self.roster.calls.add(call)
        self._activity.begin(call)
        for name, engine_loop in self._engine_loops.items():
            if engine_loop.has_failed:
                self._start(name, engine_loop)

    async def end(self, call: Run) -> None:
        """Let a call go, finished or not."""
        if call in self.roster.calls:  # first: what it leaves queued is not to be sent because all is idle now
            self._activity.end(call)
            self.roster.end(call)
        if call.live and not self.roster.calls:
            self._hurry()
        if call.live:
            self._let_go(call)
        try:
            await call.cancel()
        finally:
            if call.live:
                self._let_go(call)  # a thread may have parked while it was stopped
            for engine_loop in self._engine_loops.values():
                engine_loop.wake()

    def _let_go(self, call: Run) -> None:
        """Forget the waiters of a call with live threads, and do not send what only they waited for."""
        left = [each for each, (waiting, _) in self._waiters.items() if waiting is call]
        lost = [each for each in left if self._volatile or not self._waiters[each][1].named]
        for request_id in left:
            del self._waiters[request_id]
        for engine_loop in self._engine_loops.values():
            self._uncollected |= engine_loop.engine.sent(lost)
        for engine_loop in self._engine_loops.values():
            engine_loop.drop(left)

    def pending(self, thread: Thread) -> Pending:
        """Return what a thread waits for."""
        engines = [engine_loop.engine for engine_loop in self._engine_loops.values()]
        batches = tuple(each for engine in engines for each in engine.batches_of(thread.unsettled))
        return Pending(thread.id, batches, len(thread.unsettled) - sum(each.requests for each in batches))

    def _leave(self) -> None:
        """End the calls that do not wait for providers, if nothing else can be done."""
        leaving = [
            call for call in self.roster.calls if call.leaves and call.live and not call.busy and not call.is_open
        ]
        if leaving and all(engine_loop.rests for engine_loop in self._engine_loops.values()):
            for call in leaving:
                call.leave(self.pending)

    def look(self) -> Look:
        """Return its state, for its journal; ended runs are reported once."""
        return Look(
            self.roster.take_rows(),
            {name: bridge_row(self._bridges[name].kind, each) for name, each in self._engine_loops.items()},
        )

    async def restart(self, thread_id: str) -> bool:
        """Forget a thread; see `Runner.restart`."""
        return await restart(self, self._engine_loops, thread_id)

    def _hurry(self) -> None:
        """Shorten the wait for a store that cannot be reached: a caller waits for the end."""
        self._ledger_patience.hurry()
        self._saver_patience.hurry()

    def has_given_up(self, error: BaseException) -> bool:
        """Return whether an error is what a call of the ledger or the checkpointer was tried with for too long."""
        return any(each.has_given_up(error) for each in (self._ledger_patience, self._saver_patience))

    # -- what its calls ask of it ------------------------------------------------------------------------------

    def collect(self, call: Run, thread: Thread, asked: Iterable[Asked]) -> None:
        """Hand a parked thread's requests to their bridges."""
        for each in asked:
            self._waiters[each.id] = (call, thread)
            self._engine_loops[each.batcher].collect([each.request(thread.id, call.run)])

    async def outcomes(self, asks: Iterable[tuple[str, str]]) -> dict[str, Outcome]:
        """Read what is known of (request id, bridge) pairs."""
        by_bridge: dict[str, list[str]] = {}
        for request_id, bridge in asks:
            by_bridge.setdefault(bridge, []).append(request_id)
        found: dict[str, Outcome] = {}
        for bridge, request_ids in by_bridge.items():
            found |= await self._engine_loops[bridge].engine.outcomes(request_ids)
        return found

    def told(self, asks: Iterable[tuple[str, str]]) -> None:
        """Note that a thread was resumed with the outcomes of (request id, bridge) pairs."""
        if self.listeners is None and not self._heard:
            return
        by_bridge: dict[str, list[str]] = {}
        for request_id, bridge in asks:
            by_bridge.setdefault(bridge, []).append(request_id)
        for bridge, request_ids in by_bridge.items():
            self._tell(Delivered(bridge=bridge, requests=tuple(request_ids)))

    def _tell(self, event: Event) -> None:
        if self.on_events is not None:
            self.on_events(event)
        for listeners in (self._heard.get(event.bridge), self.listeners):
            if listeners is not None:
                listeners.tell(event)

    def _tell_store_failed(self, event: Event) -> None:
        for listeners in (*self._heard.values(), self.listeners):
            if listeners is not None:
                listeners.tell(event)

    def release(self, thread: Thread) -> None:
        """Release an ended thread's outcomes and its untracked state."""
        self.untracked.forget(thread.id)
        for engine_loop in self._engine_loops.values():
            engine_loop.engine.purse.end(thread.id)
        for request_id, bridge in thread.delivered:
            if bridge in self._engine_loops:
                self._engine_loops[bridge].forget([request_id])

    def abandon(self, thread: Thread) -> None:
        """Do not send what a thread that has failed still waits for, unless it is on its way."""
        left = [request_id for request_id in thread.unsettled if self._waiters.pop(request_id, None) is not None]
        for engine_loop in self._engine_loops.values():
            engine_loop.drop(left)

    def changed(self, call: Run) -> None:
        """Look whether all is idle now; then the bridges may flush."""
        self._activity.changed(call)
        self._tell_time()
        for name, engine_loop in self._engine_loops.items():
            pause = self._pause(name)
            if pause is not None:
                engine_loop.wake_soon() if pause else engine_loop.wake()

    # -- reports of its engine loops -----------------------------------------------------------------------------

    def _settled(self, request_ids: Iterable[str]) -> None:
        for request_id in request_ids:
            waiter = self._waiters.pop(request_id, None)
            if waiter is not None:
                call, thread = waiter
                if thread.settle(request_id):
                    call.wake(thread)

    def _pause(self, bridge: str) -> timedelta | None:
        return self._activity.pause(self._policies[bridge], partial(self._asks, bridge))

    def _asks(self, bridge: str, call: Run) -> bool:
        """Return whether a request of a call is queued."""
        engine, waiters = self._engine_loops[bridge].engine, self._waiters
        return engine.is_open and any(each in waiters and waiters[each][0] is call for each in engine.waiting)

    def _at_work(self, working: bool) -> None:  # noqa: FBT001
        self._working += 1 if working else -1
        self._tell_time()

    def _tell_time(self) -> None:
        self._stopwatch.switch("langgraph" if self._activity.running else "bridge" if self._working else "waiting")

    def _loop_ended(self, loop: asyncio.Task[None]) -> None:
        if not loop.cancelled() and (error := loop.exception()) is not None:
            for call in self.roster.calls:
                call.fail(error)


def _compiled(graph: Any, saver: BaseCheckpointSaver[Any] | None, patience: Patience) -> Any:
    if hasattr(graph, "compile") and not hasattr(graph, "ainvoke"):
        return graph.compile(checkpointer=None if saver is None else handing_over(patient_saver(saver, patience)))
    own = saver or graph.checkpointer
    patient = handing_over(patient_saver(own, patience))
    return graph if patient is graph.checkpointer else graph.copy(update={"checkpointer": patient})
