"""What the answers of a batch tell its account: what they have used, what they cost, and how requests have ended."""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from batch_bridge._core import outcomes as _outcome
from batch_bridge._core.models import Ended, InProgress, Outcome, SubmittedBatch, Succeeded
from batch_bridge._engine.flights.flight import Flight
from batch_bridge._engine.spending import lane_of
from batch_bridge._engine.state import State


def note_used(flight: Flight, outcomes: Iterable[tuple[str, Outcome]]) -> None:
    """Note in the batch's account what answers have used. Done twice, it changes nothing."""
    account, batch = flight.account, flight.batch
    told = list(outcomes)
    if elsewhere := flight.answered_elsewhere:
        flight.paid_twice.update(each for each, outcome in told if each in elsewhere and type(outcome) is Succeeded)
    if account is None:
        return
    if account.way is None and isinstance(batch, SubmittedBatch):
        account.way = lane_of(batch.handle)
    _, _, model = batch.group.rpartition(" ")
    account.note(told, model)


async def with_costs(state: State, flight: Flight, reply: InProgress | Ended) -> InProgress | Ended:
    """Add the costs to answers that are to contain them."""
    account = flight.account
    if account is None or not account.priced:
        return reply
    await state.till.load_prices(account)

    def told(request_id: str, outcome: Outcome) -> tuple[str, Outcome]:
        note_used(flight, ((request_id, outcome),))
        if isinstance(outcome, Succeeded) and (paid := account.paid(request_id, state.prices)) is not None:
            return request_id, Succeeded(outcome.answer, paid)
        return request_id, outcome

    if isinstance(reply, Ended):
        return replace(reply, outcomes=(told(*each) async for each in reply.outcomes))
    return replace(reply, outcomes=tuple(told(*each) for each in reply.outcomes))


def note_ended(flight: Flight, outcomes: Mapping[str, Outcome]) -> None:
    """Note in the batch's account how requests have ended. Done twice, it changes nothing."""
    if flight.account is not None and _outcome.are_answers(outcomes.values()):
        flight.account.end_well(outcomes)
    else:
        note_kinds(flight, {request_id: _outcome.kind(outcome) for request_id, outcome in outcomes.items()})


def note_kinds(flight: Flight, kinds: Mapping[str, str]) -> None:
    """Note how requests have ended, by the kind of their outcome. Done twice, it changes nothing."""
    if flight.account is not None:
        for request_id, kind in kinds.items():
            flight.account.end(request_id, kind)
