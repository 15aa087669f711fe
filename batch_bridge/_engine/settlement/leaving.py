"""Whether the requests of a batch leave its lane, and when that is looked at again. No I/O."""

from datetime import datetime

from batch_bridge._core.models import Intent, SubmittedBatch
from batch_bridge._core.policy.ladder import Leave, Look, Stay, look
from batch_bridge._engine.flights.flight import Flight
from batch_bridge._engine.state import State
from batch_bridge._engine.waiting.ladder import Ladder, LadderLane


def next_look(state: State, batch: Intent | SubmittedBatch, now: datetime) -> datetime | None:
    """Return when it is decided next whether a batch is left; `None` if it never is."""
    match _look(state, batch, now, is_refused=False):
        case None:
            return None
        case Leave():
            return now
        case Stay(until):
            return until


def decide(state: State, flight: Flight, now: datetime) -> Look:
    """Return whether the requests of a batch leave its lane now, and when to look again if not."""
    return _look(state, flight.batch, now, is_refused=_is_refused(state, flight)) or Stay(None)


def _look(state: State, batch: Intent | SubmittedBatch, now: datetime, *, is_refused: bool) -> Look | None:
    """Return what follows for a batch; `None` if nothing ever does."""
    ladder = state.ladder
    due_at = None if ladder is None else ladder.due_in(batch)
    if ladder is None or due_at is None or (isinstance(batch, SubmittedBatch) and batch.left != ""):
        return None
    here = state.lane(batch.terms.lane)
    others = _others(state, ladder, here, batch)
    if not others:
        if not ladder.expires:
            return None
        return Stay(due_at) if now < due_at else Leave(due_at)
    since = batch.submitted_at if isinstance(batch, SubmittedBatch) else batch.begun_at
    rung = ladder.rung(here, batch.group, state.history)
    rungs = [ladder.rung(lane, batch.group, state.history) for lane in others]
    return look(rung, rungs, since=since, due_at=due_at, now=now, is_refused=is_refused)


def _others(state: State, ladder: Ladder, here: LadderLane, batch: Intent | SubmittedBatch) -> list[LadderLane]:
    """Return the lanes that the requests of a batch may move to; the last one that takes them is never left."""
    left = ladder.left_by(state.ledger.attempts(batch.requests[0])) if batch.requests else set[str]()
    barred = left.union(batch.terms.barred)
    lanes = [lane for lane in ladder.lanes if lane is here or lane.name not in barred]
    return [] if lanes[-1] is here else [lane for lane in lanes if lane is not here]


def _is_refused(state: State, flight: Flight) -> bool:
    """Return whether a batch is turned away for want of room, or its create call is."""
    batch = flight.batch
    if isinstance(batch, Intent):
        return flight.failures > 0
    refuses = getattr(state.who(batch), "refuses", None)
    return refuses is not None and bool(refuses(batch.handle))
