"""Requests that wait until a batch has written how they begin into the provider's cache. No I/O.

They stay in the queue, in a group of their own for each prefix, which no flush policy is asked about: they were due. A
process after this one finds which prefixes are being written in the terms of the batches; what it does not find is sent
without waiting.
"""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Final

from batch_bridge._core.models import SubmittedBatch
from batch_bridge._core.policy.batching import Waiting
from batch_bridge._core.policy.priming import Priming, plan
from batch_bridge._engine.state import State
from batch_bridge._engine.waiting.ladder import is_aside

_HELD: Final = "\0\0"
"""In front of the group: as of a lane without a name, which is the home."""


def divide(state: State, waiting: Sequence[Waiting], now: datetime, *, shared: bool) -> Priming:
    """Return who of those that are due is sent now, and hold the others back in the queue."""
    if not any([each.prefix for each in waiting]):  # noqa: C419  # a list asks each of many without a call
        return Priming((), waiting, ())
    planned = plan(waiting, writing=_writing(state), written=state.written, now=now, shared=shared)
    _hold(state, planned.held, now)
    return planned


def hold_again(state: State, now: datetime) -> None:
    """Hold back what a process before this one has held: those of a queue that was kept whose prefix is being written.

    They were due, as far as that can be told.
    """
    writing, queue = _writing(state), state.opened()
    if writing:
        home = [each for each in queue.groups if not is_aside(each)]
        _hold(state, [each for each in queue.pick(len(queue), only=home) if _key(each) in writing], now)


def release(state: State, now: datetime) -> bool:
    """Put back held requests that wait for no answer any more, and are due; return whether there were any."""
    queue, ready = state.opened(), set(state.held) - waiting(state, now)
    back = queue.pick(len(queue), only=ready) if ready else []
    for group in ready:
        del state.held[group]
    for each in back:
        queue.discard(each.id)
    queue.put_back(each._replace(group=_inner(each.group), prefix=None) for each in back)
    return bool(back)


def waiting(state: State, now: datetime) -> set[str]:
    """Return the groups of the queue that wait for a batch still."""
    writing = _writing(state) if state.held else frozenset[str]()
    return {group for group, until in state.held.items() if _prefix(group) in writing and (not until or now < until)}


def times(state: State, now: datetime) -> Iterator[datetime]:
    """Yield when something that is held is due, whatever becomes of the batch that it waits for."""
    still = waiting(state, now)
    groups = state.opened().groups
    for group, until in state.held.items():
        if group in groups and group not in still:
            yield now
        elif group in groups and until is not None:
            yield until


def _hold(state: State, held: Iterable[Waiting], now: datetime) -> None:
    """Keep requests back. Who has to leave its lane some time is held for half of the time that is left until then."""
    for each in held:
        group = f"{_HELD}{_key(each)}\0{each.group}"
        until = None if each.late_at is None else now + max(each.late_at - now, timedelta(0)) / 2
        known = state.held.get(group)
        state.held[group] = min((at for at in (until, known) if at is not None), default=None)
        state.opened().move(each._replace(group=group))


def _writing(state: State) -> set[str]:
    """Return the prefixes that batches write; one that its requests have left, or are leaving, may write nothing."""
    return {
        key
        for flight in state.flights
        if not flight.is_late and not (isinstance(flight.batch, SubmittedBatch) and flight.batch.left)
        for key in flight.batch.terms.prefixes
    }


def _key(waiting: Waiting) -> str:
    return "" if waiting.prefix is None else waiting.prefix.key


def _prefix(group: str) -> str:
    return group.removeprefix(_HELD).partition("\0")[0]


def _inner(group: str) -> str:
    return group.removeprefix(_HELD).partition("\0")[2]
