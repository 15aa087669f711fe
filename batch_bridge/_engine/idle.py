"""Whether an engine can do nothing but wait for its provider, and what requests wait for. No I/O."""

from collections import Counter
from collections.abc import Iterable
from datetime import datetime

from batch_bridge._core.models import SubmittedBatch
from batch_bridge._core.pending import PendingBatch
from batch_bridge._engine.sending import priming
from batch_bridge._engine.sending.scheduling import is_held
from batch_bridge._engine.state import State
from batch_bridge.events import BatchProgress


def rests(state: State, ticked_at: datetime) -> bool:
    """Return whether everything is sent and was looked at, so that only the provider can move anything.

    What a provider has no room for until a batch ends, or what waits for a prefix that a batch writes, may wait in the
    queue all the same. Batches that are answered in
    this process are not left to a provider.

    Args:
        state: The engine's.
        ticked_at: When its last tick began: what was due by then has been done.
    """
    for flight in state.flights:
        is_looking = flight.look is not None and not flight.look.done()
        if not isinstance(flight.batch, SubmittedBatch) or flight.rings or is_looking or flight.next_at <= ticked_at:
            return False
    queue = state.opened()
    if state.settled or is_held(state, ticked_at) or state.drain:
        return False
    left_to_it = state.owed | priming.waiting(state, ticked_at)
    return not len(queue) or (len(state.flights) > 0 and left_to_it.issuperset(queue.groups))


def progress(state: State) -> tuple[BatchProgress, ...]:
    """Return how far the batches are that the provider has confirmed."""
    return tuple(
        BatchProgress(state.name, each.batch.key, each.done, each.total)
        for each in state.flights
        if isinstance(each.batch, SubmittedBatch) and not each.batch.left
    )


def batches_of(state: State, ids: Iterable[str]) -> tuple[PendingBatch, ...]:
    """Return the batches that some requests are in, which the provider has confirmed."""
    flights = [flight for flight in map(state.flights.of, ids) if flight is not None]
    counts = Counter(flight.batch.key for flight in flights)
    return tuple(
        PendingBatch(
            state.name,
            flight.batch.key,
            state.shown(flight.batch, flight.batch.handle),
            flight.batch.submitted_at,
            counts[flight.batch.key],
            flight.done,
            flight.total,
        )
        for flight in {flight.batch.key: flight for flight in flights}.values()
        if isinstance(flight.batch, SubmittedBatch)
    )
