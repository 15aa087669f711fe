"""From submitted to settled: a batch is polled, and each of its requests gets its outcome or is sent again."""

import contextlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import Final

from batch_bridge import events
from batch_bridge._core import outcomes as _outcome
from batch_bridge._core.models import (
    Cancelled,
    Ended,
    Errored,
    InProgress,
    Intent,
    Outcome,
    SubmittedBatch,
    Succeeded,
    Usage,
)
from batch_bridge._core.outcomes import nothing
from batch_bridge._core.policy.batching import lines
from batch_bridge._core.policy.ladder import Leave
from batch_bridge._core.policy.resubmission import Resubmission, is_transient
from batch_bridge._core.wording import log_text as _logged
from batch_bridge._core.wording.log import about, logger_of
from batch_bridge._engine.deduplication import spread
from batch_bridge._engine.flights.flight import LONGEST_PAUSE, Flight
from batch_bridge._engine.intake import LATE_IN_FLIGHT
from batch_bridge._engine.settlement import polling as _looks
from batch_bridge._engine.settlement.account_notes import note_ended, note_used, with_costs
from batch_bridge._engine.settlement.closer import Closer
from batch_bridge._engine.settlement.coming_back import come_back
from batch_bridge._engine.settlement.early_outcomes import catch_up, settle_now
from batch_bridge._engine.settlement.finisher import Finisher
from batch_bridge._engine.settlement.leaver import Leaver, is_overdue
from batch_bridge._engine.settlement.outcome_writer import ReadError, settle
from batch_bridge._engine.settlement.rescue import Rescuer
from batch_bridge._engine.state import State
from batch_bridge.errors import BadPollResultError, BatchFailed, ProviderUnavailable

logger = logger_of(__name__)

_LOOKS_ON: Final = timedelta(seconds=30)
"""How long a batch that is left may be looked at before its requests move on."""
"""Stands for an answer that is not read any more."""


class Settler:
    """Looks after the batches that the provider has.

    Attributes:
        finisher: Closes what an earlier process has settled.
        leaver: Looks after what is waited for no more.
    """

    def __init__(self, state: State) -> None:
        self._state = state
        self._closer = Closer(state)
        self.finisher = Finisher(state, self._closer)
        self.leaver = Leaver(state, self._closer)
        self._rescuer = Rescuer(state, self.look, self.leaver)

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
            await self.leaver.keep(flight, reply.outcomes, now)
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

    async def settle_early(self, flight: Flight, outcomes: Iterable[tuple[str, Outcome]]) -> None:
        """Settle requests of a batch that has not ended; what may be sent again is judged at its end."""
        known = list(outcomes)
        note_used(flight, known)
        await settle_now(self._state, flight, [each for each in known if not self._may_come_back(flight, each[1])])

    async def _tell_read(self, flight: Flight) -> None:
        """Report what was read of a batch whose reading broke off: it need not wait for the rest."""
        state, before = self._state, set(flight.settled)
        await catch_up(self._state, flight)
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
            await catch_up(self._state, flight)
            await self.leaver.give_up(flight, dict.fromkeys(state.flights.unsettled(flight), LATE_IN_FLIGHT), now)
        else:
            await self.leaver.move_on(flight, flight.batch, now)
        flight.bad = None
        return True

    def _tell_late(self, flight: Flight) -> None:
        logger.warning(
            "%s: batch %s is late, and is stopped",
            self._state.name,
            flight.batch.key,
            extra=about(bridge=self._state.name, batch=flight.batch.key),
        )

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
            try:
                await self.leaver.close(flight, batch, ended, now)
            except ReadError as error:
                await self.could_not_look(flight, error.error, now)
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
        back, lost = await come_back(state, flight, again.outcomes, now)
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
