"""What an engine takes over from the process before it: its batches in flight, and its queue."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime

from batch_bridge._core.models import (
    Closed,
    Errored,
    Expired,
    Intent,
    Outcome,
    SubmittedBatch,
)
from batch_bridge._core.policy.batching import Waiting
from batch_bridge._core.policy.resubmission import final
from batch_bridge._engine.flights.flight import Flight, first_pause
from batch_bridge._engine.intake import judge, requeued
from batch_bridge._engine.sending import priming
from batch_bridge._engine.sending.submission import LOST, Sender
from batch_bridge._engine.settlement.leaving import next_look
from batch_bridge._engine.settlement.settling import Settler
from batch_bridge._engine.state import State


class Takeover:
    """Reads the ledger when an engine is opened.

    Args:
        state: The engine's.
        settler: Finishes batches that the ledger has closed.
        sender: Ends queued requests that no lane takes any more.
    """

    def __init__(self, state: State, settler: Settler, sender: Sender) -> None:
        self._state = state
        self._settler = settler
        self._sender = sender

    async def open(self, now: datetime) -> None:
        """Read what `Engine.open` describes. Idempotent."""
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
            await self._settler.finisher.finish_closed(batch, closed)

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
            left = [each for each in batch.requests if any(at.batch == batch.key for at in state.ledger.attempts(each))]
            batch = flight.batch = replace(batch, moved=tuple(left))
        if noted := (*batch.kept, *batch.gave, *batch.elsewhere):  # the process before may have died over them
            known = await state.ledger.settled(noted)
            known |= {each for each in noted if not state.ledger.attempts(each)}  # it was delivered, and is forgotten
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
                ended[request_id] = final(why, state.ledger.attempts(request_id), "")
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
