"""The engine, as its host sees it."""

from collections.abc import Awaitable, Callable, Collection, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from batch_bridge import events
from batch_bridge._core import clock as _clock
from batch_bridge._core.models import (
    Cancelled,
    Intent,
    Outcome,
    Request,
    SubmittedBatch,
)
from batch_bridge._core.policy.flush_policy import FlushPolicy
from batch_bridge._core.policy.ladder import Leave, Stay
from batch_bridge._core.provider import Provider
from batch_bridge._engine.collector import Collector
from batch_bridge._engine.flights.flight import Flight
from batch_bridge._engine.flights.notices import Notices
from batch_bridge._engine.intake import CANCELLED
from batch_bridge._engine.sending import priming
from batch_bridge._engine.sending import scheduling as _schedule
from batch_bridge._engine.sending.submission import Sender
from batch_bridge._engine.settings import USUAL, EngineSettings
from batch_bridge._engine.settlement.heard import Heard
from batch_bridge._engine.settlement.leaver import is_overdue
from batch_bridge._engine.settlement.leaving import decide
from batch_bridge._engine.settlement.settling import Settler
from batch_bridge._engine.slow_batches import tell_long, tell_stuck
from batch_bridge._engine.standstill import Standstill
from batch_bridge._engine.state import State
from batch_bridge._engine.takeover import Takeover
from batch_bridge._engine.view import EngineView
from batch_bridge._engine.waiting.quota import QuotaController
from batch_bridge._ledger.ledger import Ledger
from batch_bridge._money import Askers, Purse
from batch_bridge.errors import StoreInUseError


@dataclass(frozen=True, slots=True)
class Tick:
    """What a tick did. `settled` are requests that have an outcome now; `wake_at` is when the next tick is due."""

    settled: tuple[str, ...]
    wake_at: datetime | None


class Engine(EngineView):
    """One bridge's requests and batches. One caller at a time: its owner holds the mutex.

    Args:
        name: The bridge; part of every key.
        provider: Who answers.
        policy: When the queue is sent.
        ledger: What survives a crash.
        settings: What its bridge decided.
        notices: What other engines of this bridge have said in the log.
        quota_controller: What another engine of this bridge has learned of the provider's quotas.
        purse: What may be spent; by default each thread may ask for so many requests, and no prices are needed.
    """

    def __init__(
        self,
        name: str,
        provider: Provider,
        policy: FlushPolicy,
        ledger: Ledger,
        settings: EngineSettings = USUAL,
        *,
        notices: Notices | None = None,
        quota_controller: QuotaController | None = None,
        purse: Purse | None = None,
    ) -> None:
        super().__init__(State(name, provider, policy, ledger, settings))
        if purse is not None:
            self.purse = purse
        if quota_controller is not None:
            self._state.quota_controller = quota_controller
        if notices is not None:
            self._state.notices = notices
        self._heard = Heard(self._state)
        self._settler = Settler(self._state)
        self._sender = Sender(self._state, self._settler)
        self._takeover = Takeover(self._state, self._settler, self._sender)
        self._collector = Collector(self._state, self._settler)

    # -- the life of a process -----------------------------------------------------------------------------------

    async def open(self, now: datetime) -> None:
        """Read from the ledger what a process before this one left in flight. Idempotent.

        Requests that were only queued are not sent until a caller collects them again, unless the ledger keeps the
        queue: the parked interrupt is the truth, and an abandoned thread must not cost money.
        """
        await self._takeover.open(now)

    # -- requests in ---------------------------------------------------------------------------------------------

    async def collect(
        self, requests: Iterable[Request], now: datetime, *, asked_at: Mapping[str, datetime] | None = None
    ) -> set[str]:
        """Take in the requests of parked threads; those known already are not taken twice.

        Args:
            requests: What the threads wait for.
            now: Aware UTC.
            asked_at: Since when a thread waits, by its id, where that is not now. A request's age counts from there.

        Returns:
            The requests that have an outcome, however long ago they were settled: deliver them (again).
        """
        return await self._collector.collect(requests, now, asked_at or {})

    async def finish(self, ids: Iterable[str], now: datetime) -> None:
        """Find out what a process before this one has settled of the batches that some requests are in.

        A batch of which it has settled everything is closed.
        """
        await self._collector.finish(ids, now)

    # -- a tick --------------------------------------------------------------------------------------------------

    async def tick(self, now: datetime, *, drain: bool = False) -> Tick:
        """Do everything that is due at `now`: reconcile, poll, settle, flush.

        Args:
            now: Aware UTC. A clock that jumps makes things early or late, never wrong.
            drain: Send all that waits, whatever the policy says: nothing more can come.
        """
        self._ticked_at = now
        await self.advance(now)
        await self.flush(now, drain=drain)
        return self.tell(now)

    async def advance(self, now: datetime) -> None:
        """Do the first half of a tick: reconcile, poll and settle the batches that are due.

        Raises:
            BadPollResultError: A `poll` has returned what makes no sense. All batches that were due have been seen to.
        """
        state = self._state
        state.opened()
        self._heard.apply(now)
        await self.release()
        try:
            due = state.flights.due(now, state.interval)
            overdue = [each for each in due if is_overdue(each)]
            others = [each for each in due if not is_overdue(each)]
            try:
                await state.each(others, lambda flight: self._advance(flight, now))
            finally:  # one at a time: what it answers may be kept for a request that is in another batch by now
                await state.each(overdue, lambda flight: self._advance(flight, now), 1)
        finally:
            state.tell_moves()
            state.drain = state.till.relax() or state.drain  # what was held for want of money was due
            state.drain = priming.release(state, now) or state.drain  # as was what waited for the provider's cache
            tell_long(state, now)
            tell_stuck(state, now)

    def hear(self, names: Collection[str] | None, now: datetime) -> None:
        """Have batches looked at in the next tick, because their provider has news of them. Idempotent.

        Args:
            names: The provider's ids of them; one that is unknown is remembered for a minute. `None`: all batches.
            now: Aware UTC.
        """
        self._heard.hear(names, now)

    async def flush(self, now: datetime, *, drain: bool = False) -> None:
        """Do the second half of a tick: send what the policy says is due; with `drain` all that waits.

        What is late moves to another lane. What the provider has no room for stays, and goes first once there is some.
        """
        state, queue = self._state, self._state.opened()
        state.drain = state.till.relax() or state.drain or drain
        if state.paused or not await state.is_still_owner(None, now):
            return
        if late := queue.late(now):
            await self._sender.move(late, now)
        for lane in state.ladder.others if state.ladder is not None else ():
            if waiting := _schedule.in_lane(state, lane, now):
                queue.flushed(now, waiting)
                await self._sender.flush_in(lane, waiting, now)
        while not _schedule.is_held(state, now):
            flush = _schedule.due(state, now)
            before = len(queue), state.drain, state.owed
            state.drain, state.owed = flush.drain, flush.owed
            if not flush.due:
                break
            queue.flushed(now, flush.due)
            await self._sender.flush(flush.due, now)
            if len(queue) == before[0]:  # another process owns the bridge by now: all of it is still due
                _, state.drain, state.owed = before
                break
            if not flush.is_limited:
                break

    def to_flush(self, now: datetime) -> tuple[str, ...]:
        """Return the ids of the requests that `flush` would send now."""
        state = self._state
        late = state.opened().late(now)
        for lane in state.ladder.others if state.ladder is not None else ():
            late += _schedule.in_lane(state, lane, now)
        due = [] if _schedule.is_held(self._state, now) else _schedule.due(self._state, now).due
        return tuple(dict.fromkeys(each.id for each in (*late, *due)))

    def tell(self, now: datetime) -> Tick:
        """Return what has been settled since the last time, and when the next tick is due."""
        settled, self._state.settled = tuple(self._state.settled), []
        self._state.tell_moves()
        self._state.tell_figures()
        return Tick(settled, _schedule.wake_at(self._state, now))

    async def release(self) -> None:
        """Have providers delete what they keep of batches that were closed by what the ledger knew. Idempotent."""
        await self._settler.finisher.release()

    async def _advance(self, flight: Flight, now: datetime) -> None:
        if flight.is_held:
            return  # it is about to be closed
        flight.is_held = True
        try:
            if await self._state.is_still_owner(flight, now):  # else another process looks after it
                await self._look_after(flight, now)
        finally:
            flight.is_held = False

    async def _look_after(self, flight: Flight, now: datetime) -> None:
        has_looked = await self._leave(flight, now)
        if self._state.flights.get(flight.batch.key) is not flight:
            return  # it had ended
        match flight.batch:
            case SubmittedBatch() as batch:
                if (not flight.stopping or await self._settler.leaver.stop(flight, batch, now)) and not has_looked:
                    await self._settler.poll(flight, batch, now)
            case Intent() as intent if intent.key in self._state.handles:
                await self._sender.confirm_late(flight, intent, now)
            case Intent() as intent if flight.doubtful:
                await self._sender.reconcile(flight, intent, now)
            case Intent() as intent if flight.is_late:
                await self._sender.leave(flight, intent, now)
            case Intent() as intent if flight.inherited:
                await self._sender.withdraw(flight, intent)  # it was not sent: its process died
            case Intent() if self._state.paused:
                flight.wait(now, self._state.interval)
            case Intent() as intent:
                await self._sender.submit(flight, intent, now)

    async def _leave(self, flight: Flight, now: datetime) -> bool:
        """Decide whether a batch's requests leave its lane, if it is time; return whether it was looked at for that."""
        if flight.leaves_at is not None and flight.leaves_at <= now and isinstance(flight.batch, SubmittedBatch):
            return await self._settler.leave(flight, flight.batch, now)
        if flight.late_at is None or now < flight.late_at:
            return False
        match decide(self._state, flight, now):
            case Stay(until):
                flight.late_at = until
                return False
            case Leave() as leave:
                flight.late_at, flight.is_late = None, True
                return await self._settler.overtake(flight, leave, now)

    async def take_back(self) -> None:
        """Queue the requests of batches again that the provider is known not to have: its host gives up.

        Else who comes next would have to look for them, which a pair of functions without `find` cannot.
        """
        try:
            if not await self._state.is_still_owner(None, _clock.now()):
                return
        except StoreInUseError:
            return  # the process that has taken the bridge over sees to them
        for flight in list(self._state.flights):
            if isinstance(flight.batch, Intent) and not flight.doubtful:
                await self._sender.take_back(flight, flight.batch)

    # -- requests without a waiting caller -----------------------------------------------------------------------

    async def drop(self, ids: Iterable[str]) -> None:
        """Remove requests from the queue that no caller waits for any more. Requests in flight stay.

        They are not sent again, though, unless a caller collects them again.
        """
        state = self._state
        ids = tuple(ids)
        for request_id in ids:
            if (flight := state.flights.of(request_id)) is not None:
                flight.wanted.discard(request_id)
        dropped = [request_id for request_id in ids if state.opened().discard(request_id)]
        for request_id in ids:
            state.till.refused.pop(request_id, None)
        await state.ledger.drop(dropped)
        await state.ledger.forget_attempts(dropped)
        state.tell_cancelled(dropped)

    async def cancel(self, ids: Iterable[str], now: datetime, *, why: str = CANCELLED) -> set[str]:
        """End requests as cancelled, and stop each batch of which nothing is left to wait for. Idempotent.

        What is queued is not sent. What is on its way has its outcome at once; what the provider answers all the same
        is put aside. A batch that others still wait for continues. Survives a crash: a batch whose last request was
        cancelled is stopped by the next process.

        Returns:
            The requests that have been cancelled now, those that were queued or on their way: deliver their outcomes.
            None where another process owns the bridge by now, which has them.
        """
        state, queue = self._state, self._state.opened()
        cancelled: dict[str, Outcome] = {}
        flying: dict[Flight, dict[str, Outcome]] = {}
        wanted = tuple(dict.fromkeys(ids))
        if not await state.is_still_owner(None, now):
            return set()
        await self.finish(wanted, now)
        for request_id in wanted:
            if request_id in queue:
                cancelled[request_id] = Cancelled(why)
            elif (flight := state.flights.of(request_id)) is not None:
                flying.setdefault(flight, {})[request_id] = Cancelled(why)
        await state.ledger.settle(cancelled)
        for request_id in cancelled:
            queue.discard(request_id)
        state.tell_settled(None, cancelled)
        for flight, outcomes in flying.items():
            told = len(state.settled)
            await self._settler.leaver.give_up(flight, outcomes, now)
            del state.settled[told:]  # they are returned, and perhaps forgotten by the next tick
            cancelled |= outcomes
        state.tell_cancelled(cancelled)
        return set(cancelled)

    # -- outcomes out --------------------------------------------------------------------------------------------

    async def outcomes(self, ids: Sequence[str]) -> dict[str, Outcome]:
        """Read the outcomes that are known."""
        refused = self._state.till.refused
        known = await self._state.ledger.outcomes(ids)
        return known | {each: refused[each] for each in ids if each in refused} if refused else known

    async def forget(self, ids: Sequence[str]) -> None:
        """Forget settled requests whose thread has ended: no caller will ask for their outcomes again.

        Those whose batch has not ended are kept until it has: a process after this one tells by them what is missing.
        """
        state = self._state
        for request_id in ids if state.till.refused else ():
            state.till.refused.pop(request_id, None)
        early: dict[str, Flight] = {}
        if state.flights.has_early:
            early = {request_id: flight for request_id in ids if (flight := state.flights.early_of(request_id))}
        for request_id, flight in early.items():
            flight.forgotten.append(request_id)
        await self._settler.leaver.forget(ids)
        await state.ledger.forget([request_id for request_id in ids if request_id not in early] if early else ids)

    async def erase_shared(self, tenant: str) -> None:
        """Delete the shared answers of a tenant. Raises what the cache raises."""
        if self._state.deduplication is not None:
            await self._state.deduplication.erase(tenant)

    def forget_who(self, threads: Container[str], tenants: Container[str]) -> None:
        """Take the names of threads and tenants out of the accounts of batches in flight; the amounts stay."""
        for flight in self._state.flights:
            if flight.account is not None:
                flight.account.forget(threads, tenants)

    # -- what its host sets ----------------------------------------------------------------------------------------

    @property
    def on_news(self) -> Callable[[], None] | None:
        """Called, by its host's wish, when a batch has news before the time that the last tick named."""
        return self._state.on_news

    @on_news.setter
    def on_news(self, call: Callable[[], None] | None) -> None:
        self._state.on_news = call

    @property
    def on_event(self) -> Callable[[events.Event], None] | None:
        """Called, by its host's wish, with what happens, once it is durable. It must not raise."""
        return self._state.on_event

    @on_event.setter
    def on_event(self, call: Callable[[events.Event], None] | None) -> None:
        self._state.on_event = call

    @property
    def tells_cost(self) -> bool:
        """Whether the events of ended batches contain their costs, as its host chose."""
        return self._state.tells_cost

    @tells_cost.setter
    def tells_cost(self, wanted: bool) -> None:
        self._state.tells_cost = wanted

    @property
    def before_submit(self) -> Callable[[], Awaitable[None]] | None:
        """Called, by its host's wish, right before a batch is created; `ProviderUnavailable` from it puts that off."""
        return self._state.before_submit

    @before_submit.setter
    def before_submit(self, call: Callable[[], Awaitable[None]] | None) -> None:
        self._state.before_submit = call

    @property
    def standstill(self) -> Standstill:
        """Whether any bridge of the host gets on; several engines may share one."""
        return self._state.standstill

    @standstill.setter
    def standstill(self, shared: Standstill) -> None:
        self._state.standstill = shared

    @property
    def purse(self) -> Purse:
        """What may be spent; several engines may share one, from before they are opened."""
        return self._state.till.purse

    @purse.setter
    def purse(self, shared: Purse) -> None:
        self._state.till.purse = shared
        shared.on_change.append(self._tell_money)

    def _tell_money(self) -> None:
        """Look again at what waits for money, now that some has come back."""
        if self._state.till.is_waiting and self.on_news is not None:
            self.on_news()

    @property
    def keeps_askers(self) -> bool:
        """Whether `lines_of` answers, by its host's wish, from before it is opened."""
        return self._state.till.askers is not None

    @keeps_askers.setter
    def keeps_askers(self, wanted: bool) -> None:
        self._state.till.askers = Askers() if wanted else None

    def forget_asker(self, asker: str) -> None:
        """Forget what `lines_of` answers for a thread or a request."""
        self._state.till.forget_asker(asker)

    @property
    def last_error(self) -> str:
        """What failed last, for a person to read; empty if nothing has."""
        return self._state.last_error

    @last_error.setter
    def last_error(self, error: str) -> None:
        self._state.last_error = error

    @property
    def paused(self) -> bool:
        """Whether nothing is sent; what is on its way is collected. The host wakes it after a change."""
        return self._state.paused

    @paused.setter
    def paused(self, paused: bool) -> None:
        self._state.paused = paused
