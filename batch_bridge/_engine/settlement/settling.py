"""From submitted to settled: a batch is polled, and each of its requests gets its outcome or is sent again."""

import contextlib
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import Final

from batch_bridge import events
from batch_bridge._core import outcomes as _outcome
from batch_bridge._core.models import (
    Attempt,
    Cancelled,
    Ended,
    Errored,
    Expired,
    InProgress,
    Intent,
    Outcome,
    SubmittedBatch,
    Succeeded,
    Usage,
)
from batch_bridge._core.outcomes import nothing
from batch_bridge._core.policy.batching import Waiting, lines
from batch_bridge._core.policy.ladder import Leave
from batch_bridge._core.policy.resubmission import DEADLINE, Resubmission, final, is_transient
from batch_bridge._core.wording import log_text as _logged
from batch_bridge._core.wording.log import about, logger_of
from batch_bridge._engine.deduplication import spread
from batch_bridge._engine.flights.flight import LONGEST_PAUSE, Flight, first_pause
from batch_bridge._engine.intake import LATE_IN_FLIGHT, judge
from batch_bridge._engine.settlement import polling as _looks
from batch_bridge._engine.settlement.account_notes import note_ended, note_kinds, note_used, with_costs
from batch_bridge._engine.settlement.closer import Closer
from batch_bridge._engine.settlement.finisher import Finisher
from batch_bridge._engine.settlement.outcome_writer import ReadError, chunks, settle, settle_early
from batch_bridge._engine.settlement.rescue import Rescuer
from batch_bridge._engine.state import State
from batch_bridge.errors import BadPollResultError, BatchFailed, ProviderUnavailable

logger = logger_of(__name__)

_LOOKS_ON: Final = timedelta(seconds=30)
"""How long a batch that is left may be looked at before its requests move on."""
_DELIVERED = Succeeded(None)
"""Stands for an answer that is not read any more."""


class Settler:
    """Looks after the batches that the provider has.

    Attributes:
        finisher: Closes what an earlier process has settled.
    """

    def __init__(self, state: State) -> None:
        self._state = state
        self._rescuer = Rescuer(state, self)
        self._closer = Closer(state)
        self.finisher = Finisher(state, self._closer, self.catch_up)

    # -- while a batch runs --------------------------------------------------------------------------------------

    async def poll(self, flight: Flight, batch: SubmittedBatch, now: datetime) -> None:
        """Ask how a batch is, and settle what is known."""
        state, flight.is_looking = self._state, False
        try:
            reply = await self.look(flight, batch, now)
        except BatchFailed as error:
            self._note_pace(flight, now)
            await self.fail(flight, Errored(str(error), code=error.code), now, error)
        except BadPollResultError as error:
            if batch.left:  # no caller waits for it: no run ends because of it
                await self.could_not_look(flight, error, now)
            else:
                _looks.wrong(state, flight, batch, error, now)
        except Exception as error:  # noqa: BLE001  # a provider may be the user's code, and the batch was paid for
            await self.could_not_look(flight, error, now)
        else:
            if isinstance(reply, Ended):
                self._note_pace(flight, now)
                await self._end(flight, reply, now)
            else:
                await self._note(flight, reply, now)

    async def look(self, flight: Flight, batch: SubmittedBatch, now: datetime) -> InProgress | Ended:
        """Ask how a batch is. Raises what its provider raises."""
        state = self._state
        sent = tuple(lines(batch)) if batch.shared else batch.requests
        deduplication = state.deduplication_in(state.lane_of(batch))
        remember = deduplication.remember(now) if deduplication is not None else None
        told = () if flight.inherited else flight.settled  # what was settled may not have been kept
        reply = await spread(await state.who(batch).poll(batch.handle, sent), batch, remember, told, state.ledger.chunk)
        return await with_costs(state, flight, reply)

    def _note_pace(self, flight: Flight, now: datetime) -> None:
        """Note how a batch's end was found; where webhooks come no more, the others are polled as usual again."""
        state = self._state
        if state.pace.ended(flight, now):
            for other in state.flights:
                if other is not flight and other.batch.terms.lane == flight.batch.terms.lane:
                    state.pace.restore(other, now)

    async def _note(self, flight: Flight, reply: InProgress, now: datetime) -> None:
        """Note what a look showed of a batch that has not ended."""
        state = self._state
        if reply.again_in is None:
            flight.wait(now, state.pace.interval(flight.batch.terms.lane))
        else:
            flight.due = now + timedelta(seconds=min(max(reply.again_in, 0.0), LONGEST_PAUSE.total_seconds()))
        if self._goes_on(flight, reply, now):
            return
        if flight.is_put_off and flight.leaves_at is not None:
            flight.leaves_at = now  # what it was waited for has shown that the batch has not ended
        await _looks.good(state, flight)
        if flight.since is None or flight.done != reply.done:
            flight.since = now
        flight.done, flight.total = reply.done, reply.total
        flight.asked = False
        if state.on_event is not None:
            state.on_event(events.Polled(bridge=state.name, batch=flight.batch.key, done=reply.done, total=reply.total))
        if reply.outcomes and not await state.is_still_owner(flight, now):  # the look may have taken long
            return
        if reply.outcomes and is_overdue(flight):
            await self._keep(flight, reply.outcomes, now)
        elif reply.outcomes:
            failing = [each for each, outcome in reply.outcomes if not isinstance(outcome, Succeeded)]
            await self._rescuer.rescue(flight, now, failing)
            await self.settle_early(flight, reply.outcomes)
        flight.rings = reply.news is not None
        if reply.news is not None:
            reply.news.add_done_callback(lambda _: self._ring(flight, now))

    def _goes_on(self, flight: Flight, reply: InProgress, now: datetime) -> bool:
        """Return whether a look is still on its way: no good one yet, and no news of a batch that is answered here."""
        flight.is_looking = reply.looking
        flight.look = reply.news if reply.looking else None
        if flight.look is not None:
            flight.look.add_done_callback(lambda _: self._ring(flight, now))
        return reply.looking

    async def _end(self, flight: Flight, ended: Ended, now: datetime) -> None:
        """Settle a batch that has ended, if this process owns the bridge still: another one reads its files too."""
        try:
            await self._state.check_owner()
        except ProviderUnavailable as error:
            self._state.unavailable(flight, error, now)
        else:
            await self._settle(flight, ended, now)

    async def could_not_look(self, flight: Flight, error: Exception, now: datetime) -> None:
        """Leave a batch in flight that could not be looked at; end it once the patience has run out."""
        errored = await _looks.failed(self._state, flight, error, now)
        if errored is not None:
            note_used(flight, [(each, errored) for each in self._state.flights.unsettled(flight)])
            await self.fail(flight, errored, now, error)
        elif flight.inherited and isinstance(flight.batch, SubmittedBatch) and not flight.is_stopped:
            await self.finisher.close_if_answered(flight, now)

    def _ring(self, flight: Flight, polled_at: datetime) -> None:
        """Have a batch polled in the next tick, and ask for one."""
        flight.due = polled_at
        if self._state.on_news is not None:
            self._state.on_news()

    async def settle_early(
        self, flight: Flight, outcomes: Iterable[tuple[str, Outcome]], *, stands: bool = False
    ) -> None:
        """Settle requests of a batch that has not ended; what may be sent again is judged at its end, or it stands."""
        state, key = self._state, flight.batch.key
        fresh: dict[str, Outcome] = {}
        known = list(outcomes)
        if not stands:  # else it is no answer of this batch
            note_used(flight, known)
        for request_id, outcome in known:
            if state.flights.of(request_id) is flight and (stands or not self._may_come_back(flight, outcome)):
                fresh.setdefault(request_id, final(outcome, state.ledger.attempts(request_id), key))
        kinds = await settle_early(state.ledger, fresh, inherited=flight.inherited)
        flight.settled.update(kinds)
        note_kinds(flight, kinds)
        flight.failed.update(_outcome.failures_of(fresh.values()))
        state.flights.settle_early(flight, fresh)
        state.settled += fresh
        if kinds and state.on_event is not None:
            counts = Counter(kinds.values())
            state.on_event(events.Settled(bridge=state.name, batch=key, requests=tuple(kinds), outcomes=counts))

    async def catch_up(self, flight: Flight) -> None:
        """Look up which requests of a batch an earlier process has settled: no caller waits for those."""
        if not flight.inherited or flight.caught_up:
            return
        flight.caught_up = True
        state = self._state
        known = await state.ledger.settled(tuple(state.flights.unsettled(flight)))
        await state.ledger.drop(known)  # that process may have died before it did
        outcomes = await state.ledger.outcomes([each for each in flight.batch.requests if each in known])
        note_used(flight, outcomes.items())
        kinds = {request_id: _outcome.kind(outcome) for request_id, outcome in outcomes.items()}
        flight.settled.update(kinds)
        flight.failed.update(_outcome.failures_of(outcomes.values()))
        note_kinds(flight, kinds)
        state.flights.settle_early(flight, outcomes)

    async def _tell_read(self, flight: Flight) -> None:
        """Report what was read of a batch whose reading broke off: it need not wait for the rest."""
        state, before = self._state, set(flight.settled)
        await self.catch_up(flight)
        read = tuple(each for each in flight.settled if each not in before)
        state.settled += read
        if read and state.on_event is not None:
            counts = Counter(flight.settled[each] for each in read)
            state.on_event(events.Settled(bridge=state.name, batch=flight.batch.key, requests=read, outcomes=counts))

    def _may_come_back(self, flight: Flight, outcome: Outcome) -> bool:
        batch = flight.batch
        if isinstance(batch, Intent) or batch.left:
            return False
        if flight.is_late and isinstance(outcome, Cancelled):
            return True
        return is_transient(outcome) and (self._attempts(batch) > 1 or flight.is_late)

    def _attempts(self, batch: Intent | SubmittedBatch) -> int:
        """Return how often a request of a batch is sent in all; nothing comes back from the last lane of several."""
        lane = self._state.lane_of(batch)
        return 1 if lane is not None and self._state.is_last(lane) else self._state.attempts

    # -- when it is not waited for any more ------------------------------------------------------------------------

    async def stop(self, flight: Flight, batch: SubmittedBatch, now: datetime) -> bool:
        """Ask the provider to stop a batch; return whether that is done, or impossible."""
        state = self._state
        try:
            await state.who(batch).cancel(batch.handle)
        except ProviderUnavailable as error:
            state.unavailable(flight, error, now)
            return False
        except Exception as error:  # noqa: BLE001  # as in `poll`
            logger.error(  # noqa: TRY400
                "%s: batch %s cannot be cancelled: %s",
                state.name,
                batch.key,
                _logged.said(error),
                extra=about(bridge=state.name, batch=batch.key),
            )
        else:
            logger.info(
                "%s: batch %s is cancelled", state.name, batch.key, extra=about(bridge=state.name, batch=batch.key)
            )
        flight.stopping = False
        flight.pause = first_pause(state.interval)
        return True

    async def overtake(self, flight: Flight, leave: Leave, now: datetime) -> bool:
        """Stop a batch whose requests leave its lane; return whether it was looked at, too.

        If no request waits until it has stopped, its unanswered requests move on at once; if they wait up to a time,
        see `leave`.
        """
        state, ladder = self._state, self._state.ladder
        if not isinstance(flight.batch, SubmittedBatch) or ladder is None:
            return False
        until = leave.at_latest if ladder.is_strict else None
        if ladder.policy == "pay_again" or (until is not None and until <= now):
            return await self.leave(flight, flight.batch, now)
        self._tell_late(flight)
        flight.stopping, flight.leaves_at, flight.bad = True, until, None
        if until is not None:
            flight.batch = replace(flight.batch, leaves_at=until)
            await state.ledger.mark(flight.batch)
        return False

    async def leave(self, flight: Flight, batch: SubmittedBatch, now: datetime) -> bool:
        """Have a batch's requests move on, whatever becomes of it, and stop it.

        It is looked at once more, because it may have ended; its unanswered requests then go to the next lane at once,
        or expire without one. A look that takes longer is waited for, once: its answers may be on their way.
        """
        state, ladder = self._state, self._state.ladder
        look_at_once = getattr(state.who(batch), "look_at_once", None)
        if look_at_once is not None:
            look_at_once(batch.handle)
        with contextlib.suppress(BadPollResultError):  # it is logged, and no caller waits for a corrected poll
            await self.poll(flight, batch, now)
        if state.flights.get(flight.batch.key) is not flight or not isinstance(flight.batch, SubmittedBatch):
            return True
        if not await state.is_still_owner(flight, now):  # the look may have taken long
            return True
        flight.leaves_at = None
        if flight.is_looking and not flight.is_put_off:
            flight.leaves_at, flight.is_put_off = now + _LOOKS_ON, True
            return True
        self._tell_late(flight)
        flight.stopping = True
        if ladder is not None and ladder.expires:
            await self.catch_up(flight)
            await self.give_up(flight, dict.fromkeys(state.flights.unsettled(flight), LATE_IN_FLIGHT), now)
        else:
            await self._leave(flight, flight.batch, now)
        flight.bad = None
        return True

    def _tell_late(self, flight: Flight) -> None:
        logger.warning(
            "%s: batch %s is late, and is stopped",
            self._state.name,
            flight.batch.key,
            extra=about(bridge=self._state.name, batch=flight.batch.key),
        )

    async def _leave(self, flight: Flight, batch: SubmittedBatch, now: datetime) -> None:
        """Have the next lane answer a batch's requests, whatever becomes of it."""
        state = self._state
        lane = state.name_of(batch)
        known = await state.ledger.settled(batch.requests) if flight.inherited else set()
        late = [each for each in state.flights.unsettled(flight) if each not in known]
        await state.ledger.tried(
            dict.fromkeys(late, Attempt(batch.key, "overdue", DEADLINE, now, lane, batch.terms.asked_at))
        )
        overdue = Errored("the deadline has passed, and there is nothing to send again", code=DEADLINE, retryable=True)
        back, lost = await self._come_back(flight, dict.fromkeys(late, overdue), now)
        await state.ledger.settle(lost)
        note_ended(flight, lost)
        await state.ledger.queued(back)
        left = replace(batch, left="overdue", moved=tuple(late), leaves_at=None)
        await state.ledger.mark(left)
        flight.batch = left
        state.flights.free(flight)
        state.settled += (*known, *lost)
        state.opened().put_back(back)
        state.tell_settled(batch.key, lost)
        state.tell_resubmitted(batch.key, [each.id for each in back])
        state.note_moves(batch.terms.lane, back)

    async def _keep(
        self, flight: Flight, outcomes: Iterable[tuple[str, Outcome]], now: datetime, read: set[str] | None = None
    ) -> set[str]:
        """Take answers of a batch whose requests have left, where those have no other yet; return what was answered.

        Nothing else is done to a batch meanwhile. The first outcome of a request counts, as in `settle`; `read` are
        those of which it was read before.
        """
        read = set() if read is None else read
        state, paid = self._state, set[str]()
        queued: dict[str, Outcome] = {}
        moved: dict[Flight, dict[str, Outcome]] = {}
        for request_id, outcome in outcomes:
            note_used(flight, ((request_id, outcome),))
            is_first = request_id not in read
            read.add(request_id)
            if not is_first or not isinstance(outcome, Succeeded):
                continue
            paid.add(request_id)
            other = state.flights.of(request_id)
            if not any(each.batch == flight.batch.key for each in state.ledger.attempts(request_id)):
                continue
            if other is None:
                queued[request_id] = outcome
            elif other is not flight:
                moved.setdefault(other, {})[request_id] = outcome
        known = await state.ledger.settled(tuple(queued)) if queued else ()
        queued = {each: queued[each] for each in queued if each not in known}  # queued still, or left by its caller
        if queued and isinstance(flight.batch, SubmittedBatch):
            flight.batch = replace(flight.batch, kept=(*flight.batch.kept, *queued))
            await state.ledger.mark(flight.batch)
            await state.ledger.settle(queued)
            for request_id in queued:
                state.opened().discard(request_id)
            state.settled += queued
            state.tell_settled(flight.batch.key, queued)
        for other, kept in moved.items():
            await self.catch_up(other)
            fresh = {each: kept[each] for each in kept if state.flights.of(each) is other}
            if fresh:
                await self.give_up(other, fresh, now, by=flight)
        return paid

    async def give_up(
        self, flight: Flight, outcomes: Mapping[str, Outcome], now: datetime, *, by: Flight | None = None
    ) -> None:
        """End requests of a batch that are not waited for any more, and stop it if no other is left. Idempotent.

        What the provider answers for them all the same is put aside.

        Args:
            flight: The batch.
            outcomes: What its requests end with.
            now: The time.
            by: The batch that has answered them, which they had left.
        """
        state, batch, changed = self._state, flight.batch, list[Intent | SubmittedBatch]()
        is_last = state.flights.open_of(flight) == len(outcomes)
        elsewhere = batch.elsewhere if by is None else (*batch.elsewhere, *outcomes)
        if isinstance(batch, SubmittedBatch):
            left = "cancelled" if is_last and not batch.left else batch.left
            flight.batch = replace(batch, left=left, elsewhere=elsewhere)
        elif flight.doubtful:  # else it was not created, and is not for those
            flight.batch = replace(batch, elsewhere=elsewhere)
        changed += [flight.batch] if flight.batch != batch else []
        if by is not None and isinstance(by.batch, SubmittedBatch):
            flight.answered_elsewhere.update(outcomes)
            by.batch = replace(by.batch, gave=(*by.batch.gave, *outcomes))
            changed.append(by.batch)
        if changed:  # first: who is left behind is stopped, and counts
            await state.ledger.mark(*changed)
        await self.settle_early(flight, outcomes.items(), stands=True)
        for request_id in outcomes:
            flight.waiting.pop(request_id, None)
            flight.refused.pop(request_id, None)
            flight.wanted.discard(request_id)
        if is_last:
            flight.stopping, flight.due, flight.late_at = isinstance(flight.batch, SubmittedBatch), now, None
            flight.leaves_at = None

    # -- when it has ended -----------------------------------------------------------------------------------------

    async def fail(
        self, flight: Flight, errored: Errored, now: datetime, cause: Exception, *, is_bug: bool = False
    ) -> None:
        """End a batch as failed as a whole, for a cause; the log shows the traceback of the first bug of its kind."""
        state = self._state
        if not await state.is_still_owner(flight, now):
            return  # what it was refused may be what another process has tidied up
        shown = _logged.trace(cause) if is_bug and state.notices.is_new(state.name, cause) else None
        told = _logged.said(cause)
        logger.error(
            "%s: batch %s failed (%s): %s",
            state.name,
            flight.batch.key,
            _logged.handle(errored.code),
            told,
            exc_info=shown,
            extra=about(bridge=state.name, batch=flight.batch.key),
        )
        state.last_error = f"batch {flight.batch.key} failed: {errored.message}"
        await self._settle(flight, Ended(nothing(), missing=errored), now)

    async def _settle(self, flight: Flight, ended: Ended, now: datetime) -> None:
        state, batch = self._state, flight.batch
        if isinstance(batch, SubmittedBatch) and batch.left == "overdue":
            await self._count_overdue(flight, batch, ended, now)
            return
        again = self._again(flight, now)
        try:
            kinds = await settle(
                state.ledger,
                batch,
                ended,
                inherited=flight.inherited,
                settled=flight.settled,
                again=again,
                failures=(failures := Counter(flight.failed)),
                seen=partial(note_used, flight),
                ended_as=partial(note_ended, flight),
                rescue=partial(self._rescuer.rescue, flight, now),
            )
        except ReadError as error:
            flight.inherited, flight.caught_up = True, False  # what was read before it broke is written
            await self._tell_read(flight)
            await self.could_not_look(flight, error.error, now)
            return
        back, lost = await self._come_back(flight, again.outcomes, now)
        await state.ledger.settle(lost)
        note_ended(flight, lost)
        kinds.update(map(_outcome.kind, lost.values()))
        failures.update(_outcome.failures_of(lost.values()))
        await state.ledger.queued(back)
        if not await state.is_still_owner(flight, now):  # to read may take long
            flight.inherited, flight.caught_up = True, False
            return
        usage = ended.usage() if callable(ended.usage) else ended.usage
        whole = kinds.get("succeeded", 0) == len(batch.requests) and not batch.shared
        self._learn(flight, again, usage, now, whole=whole)
        sent_on = len(batch.requests) - kinds.total()
        await self._closer.close(flight, kinds, usage, now, resubmitted=sent_on, failures=failures)
        sent_again = again.outcomes.keys() - lost.keys()
        known = flight.settled.keys() | sent_again
        late = tuple([each for each in batch.requests if each not in known]) if known else batch.requests
        state.settled += late
        if back:
            if again.refusal is not None and again.alone:
                state.opened().add(back[0])  # it may be too large forever: its neighbours go first
            else:
                state.opened().put_back(back)
            state.drain = True  # what was sent was due
        if sent_again:
            logger.warning(
                "%s: %d requests of batch %s are sent again",
                state.name,
                len(sent_again),
                batch.key,
                extra=about(bridge=state.name, batch=batch.key),
            )
        state.standstill.moved()
        logger.info(
            "%s: batch %s settled: %s",
            state.name,
            batch.key,
            dict(kinds),
            extra=about(bridge=state.name, batch=batch.key),
        )
        await self._closer.tell_ended(flight, late, kinds - Counter(flight.settled.values()), usage)
        state.tell_resubmitted(batch.key, [each.id for each in back])
        state.note_moves(batch.terms.lane, back)
        if isinstance(batch, SubmittedBatch):
            await self._closer.release(batch)

    def _again(self, flight: Flight, now: datetime) -> Resubmission:
        batch = flight.batch
        is_left = isinstance(batch, SubmittedBatch) and batch.left != ""
        limit = 1 if is_left else self._attempts(batch)
        quota_controller, alone = self._state.quota_controller, len(batch.requests) == 1
        may_fit = partial(quota_controller.may_fit, batch.group, batch.terms.bytes)
        late, requeues = flight.is_late and not is_left, quota_controller.requeues(batch.group, now)
        lane = self._state.name_of(batch)
        return Resubmission(
            batch.key, limit, late, requeues, may_fit, now, lane=lane, asked_at=batch.terms.asked_at, alone=alone
        )

    async def _come_back(
        self, flight: Flight, outcomes: Mapping[str, Outcome], now: datetime
    ) -> tuple[list[Waiting], dict[str, Outcome]]:
        """Return a batch's requests as they are queued again, and the outcomes of those that cannot be.

        Both hold only requests with a waiting caller: an abandoned thread must not cost money. The other requests are
        in neither; the next caller that collects them sends them.
        """
        state, batch = self._state, flight.batch
        wanted = list(outcomes)
        if not state.ledger.keeps_queue:
            wanted = [each for each in wanted if each in flight.wanted or each in flight.waiting]
        keys = dict(zip(batch.requests, batch.keys, strict=True)) if batch.keys else {}
        asked_at = batch.terms.asked_at or (batch.begun_at if isinstance(batch, Intent) else batch.submitted_at)
        back: list[Waiting] = []
        refused: dict[str, Outcome] = {}
        for start in range(0, len(wanted), state.ledger.chunk):
            for request in await state.ledger.requests(wanted[start : start + state.ledger.chunk]):
                judged = judge(state, request, asked_at, now)
                if isinstance(judged, Waiting):
                    back.append(judged._replace(key=keys.get(request.id, judged.key)))
                elif flight.is_late or isinstance(judged, Expired):
                    refused[request.id] = judged
        found = {each.id for each in back}
        lost = {
            each: final(outcomes[each], state.ledger.attempts(each), batch.key) for each in wanted if each not in found
        }
        return back, lost | {each: final(why, state.ledger.attempts(each), "") for each, why in refused.items()}

    def _learn(self, flight: Flight, again: Resubmission, usage: Usage | None, now: datetime, *, whole: bool) -> None:
        """Report a batch's end to the quota controller."""
        quota_controller, batch = self._state.quota_controller, flight.batch
        if isinstance(batch, Intent) or batch.terms.lane:
            return
        if again.refusal is None:
            quota_controller.ended(batch.group, batch.terms.bytes, usage, whole=whole)
            return
        quota = quota_controller.quota_of(batch.group)
        others = sum(
            size for group, size in self._state.flights.loads(flight) if quota_controller.quota_of(group) == quota
        )
        limits = self._state.provider.limits
        quota_controller.refused(
            batch.group, batch.terms.bytes, others, said=again.refusal.message, limits=limits, now=now
        )

    async def _count_overdue(self, flight: Flight, batch: SubmittedBatch, ended: Ended, now: datetime) -> None:
        """Close a batch whose requests were sent elsewhere, and count what it has answered all the same."""
        state = self._state
        paid, read = set[str](), set[str]()
        try:
            async for chunk in chunks(ended.outcomes, state.ledger.chunk):
                paid |= await self._keep(flight, chunk, now, read)
        except ReadError as error:
            await self.could_not_look(flight, error.error, now)
            return
        now_left = flight.batch if isinstance(flight.batch, SubmittedBatch) else batch
        kept, left = now_left.kept, set(batch.moved).difference(now_left.kept)
        twice = len(await self._answered((paid.intersection(lines(batch)) & left).difference(now_left.gave)))
        usage = ended.usage() if callable(ended.usage) else ended.usage
        kinds = Counter(flight.settled.values())
        kinds += Counter(succeeded=len(kept))
        note_kinds(flight, dict.fromkeys(kept, "succeeded"))
        await self._closer.close(flight, kinds, usage, now, resubmitted=len(left), paid_twice=twice)
        await self._closer.tell_ended(flight, (), {}, usage)
        state.quota_controller.ended(batch.group, batch.terms.bytes, None, whole=False)
        logger.warning(
            "%s: overdue batch %s has ended: %d requests are paid twice",
            state.name,
            batch.key,
            twice,
            extra=about(bridge=state.name, batch=batch.key),
        )
        await self._closer.release(batch)

    async def _answered(self, ids: Collection[str]) -> set[str]:
        """Return which requests that a batch was left by another one has answered; those forgotten were delivered."""
        ledger = self._state.ledger
        known = await ledger.settled(tuple(ids))
        known |= {each for each in ids if not ledger.attempts(each)}
        outcomes = await ledger.outcomes(tuple(ids))
        return {each for each in known if isinstance(outcomes.get(each, _DELIVERED), Succeeded)}

    async def forget(self, ids: Collection[str]) -> None:
        """Note which requests end without an answer that a batch was left by: what it answers is paid once."""
        state = self._state
        if not state.ledger.has_attempts:
            return
        late = {each for each in ids if any(tried.code == DEADLINE for tried in state.ledger.attempts(each))}
        for flight in filter(is_overdue, state.flights) if late else ():
            if not isinstance(flight.batch, SubmittedBatch) or not (left := late.intersection(flight.batch.moved)):
                continue
            unanswered = left - await self._answered(left)
            if unanswered:
                moved = tuple(each for each in flight.batch.moved if each not in unanswered)
                flight.batch = replace(flight.batch, moved=moved)
                await state.ledger.mark(flight.batch)


def is_overdue(flight: Flight) -> bool:
    """Return whether a batch's requests have moved on, and what it answers all the same is kept or counted."""
    return isinstance(flight.batch, SubmittedBatch) and flight.batch.left == "overdue"
