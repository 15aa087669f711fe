"""What a process before this one has settled or closed is finished by what the ledger knows, without its provider."""

from collections import Counter
from datetime import datetime

from batch_bridge import events
from batch_bridge._core.models import Closed, SubmittedBatch
from batch_bridge._core.wording.log import about, logger_of
from batch_bridge._engine.flights.flight import Flight
from batch_bridge._engine.settlement.closer import Closer
from batch_bridge._engine.settlement.early_outcomes import catch_up
from batch_bridge._engine.state import State
from batch_bridge.errors import ProviderUnavailable

logger = logger_of(__name__)


class Finisher:
    """Closes batches of which nothing is left to do but that.

    Args:
        state: The engine's.
        closer: Closes them.
    """

    def __init__(self, state: State, closer: Closer) -> None:
        self._state = state
        self._closer = closer

    async def finish(self, flight: Flight, now: datetime) -> None:
        """Close a batch if a process before this one has written all outcomes of it, and died before it closed it."""
        await catch_up(self._state, flight)
        if not flight.is_held and self._state.flights.get(flight.batch.key) is flight:
            flight.is_held = True
            try:
                await self.close_if_answered(flight, now)
            finally:
                flight.is_held = False

    async def close_if_answered(self, flight: Flight, now: datetime) -> None:
        """Do the same for a batch that the caller holds."""
        await catch_up(self._state, flight)
        batch = flight.batch
        if isinstance(batch, SubmittedBatch) and self._is_answered(flight, batch):
            await self._close_answered(flight, batch, now)

    def _is_answered(self, flight: Flight, batch: SubmittedBatch) -> bool:
        """Return whether nothing of a batch that has ended is left to do but to close it."""
        state = self._state
        has_ended = "cancelled" not in flight.settled.values()  # by us, perhaps: then the provider may work on
        is_plain = not flight.is_stopped and not flight.answered_elsewhere
        if not (flight.inherited and is_plain and has_ended) or state.flights.open_of(flight):
            return False
        deduplication = state.deduplication_in(state.lane_of(batch)) if batch.keys else None
        return deduplication is None or not deduplication.remembers  # else the cache may lack answers

    async def _close_answered(self, flight: Flight, batch: SubmittedBatch, now: datetime) -> None:
        """Close a batch by what the ledger knows: what its provider would say is written already."""
        state = self._state
        if not await state.is_still_owner(flight, now):
            return
        usage = None if flight.account is None else flight.account.usage()
        kinds = Counter(flight.settled.values())
        await self._closer.close(flight, kinds, usage, now, resubmitted=0)
        if not batch.terms.lane:
            state.quota_controller.ended(batch.group, batch.terms.bytes, None, whole=False)
        state.standstill.moved()
        logger.info(
            "%s: batch %s was settled by an earlier process, and is closed: %s",
            state.name,
            batch.key,
            dict(kinds),
            extra=about(bridge=state.name, batch=batch.key),
        )
        await self._closer.tell_ended(flight, (), {}, usage)
        state.settled += batch.requests  # the process that settled them may not have told who asked
        state.unreleased.append(batch)

    async def finish_closed(self, batch: SubmittedBatch, closed: Closed) -> None:
        """Tidy up after a process that has closed a batch, and died before it had deleted its rows and said so."""
        state = self._state
        await state.ledger.finish(batch.key)
        known = await state.ledger.settled(batch.requests)
        requests = tuple(each for each in batch.requests if each in known)
        state.settled += requests
        state.unreleased.append(batch)
        if state.on_event is not None:
            cost = await state.till.cost(await state.till.lines_in(batch.key)) if state.tells_cost else None
            state.on_event(
                events.Settled(
                    bridge=state.name,
                    batch=batch.key,
                    requests=requests,
                    outcomes=closed.outcomes,
                    ended=True,
                    usage=closed.usage,
                    cost=cost,
                )
            )

    async def release(self) -> None:
        """Have providers delete what they keep of batches that were closed by what the ledger knew."""
        state = self._state
        if not state.unreleased:
            return
        try:
            await state.check_owner()  # another process may read the files
        except ProviderUnavailable:
            return
        batches, state.unreleased = state.unreleased, []
        await state.each(batches, self._closer.release)
