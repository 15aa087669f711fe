"""The engine, as its host sees it."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from batch_bridge import events
from batch_bridge._core.models import (
    JSON,
    Cancelled,
    Closed,
    Errored,
    Expired,
    Intent,
    Outcome,
    Request,
    SubmittedBatch,
)
from batch_bridge._core.pending import PendingBatch
from batch_bridge._core.policy.batching import Waiting
from batch_bridge._core.policy.flush_policy import FlushPolicy
from batch_bridge._core.policy.ladder import Leave, Stay
from batch_bridge._core.policy.resubmission import final
from batch_bridge._core.policy.vendor_terms import VendorTerms
from batch_bridge._core.provider import Provider
from batch_bridge._core.wording import log_text as _logged
from batch_bridge._core.wording.log import about, logger_of
from batch_bridge._core.wording.words import span
from batch_bridge._engine import idle as _rest
from batch_bridge._engine.flights.flight import Flight, first_pause
from batch_bridge._engine.flights.notices import Notices, told
from batch_bridge._engine.intake import (
    CANCELLED,
    asked_at,
    judge,
    judge_all,
    requeued,
    stand_by,
    within_budget,
    within_limits,
)
from batch_bridge._engine.sending import priming
from batch_bridge._engine.sending import scheduling as _schedule
from batch_bridge._engine.sending.joining import join
from batch_bridge._engine.sending.submission import LOST, Sender
from batch_bridge._engine.settings import USUAL, EngineSettings
from batch_bridge._engine.settlement.heard import Heard
from batch_bridge._engine.settlement.leaving import decide, next_look
from batch_bridge._engine.settlement.settling import Settler, is_overdue
from batch_bridge._engine.standstill import Standstill
from batch_bridge._engine.state import State
from batch_bridge._engine.waiting.quota import QuotaController
from batch_bridge._ledger.ledger import Ledger
from batch_bridge._money import Account, AccountLine, Askers, Prices, Purse
from batch_bridge.errors import BadPollResultError

logger = logger_of(__name__)


@dataclass(frozen=True, slots=True)
class Tick:
    """What a tick did. `settled` are requests that have an outcome now; `wake_at` is when the next tick is due."""

    settled: tuple[str, ...]
    wake_at: datetime | None


class Engine:
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
        self._state = State(name, provider, policy, ledger, settings)
        if purse is not None:
            self.purse = purse
        if quota_controller is not None:
            self._state.quota_controller = quota_controller
        if notices is not None:
            self._state.notices = notices
        self._ticked_at: datetime | None = None
        self._heard = Heard(self._state)
        self._settler = Settler(self._state)
        self._sender = Sender(self._state, self._settler)

    # -- the life of a process -----------------------------------------------------------------------------------

    async def open(self, now: datetime) -> None:
        """Read from the ledger what a process before this one left in flight. Idempotent.

        Requests that were only queued are not sent until a caller collects them again, unless the ledger keeps the
        queue: the parked interrupt is the truth, and an abandoned thread must not cost money.
        """
        state = self._state
        remembered = {flight.batch.key: flight for flight in state.flights}
        state.clear(now)
        await state.ledger.read_attempts()
        summed_up = {each.key: each for each in await state.ledger.closed_batches()}
        left: list[tuple[SubmittedBatch, Closed]] = []
        for entry in await state.ledger.open_batches(tidy=True, closed=summed_up):
            batch, doubtful = entry if isinstance(entry, tuple) else (entry, False)
            closed = summed_up.get(batch.key)
            if isinstance(batch, SubmittedBatch) and closed is not None and closed.submitted_at == batch.submitted_at:
                left.append((batch, closed))
                continue
            flight = await self._inherited(batch, remembered.get(batch.key), now, doubtful=doubtful)
            state.flights.add(flight)
        unconfirmed = {flight.batch.key for flight in state.flights if isinstance(flight.batch, Intent)}
        state.handles = {key: handle for key, handle in state.handles.items() if key in unconfirmed}
        accounts = await state.till.open(flight.batch for flight in state.flights)
        for flight in state.flights:
            account = accounts.get(flight.batch.key)
            flight.account = state.till.adopt(flight.batch, account, state.who(flight.batch))
        ended = [each for each in summed_up.values() if state.flights.get(each.key) is None]  # else settled once more
        state.history.load(ended)
        for flight in state.flights:
            flight.late_at = None if flight.is_late else next_look(state, flight.batch, now)
        self._count_creations(ended, now)
        await self._queue_again(now)
        priming.hold_again(state, now)
        await state.open_traces(ended)
        for batch, closed in left:
            await self._settler.finish_closed(batch, closed)

    async def _inherited(
        self, batch: Intent | SubmittedBatch, old: Flight | None, now: datetime, *, doubtful: bool
    ) -> Flight:
        """Return a batch that a process before this one has begun, or this one before it lost its ledger."""
        state = self._state
        flight = Flight(batch, now, first_pause(state.interval), doubtful=doubtful, inherited=True)
        if not isinstance(batch, SubmittedBatch):
            known = await state.ledger.settled(batch.elsewhere) if batch.elsewhere else ()
            flight.answered_elsewhere.update(known)
            return flight
        if old is not None and isinstance(old.batch, SubmittedBatch):
            flight.due, flight.pause, flight.failures = old.due, old.pause, old.failures
            flight.problem, flight.logged, flight.bad, flight.done = old.problem, old.logged, old.bad, old.done
            flight.total, flight.told_at = old.total, old.told_at
            flight.since, flight.bad_since, flight.blind = old.since, old.bad_since, old.blind
        elif state.ledger.keeps_queue:
            flight.blind = batch.blind  # processes are short-lived here: looks of earlier ones have failed, too
        flight.is_late = batch.leaves_at is not None
        flight.leaves_at = None if state.ladder is None else batch.leaves_at  # no lane is left to go to
        flight.stopping = batch.left != "" or flight.is_late
        if batch.left == "overdue" and not batch.moved:  # an earlier version did not write which they are
            left = [each for each in batch.members if any(at.batch == batch.key for at in state.ledger.tries(each))]
            batch = flight.batch = replace(batch, moved=tuple(left))
        if noted := (*batch.kept, *batch.gave, *batch.elsewhere):  # the process before may have died over them
            known = await state.ledger.settled(noted)
            known |= {each for each in noted if not state.ledger.tries(each)}  # it was delivered, and is forgotten
            kept, gave, elsewhere = (
                tuple(each for each in ids if each in known) for ids in (batch.kept, batch.gave, batch.elsewhere)
            )
            flight.batch = replace(batch, kept=kept, gave=gave, elsewhere=elsewhere)
            flight.answered_elsewhere.update(elsewhere)
        return flight

    async def _queue_again(self, now: datetime) -> None:
        """Queue what an earlier process left in its queue, or end it; what is in doubt waits with its batch."""
        state, sent = self._state, list[str]()
        waiting, refused = await self._requeued(now)
        back: list[Waiting] = []
        for each in waiting:
            flight = state.flights.of(each.id)
            if flight is None:
                back.append(each)
            elif isinstance(flight.batch, Intent):
                flight.waiting[each.id] = each
            else:
                sent.append(each.id)
        state.opened().add_all(back)
        ended: dict[str, Outcome] = {}
        for request_id, why in refused.items():
            flight = state.flights.of(request_id)
            if flight is None:
                ended[request_id] = final(why, state.ledger.tries(request_id), "")
            elif isinstance(flight.batch, Intent):
                flight.refused[request_id] = why
            else:
                sent.append(request_id)
        await state.ledger.unqueued(sent)
        await self._sender.settle_queued(ended)

    async def _requeued(self, now: datetime) -> tuple[list[Waiting], dict[str, Errored | Expired]]:
        """Read the queue that an earlier process left; a request whose lane is gone is queued for another one.

        Returns:
            The requests that wait, and what those end with that no other lane takes.
        """
        state = self._state
        timed = {each.id: (each, requeued(state, each, now)) for each in await state.ledger.queue()}
        gone = [request_id for request_id, (_, fresh) in timed.items() if fresh is None]
        ended: dict[str, Errored | Expired] = dict.fromkeys(gone, LOST)
        for request in await state.ledger.requests(gone):
            old, _ = timed[request.id]
            judged = judge(state, request, old.queued_at, now)
            if isinstance(judged, Waiting):
                del ended[request.id]
                timed[request.id] = old, judged._replace(key=old.key)
            else:
                ended[request.id] = judged
        return [fresh or old for each, (old, fresh) in timed.items() if each not in ended], ended

    def _count_creations(self, closed: Iterable[Closed], now: datetime) -> None:
        """Report the batches that were created before this process to the quota controller."""
        state = self._state
        if state.provider.limits.creations_per_hour is None:
            return
        batches = [each.batch for each in state.flights if isinstance(each.batch, SubmittedBatch)]
        created = [each.submitted_at for each in batches if not each.terms.lane]
        created += [each.submitted_at for each in closed if each.handle is not None]
        for at in sorted(each for each in created if each <= now):
            state.quota_controller.created(at)

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
        state = self._state
        new = await self._sort_out(requests, now)
        settled = await state.ledger.settled(tuple(new)) if new else set()
        settled -= await state.till.asked_again(settled)
        since = asked_at or {}
        unknown = [each for each in new.values() if each.id not in settled] if settled else list(new.values())
        found: Sequence[Waiting | Errored | Expired]
        if not since and not state.ledger.has_tries:
            found = judge_all(state, unknown, now)
        else:
            found = [self._judge(each, since.get(each.thread, now), now) for each in unknown]
        accepted = [each for each in found if type(each) is Waiting]
        refused: dict[str, Outcome] = {}
        if len(accepted) < len(found):
            pairs = zip(unknown, found, strict=True)
            refused = {request.id: why for request, why in pairs if not isinstance(why, Waiting)}
        recalled = await state.deduplication.recall(accepted, now) if state.deduplication else {}
        if recalled:
            accepted = [waiting for waiting in accepted if waiting.id not in recalled]
        for each in new if state.till.refused else ():
            state.till.refused.pop(each, None)
        accepted, over = within_limits(state, accepted)
        accepted, looping = within_budget(state, accepted, new)
        is_all = len(accepted) == len(new)
        await state.ledger.enqueue(new.values() if is_all else [new[waiting.id] for waiting in accepted])
        joined = await join(state, self._settler, accepted, new)
        entering = [each for each in accepted if each.id not in joined] if joined else accepted
        await state.ledger.queued(entering)
        if entering:
            state.opened().add_all(entering)
        if state.on_event is not None:
            state.tell_queued([each.id for each in accepted])
        if judged_now := refused | recalled | over:
            await state.till.hit((new[each] for each in recalled), recalled, state.provider, now)
            await state.ledger.settle(judged_now)
            state.tell_settled(None, judged_now)
        await state.refuse(looping)
        state.tell_moves()
        return settled | judged_now.keys() | looping.keys()

    async def _sort_out(self, requests: Iterable[Request], now: datetime) -> dict[str, Request]:
        """Return the requests that are neither queued nor on their way; note that a caller waits for the others."""
        state, queue = self._state, self._state.opened()
        new: dict[str, Request] = {}
        in_doubt: list[Request] = []
        adopted: list[Request] = []
        asked = list(requests)
        by_id = {each.id: each for each in asked}
        if not queue & by_id.keys() and not state.flights & by_id.keys():
            return by_id
        await self.finish((each.id for each in asked), now)
        for request in asked:
            flight = state.flights.of(request.id)
            if flight is None:
                if request.id not in queue:
                    new[request.id] = request
            elif stand_by(state, flight, request, now):
                in_doubt.append(request)
            elif isinstance(flight.batch, SubmittedBatch) and request.id not in flight.wanted:
                flight.wanted.add(request.id)
                adopted.append(request)
        await state.ledger.enqueue(in_doubt)
        await state.ledger.hold(adopted)
        return new

    async def finish(self, ids: Iterable[str], now: datetime) -> None:
        """Find out what a process before this one has settled of the batches that some requests are in.

        A batch of which it has settled everything is closed.
        """
        flights = self._state.flights
        for flight in {each.batch.key: each for each in map(flights.of, ids) if each is not None}.values():
            await self._settler.finish(flight, now)

    def _judge(self, request: Request, since: datetime, now: datetime) -> Waiting | Errored | Expired:
        return judge(self._state, request, asked_at(self._state, request, since), now)

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
            self._tell_long(now)
            self._tell_stuck(now)

    def _tell_long(self, now: datetime) -> None:
        state = self._state
        if long := state.notices.long(state.flights, now):
            handles = [state.shown(batch, batch.handle) for _, batch in long]
            logger.warning(
                "%s: %s. If this is longer than usual, check it at the provider",
                state.name,
                told(long, handles),
                extra=about(bridge=state.name),
            )

    def _tell_stuck(self, now: datetime) -> None:
        """Report batches that do not get on, and results that are about to be deleted: each once."""
        state = self._state
        for event in state.watch.look(state.flights, state.history, now, self.shown):
            if isinstance(event, events.Stalled):
                logger.warning(
                    "%s: batch %s: %s",
                    state.name,
                    event.batch,
                    event.advice,
                    extra=about(bridge=state.name, batch=event.batch),
                )
            else:
                logger.warning(
                    "%s: the results of batch %s (%r), %d requests, cannot be collected, and its provider deletes them "
                    "in %s: see what `batch-bridge status` says of it",
                    state.name,
                    event.batch,
                    _logged.handle(event.handle),
                    event.requests,
                    span(event.seconds_left),
                    extra=about(bridge=state.name, batch=event.batch),
                )
            if state.on_event is not None:
                state.on_event(event)

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
        if state.paused:
            return
        if late := queue.late(now):
            await self._sender.move(late, now)
        for lane in state.ladder.others if state.ladder is not None else ():
            if waiting := _schedule.in_lane(state, lane, now):
                queue.flushed(now, waiting)
                await self._sender.flush_in(lane, waiting, now)
        while not _schedule.is_held(state, now):
            flush = _schedule.due(state, now)
            state.drain, state.owed = flush.drain, flush.owed
            if not flush.due:
                break
            queue.flushed(now, flush.due)
            await self._sender.flush(flush.due, now)
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
        await self._settler.release()

    async def _advance(self, flight: Flight, now: datetime) -> None:
        if flight.is_held:
            return  # it is about to be closed
        flight.is_held = True
        try:
            await self._look_after(flight, now)
        finally:
            flight.is_held = False

    async def _look_after(self, flight: Flight, now: datetime) -> None:
        has_looked = await self._leave(flight, now)
        if self._state.flights.get(flight.batch.key) is not flight:
            return  # it had ended
        match flight.batch:
            case SubmittedBatch() as batch:
                if (not flight.stopping or await self._settler.stop(flight, batch, now)) and not has_looked:
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
        """
        state, queue = self._state, self._state.opened()
        cancelled: dict[str, Outcome] = {}
        flying: dict[Flight, dict[str, Outcome]] = {}
        wanted = tuple(dict.fromkeys(ids))
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
            await self._settler.give_up(flight, outcomes, now)
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
        await self._settler.forget(ids)
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

    # -- what may be asked of it ---------------------------------------------------------------------------------

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
    def prices(self) -> Prices:
        """What tokens cost."""
        return self._state.prices

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

    def lines_of(self, asker: str) -> list[AccountLine]:
        """Return what was used for a thread, or for a request that none waits for, as far as `keeps_askers` goes."""
        return self._state.till.lines_of(asker)

    def forget_asker(self, asker: str) -> None:
        """Forget what `lines_of` answers for a thread or a request."""
        self._state.till.forget_asker(asker)

    async def closed_batches(self) -> list[Closed]:
        """Read the summaries of settled batches, of all processes."""
        return await self._state.ledger.closed_batches()

    async def closed_among(self, keys: Sequence[str]) -> list[Closed]:
        """Read the summaries of settled batches that are known by these keys."""
        return await self._state.ledger.closed_among(keys)

    async def lines_in(self, key: str) -> list[AccountLine]:
        """Read what the requests of a settled batch have used."""
        return await self._state.till.lines_in(key)

    async def accounts(self) -> list[Account]:
        """Read what all settled requests of this bridge have used, of all processes."""
        return (await self._state.till.settled(self.batches))()

    async def accounts_unread(self) -> Callable[[], list[Account]]:
        """Read what `accounts` does, and return what parses it, at any time: that takes long, and few ask for it."""
        return await self._state.till.settled(self.batches)

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

    @property
    def quota_controller(self) -> QuotaController:
        """What it has learned of the provider's quotas."""
        return self._state.quota_controller

    @property
    def bad_results(self) -> dict[str, BadPollResultError]:
        """What says that `poll` has returned what makes no sense, by our key of the batch, which is in flight."""
        return {flight.batch.key: flight.bad for flight in self._state.flights if flight.bad is not None}

    @property
    def problems(self) -> tuple[str, ...]:
        """What is wrong with batches that could not be looked at the last time, or read, for a person to read."""
        aside = (
            f"batch {key} ({handle!r}) is set aside: the ledger has lost the list of its requests"
            for key, handle in self._state.ledger.aside.items()
        )
        return (
            *aside,
            *(
                f"batch {flight.batch.key} cannot be polled, {flight.failures} times in a row: {flight.problem}"
                for flight in self._state.flights
                if flight.problem
            ),
        )

    @property
    def flights(self) -> tuple[Flight, ...]:
        """The batches that have been begun and not closed, for display. Do not change them."""
        return tuple(self._state.flights)

    @property
    def history(self) -> tuple[Closed, ...]:
        """The newest batches that have ended, of each group."""
        return self._state.history.batches

    @property
    def ended_batches(self) -> int:
        """How many batches have ended, as far as they are remembered."""
        return self._state.history.count

    @property
    def sent_batches(self) -> int:
        """How many batches the provider has confirmed that have not ended."""
        return sum(isinstance(flight.batch, SubmittedBatch) for flight in self._state.flights)

    @property
    def terms(self) -> VendorTerms:
        """How long its provider works on a batch, and keeps its results."""
        return self._state.terms

    @property
    def oldest(self) -> datetime | None:
        """Since when the first of the requests that wait to be sent does, aware UTC."""
        return self._state.opened().oldest

    @property
    def is_open(self) -> bool:
        """Whether it has been opened; nothing else may be asked of it before."""
        return self._state.queue is not None

    def knows(self, request_id: str) -> bool:
        """Return whether a request waits to be sent or is on its way."""
        return request_id in self._state.opened() or self._state.flights.of(request_id) is not None

    def is_sent(self, request_id: str) -> bool:
        """Whether a request is on its way in a batch that the provider has confirmed."""
        flight = self._state.flights.of(request_id)
        return flight is not None and isinstance(flight.batch, SubmittedBatch)

    @property
    def batches(self) -> tuple[str, ...]:
        """Our keys of the batches that have been begun and not closed."""
        return tuple(flight.batch.key for flight in self._state.flights)

    def in_batch(self, key: str) -> tuple[str, ...]:
        """Return the requests of a batch that have no outcome yet, by our key of it."""
        flight = self._state.flights.get(key)
        return () if flight is None else tuple(self._state.flights.unsettled(flight))

    def batches_of(self, ids: Iterable[str]) -> tuple[PendingBatch, ...]:
        """Return the batches that requests are in which have no outcome yet."""
        return _rest.batches_of(self._state, ids)

    @property
    def progress(self) -> tuple[events.BatchProgress, ...]:
        """How far the batches at the provider are, by its own count."""
        return _rest.progress(self._state)

    @property
    def rests(self) -> bool:
        """Whether everything is sent and was looked at, so that only the provider can move anything."""
        return self._ticked_at is not None and _rest.rests(self._state, self._ticked_at)

    def sent(self, ids: Iterable[str] | None = None) -> dict[str, JSON]:
        """Return the batches at the provider that are waited for, handles by our keys: all, or those of requests."""
        flights = self._state.flights
        of = list(flights) if ids is None else [each for each in map(flights.of, ids) if each is not None]
        return {
            each.batch.key: self.shown(each.batch)
            for each in of
            if isinstance(each.batch, SubmittedBatch) and not each.batch.left and flights.open_of(each)
        }

    def shown(self, batch: SubmittedBatch) -> JSON:
        """Return a batch's handle for a person to read."""
        return self._state.shown(batch, batch.handle)

    @property
    def queued(self) -> int:
        """How many requests wait to be sent."""
        return len(self._state.opened())

    @property
    def late_at(self) -> datetime | None:
        """When the first of what waits to be sent leaves the lane that it waits for; `None` if nothing does."""
        return self._state.opened().late_at

    @property
    def newest(self) -> datetime | None:
        """When the last request that waits to be sent was queued; `None` if none waits."""
        return self._state.opened().newest

    @property
    def waiting(self) -> Iterable[str]:
        """Ids of the requests that wait to be sent, oldest first."""
        return iter(self._state.opened())

    @property
    def open_requests(self) -> list[str]:
        """Ids of the requests that wait to be sent or are on their way."""
        flights = self._state.flights
        return [*self._state.opened(), *(each for flight in flights for each in flights.unsettled(flight))]

    @property
    def in_flight(self) -> int:
        """How many requests are on their way."""
        return self._state.flights.requests

    @property
    def unsent(self) -> int:
        """How many batches have been begun, and not confirmed by the provider."""
        return sum(isinstance(flight.batch, Intent) for flight in self._state.flights)

    @property
    def expects_news(self) -> bool:
        """Whether a batch in flight will call `on_news`: it runs in this process, and not at a provider."""
        return any(flight.rings for flight in self._state.flights)

    @property
    def looks(self) -> "list[asyncio.Future[None]]":
        """Looks at batches that run in the background of this loop; a host that ends waits for them."""
        return [flight.look for flight in self._state.flights if flight.look is not None and not flight.look.done()]

    @property
    def batches_in_flight(self) -> int:
        """How many batches have been begun and not closed."""
        return len(self._state.flights)
