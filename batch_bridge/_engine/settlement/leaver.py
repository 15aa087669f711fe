"""A batch that its requests leave: it is stopped, they go elsewhere, and what it answers is kept, or counted."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from datetime import datetime

from batch_bridge._core.models import Attempt, Ended, Errored, Intent, Outcome, SubmittedBatch, Succeeded
from batch_bridge._core.policy.batching import lines
from batch_bridge._core.policy.resubmission import DEADLINE
from batch_bridge._core.wording import log_text as _logged
from batch_bridge._core.wording.log import about, logger_of
from batch_bridge._engine.flights.flight import Flight, first_pause
from batch_bridge._engine.settlement.account_notes import note_ended, note_kinds, note_used
from batch_bridge._engine.settlement.closer import Closer
from batch_bridge._engine.settlement.coming_back import come_back
from batch_bridge._engine.settlement.early_outcomes import catch_up, settle_now
from batch_bridge._engine.settlement.outcome_writer import chunks
from batch_bridge._engine.state import State
from batch_bridge.errors import ProviderUnavailable

logger = logger_of(__name__)

_DELIVERED = Succeeded(None)
"""Stands for an answer that is not read any more."""


class Leaver:
    """Looks after batches for which requests wait no more.

    Args:
        state: The engine's.
        closer: Closes them.
    """

    def __init__(self, state: State, closer: Closer) -> None:
        self._state = state
        self._closer = closer

    async def stop(self, flight: Flight, batch: SubmittedBatch, now: datetime) -> bool:
        """Ask the provider to stop a batch; return whether that is done, or impossible."""
        state = self._state
        try:
            await state.who(batch).cancel(batch.handle)
        except ProviderUnavailable as error:
            state.unavailable(flight, error, now)
            return False
        except Exception as error:  # noqa: BLE001  # a provider may be the user's code
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

    async def move_on(self, flight: Flight, batch: SubmittedBatch, now: datetime) -> None:
        """Have the next lane answer a batch's requests, whatever becomes of it."""
        state = self._state
        lane = state.name_of(batch)
        known = await state.ledger.settled(batch.requests) if flight.inherited else set()
        late = [each for each in state.flights.unsettled(flight) if each not in known]
        await state.ledger.tried(
            dict.fromkeys(late, Attempt(batch.key, "overdue", DEADLINE, now, lane, batch.terms.asked_at))
        )
        overdue = Errored("the deadline has passed, and there is nothing to send again", code=DEADLINE, retryable=True)
        back, lost = await come_back(state, flight, dict.fromkeys(late, overdue), now)
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

    async def keep(
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
            await catch_up(state, other)
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
        await settle_now(state, flight, outcomes.items())
        for request_id in outcomes:
            flight.waiting.pop(request_id, None)
            flight.refused.pop(request_id, None)
            flight.wanted.discard(request_id)
        if is_last:
            flight.stopping, flight.due, flight.late_at = isinstance(flight.batch, SubmittedBatch), now, None
            flight.leaves_at = None

    # -- when it has ended -----------------------------------------------------------------------------------------

    async def close(self, flight: Flight, batch: SubmittedBatch, ended: Ended, now: datetime) -> None:
        """Close a batch whose requests were sent elsewhere, and count what it has answered all the same.

        Raises:
            ReadError: The provider broke off; the batch must be polled again.
        """
        state = self._state
        paid, read = set[str](), set[str]()
        async for chunk in chunks(ended.outcomes, state.ledger.chunk):
            paid |= await self.keep(flight, chunk, now, read)
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
