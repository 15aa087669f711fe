"""What an open Runner holds: the compiled graph, an engine loop for each bridge, and the waiters of requests."""

import asyncio
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import timedelta
from functools import partial
from typing import Any
from uuid import uuid4
from weakref import WeakSet

from langgraph.checkpoint.base import BaseCheckpointSaver

from batch_bridge._core.closing import Closing, close_all
from batch_bridge._core.models import JSON, Closed, Outcome, Succeeded
from batch_bridge._core.payload.interrupt_payload import Asked
from batch_bridge._core.pending import Pending
from batch_bridge._engine.standstill import Standstill
from batch_bridge._host.callbacks import Listeners
from batch_bridge._host.engine_loop import EngineLoop
from batch_bridge._host.eta import EtaClock, Whereabouts
from batch_bridge._host.report import Report, of_batches, of_run
from batch_bridge._host.uncollected import warn_of_uncollected
from batch_bridge._ledger.claims import Claims, check_no_deployment, name_of, names_of
from batch_bridge._ledger.in_memory import MemoryRows
from batch_bridge._ledger.make import ledger_in
from batch_bridge._ledger.patience import Patience, PatientRows, patient_saver
from batch_bridge._ledger.rows import Rows
from batch_bridge._money import AccountLine, Cost, Prices, Purse, Quote, of_sample, receipt, rows
from batch_bridge._node.pending_waits import LONG_GRACE
from batch_bridge._node.untracked_state import UntrackedMemory
from batch_bridge._status.journal import Look
from batch_bridge._status.models import Threads, Wave
from batch_bridge.bridge import Bridge
from batch_bridge.errors import RunnerStateError
from batch_bridge.events import BatchProgress, Delivered, Eta, Event
from batch_bridge.runner._look import EndedRuns, look
from batch_bridge.runner._pooling import Activity
from batch_bridge.runner._run import Run
from batch_bridge.runner._settings import SessionSettings
from batch_bridge.runner._stopwatch import Stopwatch
from batch_bridge.runner._tally import Tally
from batch_bridge.runner._threads.handover import handing_over
from batch_bridge.runner._threads.recovery import Failures
from batch_bridge.runner._threads.thread import Thread, sort_interrupts
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
        self.calls: set[Run] = set()
        self._ended = EndedRuns()
        self._tally = Tally()
        self._bridges = {bridge.name: bridge for bridge in bridges}
        self._activity = Activity()
        self._policies = {bridge.name: bridge.flush for bridge in bridges}
        self.stopwatch = Stopwatch()
        self.threads, self._ended_before = 0, 0
        self._ledgers = {bridge.name: ledger_in(store, bridge.name) for bridge in bridges}
        self._providers = [provider for bridge in bridges for provider in bridge.providers]
        self._engine_loops = {
            bridge.name: EngineLoop(
                bridge.engine(self._ledgers[bridge.name]),
                self._settled,
                partial(self._pause, bridge.name),
                self._at_work,
                bridge.linger,
            )
            for bridge in bridges
        }
        engines = [engine_loop.engine for engine_loop in self._engine_loops.values()]
        self._eta = EtaClock("runner", engines, self._whereabouts)
        self._rounds = 0
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
        calls, self.calls = self.calls, set()
        try:
            for call in calls:
                self._ended.add(call)
                self._tally.add(call)
                self._activity.end(call)
                self.threads += call.done
                self._ended_before += call.ended_before
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

    async def cancel(
        self,
        *,
        request_id: str | None = None,
        thread_id: str | None = None,
        run_id: str | None = None,
        batch: str | None = None,
    ) -> int:
        """End requests as cancelled: one, those of a thread, of a run, of a batch, or all. Returns how many."""
        if batch is not None:
            ids = {each for engine_loop in self._engine_loops.values() for each in engine_loop.engine.in_batch(batch)}
        else:
            ids = {
                each
                for each, (call, thread) in self._waiters.items()
                if request_id in (None, each) and thread_id in (None, thread.id) and run_id in (None, call.run_id)
            }
        ended = await asyncio.gather(*(engine_loop.cancel(ids) for engine_loop in self._engine_loops.values()))
        return len(set().union(*ended))

    async def flush(self) -> int:
        """Send what waits, now. Returns how many requests that is."""
        queued = self.queued
        for engine_loop in self._engine_loops.values():
            engine_loop.flush()
        return queued

    def hear(self, names: Collection[str] | None) -> None:
        """Look at batches at once that have news. From any thread."""
        for engine_loop in self._engine_loops.values():
            engine_loop.hear(names)

    async def retry(self, *, thread_id: str | None = None, run_id: str | None = None) -> int:
        """Run threads again that have failed in a run under way. Return how many."""
        return sum(call.retry(thread_id) for call in list(self.calls) if run_id in (None, call.run_id))

    def pause(self, *, paused: bool) -> None:
        """Pause sending, or resume it; what is on its way is collected."""
        for engine_loop in self._engine_loops.values():
            engine_loop.engine.paused = paused
            engine_loop.wake()

    async def restart(self, thread_id: str) -> bool:
        """Forget a thread; see `Runner.restart`. What it has asked for and been sent is counted as unclaimed."""
        if thread_id in self.under_way:
            raise RunnerStateError(
                f"thread {thread_id!r} is under way in this Runner; await what drives it, or cancel that, and then "
                "start the thread again"
            )
        self.under_way[thread_id] = None
        self.newcomers.discard(thread_id)
        try:
            return await self._restart(thread_id)
        finally:
            self.under_way.pop(thread_id, None)

    async def _restart(self, thread_id: str) -> bool:
        saver: BaseCheckpointSaver[Any] = self.graph.checkpointer
        saved = await saver.aget_tuple({"configurable": {"thread_id": thread_id}})
        pending = [
            each
            for _, channel, value in (saved and saved.pending_writes) or ()
            if channel == "__interrupt__"
            for each in value
        ]
        ours, _ = sort_interrupts(pending)
        asks = {
            (each.id, each.batcher) for asked in ours.values() for each in asked if each.batcher in self._engine_loops
        }
        outcomes = await self.outcomes(asks)
        sent = {each for each, bridge in asks if self._engine_loops[bridge].engine.is_sent(each)}
        paid = sent | {each for each, outcome in outcomes.items() if isinstance(outcome, Succeeded)}
        await self.unclaimed.note(thread_id, sorted(paid))
        try:
            await saver.adelete_thread(thread_id)
        except NotImplementedError:
            raise RunnerStateError(
                f"thread {thread_id!r} cannot be started again: {type(saver).__name__} cannot delete a thread; run its "
                "input under another run_id or thread_id"
            ) from None
        await self.failures.forget(thread_id)
        for bridge, engine_loop in self._engine_loops.items():
            engine_loop.forget(each for each, of in asks if of == bridge and each in outcomes)
        return saved is not None

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
        if not self.calls or any(engine_loop.has_failed for engine_loop in self._engine_loops.values()):
            self._standstill.moved()
        self.calls.add(call)
        self._activity.begin(call)
        for name, engine_loop in self._engine_loops.items():
            if engine_loop.has_failed:
                self._start(name, engine_loop)

    async def end(self, call: Run) -> None:
        """Let a call go, finished or not."""
        if call in self.calls:
            self._activity.end(call)
            self.calls.discard(call)  # first: what it leaves queued is not to be sent because all is idle now
            self._ended.add(call)
            self._tally.add(call)
            self.threads += call.done
            self._ended_before += call.ended_before
        if call.live and not self.calls:
            self._hurry()
        self._let_go(call)
        try:
            await call.cancel()
        finally:
            self._let_go(call)  # a thread may have parked while it was stopped
            for engine_loop in self._engine_loops.values():
                engine_loop.wake()

    def _let_go(self, call: Run) -> None:
        """Forget the waiters of a call, and do not send what only they waited for."""
        if not call.live:
            return
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
        leaving = [call for call in self.calls if call.leaves and call.live and not call.busy and not call.is_open]
        if leaving and all(engine_loop.rests for engine_loop in self._engine_loops.values()):
            for call in leaving:
                call.leave(self.pending)

    async def report(self, run_id: str | None = None) -> Report:
        """Add up the report of all runs, or of one."""
        if run_id is not None:
            return await self._report_of(run_id)
        closed: list[Closed] = []
        for ledger in self._ledgers.values():
            closed += await ledger.closed_batches()
        return of_batches(
            closed,
            await self.cost(),
            threads=self._tally.threads(self.calls),
            seconds=dict[str, float](self.stopwatch.seconds().items()),
            unclaimed=await self.unclaimed.count(),
            problems=self._problems,
        )

    async def _report_of(self, run_id: str) -> Report:
        accounts = [each for engine_loop in self._engine_loops.values() for each in await engine_loop.engine.accounts()]
        lines = [
            (prices, [line for line in of_bridge if line.who.run == run_id])
            for _, prices, of_bridge in await self.lines()
        ]
        cost = await asyncio.to_thread(receipt, lines)
        threads = self._tally.of_run(run_id, self.calls)
        return of_run(run_id, accounts, cost, threads=threads, problems=self._problems)

    async def cost(self) -> Cost:
        """Return what was paid, of all sessions on this ledger."""
        lines = [(prices, lines) for _, prices, lines in await self.lines()]
        return await asyncio.to_thread(receipt, lines)  # the first price imports a list of prices

    async def cost_of(self, thread_id: str) -> Cost | None:
        """Return what a thread has cost, of all sessions on this ledger; `None` if no callback wants it."""
        if self.listeners is None or not self.listeners.wants_item_cost:
            return None
        engines = [engine_loop.engine for engine_loop in self._engine_loops.values()]
        lines = [(engine.prices, engine.lines_of(thread_id)) for engine in engines]
        return await asyncio.to_thread(receipt, lines)

    @property
    def settlements(self) -> int:
        """Changes whenever something was paid."""
        return sum(engine_loop.engine.purse.version for engine_loop in self._engine_loops.values())

    async def costs(self) -> list[dict[str, Any]]:
        """Return what each thread has cost; see `Runner.costs`."""
        return await asyncio.to_thread(rows, await self.lines())

    async def quote(self, threads: Sequence[str], total: int) -> Quote:
        """Return what all threads will come to, by some that have ended; see `Runner.quote`."""
        bridges, latencies = [], list[float]()
        for engine_loop in self._engine_loops.values():
            bridges.append((engine_loop.engine.prices, await engine_loop.engine.accounts()))
            closed = await engine_loop.engine.closed_batches()
            latencies += [(each.ended_at - each.submitted_at).total_seconds() for each in closed]
        return await asyncio.to_thread(of_sample, threads, total, bridges, latencies)

    async def lines(self) -> list[tuple[str, Prices, list[AccountLine]]]:
        """Read what each bridge's requests have used, and the prices of it."""
        found = []
        for name, engine_loop in self._engine_loops.items():
            lines = [line for account in await engine_loop.engine.accounts() for line in account.each()]
            found.append((name, engine_loop.engine.prices, lines))
        return found

    @property
    def _problems(self) -> tuple[str, ...]:
        stores = (each.problem for each in (self._ledger_patience, self._saver_patience))
        batches = (problem for engine_loop in self._engine_loops.values() for problem in engine_loop.engine.problems)
        return tuple(problem for problem in (*stores, *batches) if problem)

    def look(self) -> Look:
        """Return its state, for its journal; ended runs are reported once."""
        return look(
            self._ended,
            self.calls,
            [(self._bridges[name], engine_loop) for name, engine_loop in self._engine_loops.items()],
        )

    def _hurry(self) -> None:
        """Shorten the wait for a store that cannot be reached: a caller waits for the end."""
        self._ledger_patience.hurry()
        self._saver_patience.hurry()

    def has_given_up(self, error: BaseException) -> bool:
        """Return whether an error is what a call of the ledger or the checkpointer was tried with for too long."""
        return any(each.has_given_up(error) for each in (self._ledger_patience, self._saver_patience))

    @property
    def done(self) -> int:
        """Threads that have ended, failed ones too."""
        return self.threads + sum(call.done for call in self.calls)

    @property
    def ended_before(self) -> int:
        """Threads that had ended before, and whose results were read again."""
        return self._ended_before + sum(call.ended_before for call in self.calls)

    @property
    def in_batches(self) -> tuple[BatchProgress, ...]:
        """How far the batches at the providers are."""
        return tuple(each for engine_loop in self._engine_loops.values() for each in engine_loop.engine.progress)

    @property
    def eta(self) -> Eta | None:
        """When the calls that are under way will be done; `None` while there is no history of ended batches."""
        return self._eta.eta

    def _whereabouts(self) -> Whereabouts:
        totals = [call.total for call in self.calls]
        total = None if None in totals else sum(each or 0 for each in totals)
        waves: Counter[int] = Counter()
        asks: Counter[int] = Counter()
        for call in self.calls:
            waves.update(call.waves)
            asks.update(call.asks)
        self._rounds = max([self._rounds, *(each for call in self.calls for each in call.rounds)])
        parked = tuple(Wave(step, count, asks[step]) for step, count in sorted(waves.items()) if count > 0)
        live = sum(call.live for call in self.calls) - waves.total()
        threads = Threads(total, sum(call.done for call in self.calls), live, waves.total(), 0)
        return threads, parked, self._rounds or None

    @property
    def queued(self) -> int:
        """Requests that wait to be sent."""
        return sum(engine_loop.engine.queued for engine_loop in self._engine_loops.values())

    @property
    def in_flight(self) -> int:
        """Requests at the providers."""
        return sum(engine_loop.engine.in_flight for engine_loop in self._engine_loops.values())

    @property
    def batches(self) -> int:
        """Batches at the providers."""
        return sum(engine_loop.engine.batches_in_flight for engine_loop in self._engine_loops.values())

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
        self.stopwatch.switch("langgraph" if self._activity.running else "bridge" if self._working else "waiting")

    def _loop_ended(self, loop: asyncio.Task[None]) -> None:
        if not loop.cancelled() and (error := loop.exception()) is not None:
            for call in self.calls:
                call.fail(error)


def _compiled(graph: Any, saver: BaseCheckpointSaver[Any] | None, patience: Patience) -> Any:
    if hasattr(graph, "compile") and not hasattr(graph, "ainvoke"):
        return graph.compile(checkpointer=None if saver is None else handing_over(patient_saver(saver, patience)))
    own = saver or graph.checkpointer
    patient = handing_over(patient_saver(own, patience))
    return graph if patient is graph.checkpointer else graph.copy(update={"checkpointer": patient})
