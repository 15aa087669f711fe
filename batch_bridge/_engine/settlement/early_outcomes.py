"""Outcomes of requests whose batch has not ended: those that come early, and those that an earlier process wrote."""

from collections import Counter
from collections.abc import Iterable

from batch_bridge import events
from batch_bridge._core import outcomes as _outcome
from batch_bridge._core.models import Outcome
from batch_bridge._core.policy.resubmission import final
from batch_bridge._engine.flights.flight import Flight
from batch_bridge._engine.settlement.account_notes import note_kinds, note_used
from batch_bridge._engine.settlement.outcome_writer import settle_early
from batch_bridge._engine.state import State


async def settle_now(state: State, flight: Flight, outcomes: Iterable[tuple[str, Outcome]]) -> None:
    """Settle requests that wait for a batch, and report it. The first outcome of each counts; others are left out."""
    fresh: dict[str, Outcome] = {}
    for request_id, outcome in outcomes:
        if state.flights.of(request_id) is flight:
            fresh.setdefault(request_id, final(outcome, state.ledger.attempts(request_id), flight.batch.key))
    kinds = await settle_early(state.ledger, fresh, inherited=flight.inherited)
    flight.settled.update(kinds)
    note_kinds(flight, kinds)
    flight.failed.update(_outcome.failures_of(fresh.values()))
    state.flights.settle_early(flight, fresh)
    state.settled += fresh
    if kinds and state.on_event is not None:
        counts = Counter(kinds.values())
        told = events.Settled(bridge=state.name, batch=flight.batch.key, requests=tuple(kinds), outcomes=counts)
        state.on_event(told)


async def catch_up(state: State, flight: Flight) -> None:
    """Look up which requests of a batch an earlier process has settled: no caller waits for those."""
    if not flight.inherited or flight.caught_up:
        return
    flight.caught_up = True
    known = await state.ledger.settled(tuple(state.flights.unsettled(flight)))
    await state.ledger.drop(known)  # that process may have died before it did
    outcomes = await state.ledger.outcomes([each for each in flight.batch.requests if each in known])
    note_used(flight, outcomes.items())
    kinds = {request_id: _outcome.kind(outcome) for request_id, outcome in outcomes.items()}
    flight.settled.update(kinds)
    flight.failed.update(_outcome.failures_of(outcomes.values()))
    note_kinds(flight, kinds)
    state.flights.settle_early(flight, outcomes)
