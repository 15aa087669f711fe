"""What is sent now, and when something is due next. No I/O."""

from collections import Counter
from dataclasses import dataclass
from datetime import datetime

from batch_bridge._core.models import Limits
from batch_bridge._core.policy.batching import Waiting, cap
from batch_bridge._core.provider import Provider
from batch_bridge._engine.flights.flight import first_pause
from batch_bridge._engine.sending import priming
from batch_bridge._engine.state import State
from batch_bridge._engine.waiting.ladder import Aside, LadderLane, is_aside, lane_of_group
from batch_bridge._engine.waiting.quota import Admission


@dataclass(frozen=True, slots=True)
class Flush:
    """What one flush sends.

    Attributes:
        due: The requests, which are still queued.
        owed: Groups of which more is due than there is room for.
        drain: All that waits is due still.
        is_limited: There may be room for more after that.
    """

    due: list[Waiting]
    owed: set[str]
    drain: bool
    is_limited: bool = False


def in_lane(state: State, lane: LadderLane) -> list[Waiting]:
    """Return what is sent in another lane than the home now: all that waits for it, as far as it has room."""
    queue = state.opened()
    if state.till.is_short and not state.is_last(lane):
        return []
    groups = {group for group in queue.groups if lane_of_group(group)[0] == lane.name}
    if not groups:
        return []
    room = _room_in(lane.provider)
    return queue.pick(len(queue) if room is None else room, only=groups)


def due(state: State, now: datetime) -> Flush:
    """Choose what is sent now: what the policy says is due, as far as the provider has room for it."""
    queue = state.opened()
    admission = _admission(state, now)
    room = _room_in(state.provider)
    if admission is None:
        wanted = state.policy.take(queue.summary(now, without=_ASIDE), drain=state.drain)
        count = wanted if room is None else min(wanted, room)
        picked = queue.pick(count, without=_ASIDE) if count else []
        return Flush(picked, set(), drain=state.drain and count < wanted)
    waiting = {group for group in queue.groups if not is_aside(group)}
    owed = waiting if state.drain else state.owed & waiting
    picked = queue.pick(len(queue), admission, only=owed) if owed else []
    judged_not = owed | admission.shut | (set(queue.groups) - waiting)
    if waiting - judged_not:
        wanted = state.policy.take(queue.summary(now, without=judged_not))
        picked += queue.pick(wanted, admission, without=judged_not)
    picked = picked if room is None else picked[:room]
    count_of = Counter(each.group for each in picked)
    still = {group for group in owed if count_of[group] < queue.size(group)}
    return Flush(picked, still | admission.turned_away, drain=False, is_limited=True)


def is_held(state: State, now: datetime) -> bool:
    """Return whether sending pauses: a submission has just failed, or the budget is used up."""
    if state.till.is_short:
        return True
    until = state.held_until
    return until is not None and now < until <= now + state.interval  # a clock that was set back holds nothing


def wake_at(state: State, now: datetime) -> datetime | None:
    """Return when the next tick is due; `None` if only a request that arrives makes one due."""
    queue = state.opened()
    times = [flight.next_at for flight in state.flights]
    if state.paused:
        return min(times, default=None)
    has_home = any(not is_aside(group) for group in queue.groups)
    if has_home and _room_in(state.provider) == 0:
        times.append(now + first_pause(state.interval))  # where the provider sends no notifications
    elif has_home and not state.till.is_short:
        times += _flush_times(state, now)
    if (late_at := queue.late_at) is not None:
        times.append(late_at)
    times += priming.times(state, now)
    waited_for = {lane_of_group(group)[0] for group in queue.groups}
    for lane in state.ladder.others if state.ladder is not None else ():
        if lane.name not in waited_for:
            continue
        if state.till.is_short and not state.is_last(lane):
            continue
        times.append(now + first_pause(state.interval) if _room_in(lane.provider) == 0 else now)
    return min(times, default=None)


def batch_limits(state: State, lane: LadderLane | None = None) -> Limits:
    """Return what one batch may hold."""
    if lane is not None and lane.provider is not None:
        return cap(lane.limits or lane.provider.limits, state.policy.max_requests, None)
    own = None if state.ladder is None else state.ladder.home.limits
    return cap(own or state.provider.limits, state.policy.max_requests, state.policy.max_bytes)


def _flush_times(state: State, now: datetime) -> list[datetime]:
    queue = state.opened()
    admission = _admission(state, now)
    shut = {*filter(is_aside, queue.groups), *(admission.shut if admission else ())}
    is_owed = any(group not in shut for group in queue.groups) and (
        state.drain or any(group not in shut for group in state.owed.intersection(queue.groups))
    )
    due_at = now if is_owed else state.policy.due_at(queue.summary(now, without=shut))
    times = []
    if due_at is not None:
        times.append(max(due_at, state.held_until) if state.held_until and is_held(state, now) else due_at)
    if state.policy.when is not None:
        times.append(now + state.interval)
    if (room_at := state.quota_controller.wake_at(state.provider.limits, shut, now)) is not None:
        times.append(room_at)
    return times


def _admission(state: State, now: datetime) -> Admission | None:
    queue = state.opened()
    heads = {group: queue.head(group) for group in queue.groups if not is_aside(group)}
    return state.quota_controller.admission(
        state.provider.limits, batch_limits(state), heads, flights=state.flights.loads(), owed=state.owed, now=now
    )


def _room_in(provider: Provider | None) -> int | None:
    """Return how many requests a provider takes now; `None` is as many as there are."""
    room: int | None = getattr(provider, "room", None)
    return room if room is None else max(room, 0)


_ASIDE = Aside()
