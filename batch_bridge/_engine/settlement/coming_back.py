"""How the requests of a batch that are to be sent again come back into the queue."""

from collections.abc import Mapping
from datetime import datetime

from batch_bridge._core.models import Expired, Intent, Outcome
from batch_bridge._core.policy.batching import Waiting
from batch_bridge._core.policy.resubmission import final
from batch_bridge._engine.flights.flight import Flight
from batch_bridge._engine.intake import judge
from batch_bridge._engine.state import State


async def come_back(
    state: State, flight: Flight, outcomes: Mapping[str, Outcome], now: datetime
) -> tuple[list[Waiting], dict[str, Outcome]]:
    """Return a batch's requests as they are queued again, and the outcomes of those that cannot be.

    Both hold only requests with a waiting caller: an abandoned thread must not cost money. The other requests are
    in neither; the next caller that collects them sends them.
    """
    batch = flight.batch
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
    lost = {each: final(outcomes[each], state.ledger.attempts(each), batch.key) for each in wanted if each not in found}
    return back, lost | {each: final(why, state.ledger.attempts(each), "") for each, why in refused.items()}
