"""A request whose equal is at the provider already shares that one's line: it joins the batch, as one more member.

What a batch holds is written down before the request counts as joined; so a crash loses nothing, and the line's outcome
is every request's, also in the next process.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from batch_bridge._core.models import Request, SubmittedBatch
from batch_bridge._core.policy.batching import Waiting, lines
from batch_bridge._engine.flights.flight import Flight
from batch_bridge._engine.settlement.early_outcomes import catch_up
from batch_bridge._engine.state import State


async def join(state: State, waiting: Sequence[Waiting], requests: Mapping[str, Request]) -> set[str]:
    """Let requests share the lines of equal ones that are at the provider, and return those that do. Durable.

    No request joins a batch with a deadline: a later request would be late with it.

    Args:
        state: The engine's.
        waiting: The requests. In a batch they are not.
        requests: The same with their items, which are in the ledger.
    """
    if state.deduplication is None or not state.deduplication.dedupe:
        return set()
    joining: dict[str, list[Waiting]] = {}
    for each in waiting:
        if each.key and each.id in requests and (flight := await _flight_of(state, each)) is not None:
            joining.setdefault(flight.batch.key, []).append(each)
    for key, joined in joining.items():
        flight = state.flights.get(key)
        if flight is not None and isinstance(flight.batch, SubmittedBatch):
            await _join(state, flight, flight.batch, joined, requests)
    return {each.id for joined in joining.values() for each in joined}


async def _flight_of(state: State, waiting: Waiting) -> Flight | None:
    """Return the batch in which an equal request waits for its outcome."""
    for flight in state.flights:
        line = _line(flight, waiting)
        if line is None:
            continue
        await catch_up(state, flight)
        if state.flights.of(line) is flight:
            return flight
    return None


def _line(flight: Flight, waiting: Waiting) -> str | None:
    """Return the request that is sent for all of a key in a batch that may be joined."""
    batch = flight.batch
    is_open = isinstance(batch, SubmittedBatch) and batch.shared and not batch.left and not batch.terms.lane
    if not is_open or flight.stopping or flight.late_at is not None or flight.is_late:
        return None
    if batch.group != waiting.group or batch.terms.deadline != waiting.deadline:
        return None
    if flight.lines is None:
        keys = dict(zip(batch.requests, batch.keys, strict=True))
        flight.lines = {keys[line]: line for line in lines(batch) if keys[line]}
    return flight.lines.get(waiting.key)


async def _join(
    state: State, flight: Flight, batch: SubmittedBatch, joined: Sequence[Waiting], requests: Mapping[str, Request]
) -> None:
    ids = tuple(each.id for each in joined)
    batch = replace(batch, requests=(*batch.requests, *ids), keys=(*batch.keys, *(each.key for each in joined)))
    account = flight.account
    if account is not None:
        again = [each for each in ids if state.ledger.attempts(each)]
        state.till.join(batch, account, [requests[each] for each in ids], again)
    await state.ledger.join(batch, None if account is None else account.to_row())
    flight.batch = batch
    flight.wanted.update(ids)
    state.flights.join(flight, ids)
