"""Takes the requests of parked threads in: what is new is measured, queued or refused."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from batch_bridge._core.models import (
    Errored,
    Expired,
    Outcome,
    Request,
    SubmittedBatch,
)
from batch_bridge._core.policy.batching import Waiting
from batch_bridge._engine.intake import (
    asked_at,
    judge,
    judge_all,
    stand_by,
    within_budget,
    within_limits,
)
from batch_bridge._engine.sending.joining import join
from batch_bridge._engine.settlement.settling import Settler
from batch_bridge._engine.state import State


class Collector:
    """Takes requests in for an engine.

    Args:
        state: The engine's.
        settler: Finds out what an earlier process has settled, and lets a request join one in flight.
    """

    def __init__(self, state: State, settler: Settler) -> None:
        self._state = state
        self._settler = settler

    async def collect(self, requests: Iterable[Request], now: datetime, since: Mapping[str, datetime]) -> set[str]:
        """Do what `Engine.collect` describes.

        Args:
            requests: What threads wait for.
            now: Aware UTC.
            since: Since when a thread waits, by its id, where that is not now.
        """
        state = self._state
        new = await self._sort_out(requests, now)
        settled = await state.ledger.settled(tuple(new)) if new else set()
        settled -= await state.till.asked_again(settled)
        unknown = [each for each in new.values() if each.id not in settled] if settled else list(new.values())
        found: Sequence[Waiting | Errored | Expired]
        if not since and not state.ledger.has_attempts:
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
        joined = await join(state, accepted, new)
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
            await self._settler.finisher.finish(flight, now)

    def _judge(self, request: Request, since: datetime, now: datetime) -> Waiting | Errored | Expired:
        return judge(self._state, request, asked_at(self._state, request, since), now)
