"""From the queue to the provider: a batch is begun, prepared and submitted, or it is known that it was not."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import TypeVar

from batch_bridge import events
from batch_bridge._core.models import JSON, Errored, Intent, Outcome, Request, SubmittedBatch, Terms
from batch_bridge._core.policy.batching import Waiting, batch_key, lines, split
from batch_bridge._core.policy.lanes import lane_in
from batch_bridge._core.policy.resubmission import final
from batch_bridge._core.wording import log_text as _logged
from batch_bridge._core.wording.log import about, logger_of
from batch_bridge._engine.deduplication import Deduplication
from batch_bridge._engine.flights.flight import Flight, first_pause
from batch_bridge._engine.intake import judge
from batch_bridge._engine.sending import priming
from batch_bridge._engine.sending.joining import join
from batch_bridge._engine.sending.scheduling import batch_limits, is_too_late
from batch_bridge._engine.settlement.early_outcomes import catch_up
from batch_bridge._engine.settlement.leaving import next_look
from batch_bridge._engine.settlement.settling import Settler
from batch_bridge._engine.spending import Admitted
from batch_bridge._engine.state import State, said
from batch_bridge._engine.waiting.ladder import LadderLane, lane_of_group
from batch_bridge.errors import ProviderUnavailable, SubmissionRefused, SubmissionUnknown

logger = logger_of(__name__)

T = TypeVar("T")

_PATIENCE = 8
"""Refusals in a row after which a batch is taken for too large, and not merely for too early."""
LOST = Errored("the ledger has lost this request's row; was its store edited?", "ledger_row_lost", retryable=True)
"""What a request ends with whose row is gone."""


class Sender:
    """Sends batches."""

    def __init__(self, state: State, settler: Settler) -> None:
        self._state = state
        self._settler = settler

    # -- a flush -------------------------------------------------------------------------------------------------

    async def flush(self, waiting: Sequence[Waiting], now: datetime) -> None:
        """Send requests that are queued; each stays so until its own batch is begun."""
        state, deduplication = self._state, self._state.deduplication
        if deduplication is not None:
            waiting = await self._join(await self._recall(deduplication, waiting, now))
        shared = deduplication is not None and deduplication.dedupe
        plan = priming.divide(state, waiting, now, shared=shared)
        limits = batch_limits(state)
        batches = [
            *((each, True) for each in split(plan.first, limits, shared=shared)),
            *((each, False) for each in split(plan.rest, limits, shared=shared)),
        ]
        await state.each(batches, lambda each: self._begin(each[0], now, primes=each[1]))

    async def flush_in(self, lane: LadderLane, waiting: Sequence[Waiting], now: datetime) -> None:
        """Send requests that are queued for another lane than the home."""
        state, deduplication = self._state, self._state.deduplication_in(lane)
        if deduplication is not None:
            waiting = await self._recall(deduplication, waiting, now)
        limits, shared = batch_limits(state, lane), deduplication is not None and deduplication.dedupe
        await state.each(split(waiting, limits, shared=shared), lambda each: self._begin(each, now, lane))

    async def move(self, waiting: Sequence[Waiting], now: datetime) -> None:
        """Queue requests for another lane that were not sent in time in the one that they wait for."""
        state = self._state
        by_id = {each.id: each for each in waiting}
        ended: dict[str, Outcome] = dict.fromkeys(by_id, LOST)
        moved: list[Waiting] = []
        for request in await state.ledger.requests(tuple(by_id)):
            old = by_id[request.id]
            name, _ = lane_of_group(old.group)
            judged = judge(state, request, old.queued_at, now, without={state.lane(name).name})
            if isinstance(judged, Waiting):
                del ended[request.id]
                moved.append(judged._replace(key=old.key))
            else:
                ended[request.id] = final(judged, state.ledger.attempts(request.id), "")
        await self.settle_queued(ended)
        still = [each for each in moved if each.id in state.opened()]
        await state.ledger.queued(still)
        for each in still:
            if each.id in state.opened():
                state.opened().move(each)
                state.note_moves(lane_of_group(by_id[each.id].group)[0], [each])
        state.tell_moves()

    async def _recall(
        self, deduplication: Deduplication, waiting: Sequence[Waiting], now: datetime
    ) -> Sequence[Waiting]:
        """Settle what has become known while it was queued, and return the rest."""
        recalled = await deduplication.recall(waiting, now, again=True)
        if recalled:
            asked = await self._state.ledger.requests(tuple(recalled))
            await self._state.till.hit(asked, recalled, self._state.provider, now)
        await self.settle_queued(recalled)
        return [each for each in waiting if each.id not in recalled] if recalled else waiting

    async def _join(self, waiting: Sequence[Waiting]) -> Sequence[Waiting]:
        """Let requests share lines that have been sent since they were queued, and return the rest."""
        state = self._state
        if state.deduplication is None or not state.deduplication.dedupe or not len(state.flights):
            return waiting
        asked = {each.id: each for each in await state.ledger.requests([each.id for each in waiting if each.key])}
        joined = await join(state, waiting, asked)
        await state.ledger.unqueued(joined)
        for request_id in joined:
            state.opened().discard(request_id)
        return [each for each in waiting if each.id not in joined]

    async def settle_queued(self, outcomes: dict[str, Outcome]) -> None:
        """Settle requests that were not sent."""
        if not outcomes:
            return
        state = self._state
        await state.ledger.settle(outcomes)
        for request_id in outcomes:
            state.opened().discard(request_id)
        state.settled += outcomes
        state.tell_settled(None, outcomes)

    # -- one batch -----------------------------------------------------------------------------------------------

    async def _begin(
        self, planned: tuple[Waiting, ...], now: datetime, lane: LadderLane | None = None, *, primes: bool = False
    ) -> None:
        # Up to here they were in the queue: its turn may come late, and what was given up meanwhile is not sent.
        state, queue = self._state, self._state.opened()
        if not await state.is_still_owner(None, now):
            return  # what it begins would take the place of what another process has begun
        deduplication = state.deduplication_in(lane)
        asked = {each.id: each for each in await state.ledger.requests([each.id for each in planned])}
        left = queue.still_there(planned)
        shares = deduplication is not None and deduplication.dedupe
        gives_up = partial(is_too_late, state, lane, now=now)
        admitted = state.till.admit(left, asked, state.answers_in(lane), now, gives_up=gives_up, shares=shares)
        requests = queue.discard_all(admitted.waiting)
        for request_id in admitted.refused:
            queue.discard(request_id)  # at once: a request that is about to be refused cannot be cancelled
        if requests:
            prefixes = {each.prefix.key for each in requests if each.prefix is not None} if primes else ()
            await self._begin_with(requests, asked, admitted, now, lane, prefixes=tuple(sorted(prefixes)))
        await state.refuse(admitted.refused)
        state.settled += admitted.refused

    async def _begin_with(
        self,
        requests: tuple[Waiting, ...],
        asked: Mapping[str, Request],
        admitted: Admitted,
        now: datetime,
        lane: LadderLane | None,
        *,
        prefixes: tuple[str, ...],
    ) -> None:
        state = self._state
        ids = tuple([request.id for request in requests])
        deduplication = state.deduplication_in(lane)
        keys, shared = (
            (tuple([each.key for each in requests]), deduplication.dedupe) if deduplication is not None else ((), False)
        )
        attempts, is_new = state.ledger.attempts, not state.ledger.has_attempts
        key = batch_key(state.name, requests, None if is_new else lambda each: len(attempts(each)))
        asked_at, size = min([each.queued_at for each in requests]), sum([each.bytes for each in requests])
        name, group = lane_of_group(requests[0].group)
        own = requests[0].deadline if state.ladder is None else state.ladder.deadline_of(requests)
        terms = Terms(asked_at, size, name, own, prefixes, requests[0].barred)  # the others are of its kind
        intent = Intent(key, ids, group, now, None, keys, shared, terms)
        waiting = {each.id: each for each in requests}
        flight = Flight(intent, now, first_pause(state.interval), next_look(state, intent, now), waiting=waiting)
        again = [] if is_new else [each for each in ids if attempts(each)]
        flight.account = state.till.begin(intent, asked, admitted, state.who(intent), again=again)
        state.flights.add(flight)
        await state.begin_trace(key, requests, asked, state.who(intent))
        await state.ledger.begin(intent, flight.account.to_row())
        logger.debug(
            "%s: batch %s begun with %d requests",
            state.name,
            intent.key,
            len(ids),
            extra=about(bridge=state.name, batch=intent.key),
        )
        await self.submit(flight, intent, now, asked)

    async def submit(
        self, flight: Flight, intent: Intent, now: datetime, asked: Mapping[str, Request] | None = None
    ) -> None:
        """Send a batch that the provider is known not to have; `asked` are its requests, where they are at hand."""
        state = self._state
        if asked is None:
            requests = await state.ledger.requests(intent.requests)
        else:
            requests = [asked[each] for each in intent.requests if each in asked]
        if len(requests) < len(intent.requests):
            await self._drop_lost(flight, intent, {request.id for request in requests})
            return
        if intent.shared:
            sent = lines(intent)
            requests = [request for request in requests if request.id in sent]
        provider = state.who(intent)
        if intent.prepared is None:
            prepared = await self._ask(flight, intent, now, lambda: provider.prepare(intent.key, requests))
            if prepared is None or not await state.is_still_owner(flight, now):  # an upload takes long
                return
            intent = replace(intent, prepared=prepared[0])
            await state.ledger.prepared(intent)
            flight.batch = intent
        try:
            await state.check_owner()
        except ProviderUnavailable as error:
            state.unavailable(flight, error, now)  # and nothing is written: the row may be another process's
            return
        flight.doubtful = True
        handle = await self._ask(flight, intent, now, lambda: provider.submit(intent.key, requests, intent.prepared))
        if handle is not None:
            await self.confirm(flight, intent, handle[0], now)

    async def _ask(
        self, flight: Flight, intent: Intent, now: datetime, call: Callable[[], Awaitable[T]]
    ) -> tuple[T] | None:
        """Call the provider for a batch that is to be sent; `None` if it raised, and that has been seen to."""
        state = self._state
        try:
            return (await call(),)
        except ProviderUnavailable as error:
            await self._put_off(flight, intent, error, now)
        except SubmissionUnknown as error:
            state.unavailable(flight, error, now)
        except SubmissionRefused as error:
            refusal = Errored(str(error), code=error.code, status_code=error.status_code)
            await self._settler.fail(flight, refusal, now, error)
        except Exception as error:  # noqa: BLE001  # a provider may be the user's code: its bug fails only its batch
            await self._settler.fail(flight, Errored(said(error), code="submit_failed"), now, error, is_bug=True)
        return None

    async def _put_off(self, flight: Flight, intent: Intent, error: ProviderUnavailable, now: datetime) -> None:
        flight.doubtful = False
        flight.refusals = flight.refusals + 1 if error.is_full else 0
        if self._is_too_large(flight, intent):
            await self._make_smaller(flight, intent, error, now)
        else:
            await self._note_unsent(flight, intent)
            self._state.unavailable(flight, error, now)

    async def _note_unsent(self, flight: Flight, intent: Intent) -> None:
        """Write that a batch was not created, where a process after this one could not look that up."""
        state = self._state
        finds = getattr(state.who(intent), "finds", None)
        if intent.prepared is None or finds is None or finds(intent.prepared):
            return
        flight.batch = replace(intent, prepared=None)
        await state.ledger.unprepared(flight.batch)

    def _is_too_large(self, flight: Flight, intent: Intent) -> bool:
        """Return whether the provider will not take a batch, though nothing else of its group is there."""
        state = self._state
        quota_of = state.quota_controller.quota_of
        is_alone = not any(
            isinstance(each.batch, SubmittedBatch) and quota_of(each.batch.group) == quota_of(intent.group)
            for each in state.flights
        )
        return flight.refusals >= _PATIENCE and len(intent.requests) > 1 and is_alone and not intent.terms.lane

    async def _make_smaller(self, flight: Flight, intent: Intent, error: ProviderUnavailable, now: datetime) -> None:
        """Take back a batch that the provider has no room for, and learn from that how much it takes."""
        state = self._state
        told = _logged.said(error)
        logger.warning(
            "%s: batch %s is too large for now (%s); smaller batches follow",
            state.name,
            intent.key,
            told,
            extra=about(bridge=state.name, batch=intent.key),
        )
        limits = state.provider.limits
        state.quota_controller.refused(intent.group, intent.terms.bytes, 0, said=str(error), limits=limits, now=now)
        await self.take_back(flight, intent)

    async def take_back(self, flight: Flight, intent: Intent) -> None:
        """Withdraw a batch that was prepared, and tidy up what its provider holds of it."""
        await self._tidy_up(intent)
        await self.withdraw(flight, intent)
        self._state.drain = True  # what was sent was due

    async def leave(self, flight: Flight, intent: Intent, now: datetime) -> None:
        """Take back a batch that was not created before it had to leave its lane; its requests move on at once."""
        flight.waiting = {each.id: each._replace(late_at=now) for each in flight.waiting.values()}
        await self._tidy_up(intent)
        await self.withdraw(flight, intent)

    async def _tidy_up(self, intent: Intent) -> None:
        state = self._state
        if intent.prepared is None:
            return
        try:
            await state.who(intent).fence(intent.prepared)
        except Exception as left:  # noqa: BLE001  # nothing was created: what is left of its input is tidied up, or not
            logger.warning(
                "%s: could not clean up after batch %s: %s",
                state.name,
                intent.key,
                _logged.said(left),
                extra=about(bridge=state.name, batch=intent.key),
            )

    async def confirm_late(self, flight: Flight, intent: Intent, now: datetime) -> None:
        """Write down a batch that the provider has, which could not be written when it said so."""
        state = self._state
        try:
            await state.check_owner()
        except ProviderUnavailable as error:
            state.unavailable(flight, error, now)
        else:
            await self.confirm(flight, intent, state.handles[intent.key], now)

    async def confirm(self, flight: Flight, intent: Intent, handle: JSON, now: datetime) -> None:
        """Write down that the provider has a batch, and what it calls it."""
        state = self._state
        state.handles[intent.key] = handle
        batch = SubmittedBatch(
            intent.key, intent.requests, intent.group, now, handle, intent.keys, intent.shared, intent.terms
        )
        if not await state.is_still_owner(flight, now):
            return  # another process has found it, and may have settled it
        await catch_up(state, flight)
        batch = replace(batch, elsewhere=tuple(flight.answered_elsewhere))
        if not state.flights.open_of(flight):  # all were cancelled meanwhile
            batch, flight.stopping = replace(batch, left="cancelled"), True
        await state.ledger.confirm(batch)
        state.handles.pop(intent.key, None)
        state.standstill.moved()
        flight.batch, flight.doubtful = batch, False
        flight.seen()
        flight.since = now
        flight.is_late, flight.late_at, flight.leaves_at = False, next_look(state, batch, now), None
        if not intent.terms.lane:
            state.quota_controller.created(now)
        flight.wanted = {*flight.waiting, *flight.refused}
        flight.waiting.clear()
        flight.refused.clear()
        state.held_until, state.hold = None, first_pause(state.interval)
        flight.due, flight.pause = now, first_pause(state.pace.interval(batch.terms.lane))
        shown = state.shown(batch, handle)
        logger.info(
            "%s: batch %s with %d requests is submitted as %r",
            state.name,
            batch.key,
            len(batch.requests),
            _logged.handle(shown),
            extra=about(bridge=state.name, batch=batch.key),
        )
        if state.on_event is not None:
            state.on_event(
                events.Submitted(
                    bridge=state.name, batch=batch.key, handle=shown, requests=batch.requests, lane=lane_in(handle)
                )
            )

    # -- a submission that was not seen to the end ------------------------------------------------------------------

    async def reconcile(self, flight: Flight, intent: Intent, now: datetime) -> None:
        """Find out what became of a submission that we did not see the end of."""
        state, provider = self._state, self._state.who(intent)
        try:
            found = await provider.find(intent.key, intent.prepared)
            if not found:
                await provider.fence(intent.prepared)
                found = await provider.find(intent.key, intent.prepared)
            for double in found[1:]:
                await self._cancel_double(intent, double)
        except ProviderUnavailable as error:
            state.unavailable(flight, error, now)
        except SubmissionUnknown as error:
            unknown = Errored(str(error), code=error.code, retryable=True)
            await self._settler.fail(flight, unknown, now, error)
        except Exception as error:  # noqa: BLE001  # it could not look, and the batch may be there: as in `poll`
            await self._settler.could_not_look(flight, error, now)
        else:
            if not await state.is_still_owner(flight, now):
                return  # what it withdraws may be what another process has begun
            if found:
                logger.warning(
                    "%s: adopted batch %s, whose submission was interrupted",
                    state.name,
                    intent.key,
                    extra=about(bridge=state.name, batch=intent.key),
                )
                await self.confirm(flight, intent, found[0], now)
            else:
                await (self.leave(flight, intent, now) if flight.is_late else self.withdraw(flight, intent))
                self._hold_back(now)

    async def _cancel_double(self, intent: Intent, handle: JSON) -> None:
        """Stop a second batch of one intent; that it cannot be stopped must not cost the answers of the first."""
        try:
            await self._state.who(intent).cancel(handle)
        except ProviderUnavailable:
            raise
        except Exception as error:  # noqa: BLE001  # as in `submit`
            logger.error(  # noqa: TRY400  # the provider's own words say it
                "%s: batch %s was created twice, and %r could not be cancelled (%s); cancel it at the provider, "
                "otherwise it is billed too",
                self._state.name,
                intent.key,
                _logged.handle(handle),
                _logged.said(error),
                extra=about(bridge=self._state.name, batch=intent.key),
            )

    def _hold_back(self, now: datetime) -> None:
        """Send nothing for a while: a submission has failed, and the next one may fail too."""
        state = self._state
        state.drain = True  # what was sent was due
        state.held_until = now + state.hold
        state.hold = min(state.hold * 2, state.interval)

    async def _drop_lost(self, flight: Flight, intent: Intent, held: set[str]) -> None:
        """Settle the requests whose rows are gone from the store, and queue their neighbours again."""
        state = self._state
        gone: dict[str, Outcome] = {
            each: LOST for each in intent.requests if each not in held and each not in flight.settled
        }
        await state.ledger.settle(gone)
        state.settled += gone
        state.tell_settled(intent.key, gone)
        for request_id in gone:
            flight.waiting.pop(request_id, None)
        await self.withdraw(flight, intent)

    async def withdraw(self, flight: Flight, intent: Intent) -> None:
        """Put the requests of a batch back into the queue, because the provider is known not to have it."""
        state = self._state
        # A process before this one may have died while it settled the batch as failed: what it wrote stands.
        settled = await state.ledger.settled(intent.requests) if flight.inherited else set()
        refused: dict[str, Outcome] = {each: why for each, why in flight.refused.items() if each not in settled}
        if refused:
            await state.ledger.settle(refused)
            settled |= refused.keys()
            state.tell_settled(intent.key, refused)
        await state.ledger.drop(settled)
        if flight.inherited and await state.ledger.closed_among([intent.key]):  # it had failed, and was closed
            await state.ledger.finish(intent.key)
        else:
            await state.ledger.withdraw(intent.key)
        await state.drop_trace(intent.key)
        state.flights.remove(flight)
        state.till.release(intent.key)
        state.settled += settled - flight.settled.keys()
        if flight.forgotten:
            await state.ledger.forget(flight.forgotten)
        again = [each for each in flight.waiting.values() if each.id not in settled]
        state.opened().put_back(again)
        state.tell_resubmitted(intent.key, [each.id for each in again])
