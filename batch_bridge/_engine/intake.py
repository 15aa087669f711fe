"""How a request gets in: measured, or refused before it costs anything. No I/O."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from batch_bridge._core.models import (
    Attempt,
    CachedPrefix,
    Errored,
    Expired,
    Intent,
    LineFrame,
    Measure,
    Outcome,
    Request,
    Serialized,
)
from batch_bridge._core.policy.batching import Waiting
from batch_bridge._core.policy.ladder import Rung, choose, leaves_at
from batch_bridge._core.policy.resubmission import DEADLINE
from batch_bridge._core.provider import HasTokens, conversations_of, has_tokens
from batch_bridge._core.wording import log_text as _logged
from batch_bridge._core.wording.log import about, logger_of
from batch_bridge._engine.flights.flight import Flight
from batch_bridge._engine.state import State, said
from batch_bridge._engine.waiting.ladder import Ladder, LadderLane, aside, lane_of_group
from batch_bridge.errors import RequestRefused

logger = logger_of(__name__)

CANCELLED: Final = "the request was cancelled on demand"
LATE_IN_QUEUE: Final = Expired("the deadline passed before the request was sent; it was not billed")
LATE_IN_FLIGHT: Final = Expired(
    "the deadline passed while the request was at the provider, and there is no fallback; it may have been billed. "
    "Set fallback= to a provider that answers late requests"
)


def judge(
    state: State, request: Request, asked_at: datetime, now: datetime, *, without: Collection[str] = ()
) -> Waiting | Errored | Expired:
    """Return a request as it is queued for the lane that suits it, or what it ends with if it is not.

    Args:
        state: The engine's.
        request: The request.
        asked_at: Since when a caller waits for it.
        now: The time.
        without: Lanes that it does not go to, besides those that it has left because it was late there.
    """
    ladder = state.ladder
    if ladder is None:
        return _measured(state, request, asked_at, None)
    attempts = state.ledger.attempts(request.id)
    left = {*without, *ladder.left_by(attempts)} if without or attempts else frozenset[str]()
    open_lanes = [lane for lane in ladder.lanes if lane.name not in left]
    if not open_lanes:
        if ladder.expires:
            return late(attempts)
        open_lanes = [ladder.lanes[-1]]
    return _placed(state, ladder, request, asked_at, now, open_lanes)


def _placed(  # noqa: PLR0917  # what `judge` knows
    state: State, ladder: Ladder, request: Request, asked_at: datetime, now: datetime, lanes: Sequence[LadderLane]
) -> Waiting | Errored:
    """Return a request as it is queued for one of several lanes; one that refuses it is passed over.

    If each of them does, it goes to one that it has left: a late answer is better than none.
    """
    after = ladder.time_of(request.deadline)
    left = None if after is None else asked_at + after - now
    if not ladder.chooses:
        return _in_turn(state, ladder, request, asked_at, now, lanes, left)
    judged = {lane.name: _measured(state, request, asked_at, lane) for lane in ladder.lanes}
    takers = [lane for lane in ladder.lanes if isinstance(judged[lane.name], Waiting)]
    if not takers:
        return judged[lanes[0].name]
    able = [lane for lane in takers if lane in lanes] or takers[-1:]
    rungs = [ladder.rung(lane, _group(judged[lane.name]), state.history) for lane in able]
    choice = choose(rungs, left)
    if not choice.meets:
        state.too_short[request.id] = choice.rung.name
    lane = next(each for each in able if each.name == choice.rung.name)
    chosen = judged[lane.name]
    if isinstance(chosen, Errored):
        return chosen
    before = ladder.left_by(state.ledger.attempts(request.id))
    barred = tuple(each.name for each in ladder.lanes if each not in takers or each.name in before)
    return _timed(ladder, chosen._replace(barred=barred), lane, rungs, now)


def _in_turn(  # noqa: PLR0917  # as `_placed`
    state: State,
    ladder: Ladder,
    request: Request,
    asked_at: datetime,
    now: datetime,
    lanes: Sequence[LadderLane],
    left: timedelta | None,
) -> Waiting | Errored:
    """Return a request as it is queued for the bridge's own lane, or for the fallback once it is late.

    If the fallback refuses it, it stays in the own lane for good.
    """
    lane, last = lanes[0], lanes[-1]
    barred: tuple[str, ...] = ()
    is_another = left is not None and last.provider is not None and not ladder.is_own  # else both refuse the same
    if is_another and isinstance(_measured(state, request, asked_at, last), Errored):
        lane = ladder.home
        lanes, left, barred = (lane,), None, (last.name,)
    if left is not None and left < timedelta(0):
        lane = last
    measured = _measured(state, request, asked_at, lane)
    if isinstance(measured, Errored):
        return measured
    return _timed(ladder, measured._replace(barred=barred), lane, [each.rung for each in lanes], now)


def requeued(state: State, waiting: Waiting, now: datetime) -> Waiting | None:
    """Return a request as it waits in the queue that another process has left; `None`: its lane is gone.

    Args:
        state: The engine's.
        waiting: The request as the ledger holds it.
        now: The time.
    """
    name, group = lane_of_group(waiting.group)
    ladder = state.ladder
    if ladder is None:
        return None if name else waiting
    attempts = state.ledger.attempts(waiting.id)
    if not (name or attempts or waiting.barred or waiting.deadline or ladder.after):
        return waiting  # it waits at home, and is never late: most do, and there may be very many
    left = ladder.left_by(attempts)
    lane = ladder.lane(name) if name else ladder.home
    lanes = [each for each in ladder.lanes if each.name not in left.union(waiting.barred)]
    if lane not in lanes or lane is None:
        return None
    rungs = [ladder.rung(each, group, state.history) for each in lanes]
    return _timed(ladder, waiting._replace(group=group), lane, rungs, min(waiting.queued_at, now))


def _timed(ladder: Ladder, waiting: Waiting, lane: LadderLane, rungs: Sequence[Rung], since: datetime) -> Waiting:
    """Return a request with the time at which it leaves its lane, if it still waits for it by then."""
    due_at, kind, group = ladder.due_at(waiting), ladder.kind(waiting), aside(lane, waiting.group)
    if due_at is None:
        return waiting._replace(group=group, kind=kind)
    here = next(rung for rung in rungs if rung.name == lane.name)
    others = [] if here is rungs[-1] else [rung for rung in rungs if rung is not here]
    is_at_once = ladder.chooses and not lane.is_pooled
    late_at = leaves_at(here, others, since=since, due_at=due_at, is_refused=is_at_once)
    if late_at is None and ladder.expires:
        late_at = due_at
    return waiting._replace(group=group, late_at=late_at, kind=kind)


def _group(judged: Waiting | Errored) -> str:
    return judged.group if isinstance(judged, Waiting) else ""


def late(attempts: Sequence[Attempt]) -> Expired:
    """Return what a request ends with that is late, and that no other lane answers."""
    was_sent = any(each.code == DEADLINE for each in attempts)
    return replace(LATE_IN_FLIGHT if was_sent else LATE_IN_QUEUE, attempts=tuple(attempts))


def _measured(state: State, request: Request, asked_at: datetime, lane: LadderLane | None) -> Waiting | Errored:
    """Return a request with its group and size in a lane, or why that lane refuses it."""
    who, is_home = state.answers_in(lane), lane is None or lane.provider is None
    try:
        measure = who.measure(request)
    except RequestRefused as error:
        return Errored(str(error), code=error.code, attempts=state.ledger.attempts(request.id))
    except Exception as error:  # a provider may be the user's code: its bug must not block other requests
        if state.notices.is_new(state.name, error):
            told = _logged.trace(error)
            logger.error(  # noqa: TRY400
                "%s: the provider cannot measure a request", state.name, exc_info=told, extra=about(bridge=state.name)
            )
        return Errored(said(error), code="measure_failed")
    if is_home and state.quota_controller.wants_sample(measure.group, who.limits) and has_tokens(who):
        _sample(state, who, request, measure)
    limit = who.limits.bytes
    if limit is not None and measure.bytes > limit:
        return Errored(
            f"the request is {measure.bytes:,} bytes long, but {state.name!r} accepts at most {limit:,}; "
            "send a smaller request",
            code="item_too_large",
        )
    if is_home and measure.line is not None and type(request) is Serialized:
        request.line = measure.line
    own = request.deadline if state.ladder is not None else None
    key = state.deduplication.key(request) if state.deduplication else ""
    prefix = measure.prefix if is_home else None
    return Waiting(
        request.id, measure.group, measure.bytes, asked_at, key, own, request.tenant, request.thread, prefix=prefix
    )


def judge_all(state: State, requests: Sequence[Request], now: datetime) -> list[Waiting | Errored | Expired]:
    """Return what `judge` returns for each of some requests that are asked now, and were never sent.

    Those that go where all go are judged together; one that differs is judged by itself.
    """
    ladder = state.ladder
    if ladder is not None and _asks_each(ladder):
        return [judge(state, request, now, now) for request in requests]
    usual = Waiting("", "", 0, now)
    if ladder is not None:
        usual = _timed(ladder, usual, ladder.lanes[0], [lane.rung for lane in ladder.lanes], now)
    late_at, kind = usual.late_at, usual.kind
    provider, notes_key = state.provider, state.deduplication is not None
    limits, conversation = provider.limits, conversations_of(provider)
    limit, measured, enough = limits.bytes, provider.measure, set[str]()
    found: list[Waiting | Errored | Expired] = []
    for request in requests:
        line: LineFrame | None
        prefix: CachedPrefix | None
        if conversation is not None and type(request) is Serialized and request.is_conversation:
            (line, group), prefix = conversation, None
            size = line.fixed + len(request.id) + len(request.data)
        else:
            try:
                group, size, line, prefix = measured(request)
            except Exception:  # noqa: BLE001  # it is told there
                found.append(judge(state, request, now, now))
                continue
        if group not in enough:
            if state.quota_controller.wants_sample(group, limits) and has_tokens(provider):
                _sample(state, provider, request, Measure(group, size))
            else:
                enough.add(group)
        if notes_key or (limit is not None and size > limit) or (ladder is not None and request.deadline is not None):
            found.append(judge(state, request, now, now))
            continue
        if line is not None and type(request) is Serialized:
            request.line = line
        fields = (request.id, group, size, now, "", None, request.tenant, request.thread, late_at, kind, prefix, ())
        found.append(tuple.__new__(Waiting, fields))  # as `Waiting(…)`, which takes twice as long
    return found


def _asks_each(ladder: Ladder) -> bool:
    """Return whether the lane of a request depends on the request, also if it has no deadline of its own."""
    is_another = ladder.lanes[-1].provider is not None and not ladder.is_own  # as in `_in_turn`
    return ladder.chooses or (ladder.after is not None and is_another)


def within_limits(state: State, accepted: Sequence[Waiting]) -> tuple[list[Waiting], dict[str, Outcome]]:
    """Return the requests that their tenants' limits let in, in order, and why each of the others is refused.

    A request that was sent before was let in then, by a process before this one.
    """
    limits = state.per_tenant
    if limits is None:
        return list(accepted), {}
    queue = state.opened()
    held: dict[str, tuple[int, int]] = {}
    entering: list[Waiting] = []
    refused: dict[str, Outcome] = {}
    over: Counter[str] = Counter()
    for each in accepted:
        count, size = held.get(each.tenant) or queue.held(each.tenant)
        why = None if state.ledger.attempts(each.id) else limits.judge(state.name, each, count, size)
        if why is None:
            entering.append(each)
            held[each.tenant] = (count + 1, size + each.bytes)
        else:
            refused[each.id] = why
            over[each.tenant] += 1
    for tenant, number in over.items():
        logger.warning(
            "%s: refused %d requests of %r, which exceed its limit",
            state.name,
            number,
            tenant,
            extra=about(bridge=state.name),
        )
    return entering, refused


def within_budget(
    state: State, accepted: Sequence[Waiting], requests: Mapping[str, Request]
) -> tuple[list[Waiting], dict[str, Outcome]]:
    """Return the requests that their threads may ask for still, in order, and why each of the others is refused.

    A request that was sent before is counted already.
    """
    if state.till.counts_nothing or not any([each.thread for each in accepted]):  # noqa: C419  # without a call for each
        return list(accepted), {}
    queue, entering = state.opened(), list[Waiting]()
    refused: dict[str, Outcome] = {}
    more: Counter[str] = Counter()
    for each in accepted:
        queued = queue.of_thread(each.thread) + more[each.thread]
        why = state.till.judge_count(each, requests[each.id].label, queued)
        if why is None or state.ledger.attempts(each.id):
            entering.append(each)
            more[each.thread] += 1
        else:
            refused[each.id] = why
    return entering, refused


def _sample(state: State, provider: HasTokens, request: Request, measure: Measure) -> None:
    try:
        tokens = provider.tokens(request)
    except Exception as error:  # noqa: BLE001  # as in `judge`; bytes will do
        if state.notices.is_new(f"{state.name} tokens", error):
            logger.warning(
                "%s: tokens cannot be counted: %s", state.name, _logged.said(error), extra=about(bridge=state.name)
            )
        tokens = None
    if tokens:
        state.quota_controller.sampled(measure.group, measure.bytes, tokens)


def asked_at(state: State, request: Request, since: datetime) -> datetime:
    """Return since when a request waits, which may have been late in a process before this one."""
    return min((each.asked_at for each in state.ledger.attempts(request.id) if each.asked_at), default=since)


def stand_by(state: State, flight: Flight, request: Request, now: datetime) -> bool:
    """Note that a caller waits for a request whose submission is in doubt; return whether that is new.

    If the submission turns out to have failed, it is queued again, or refused if it is too large by now.
    """
    if not isinstance(flight.batch, Intent) or request.id in flight.waiting:
        return False
    since = flight.batch.terms.asked_at if state.ladder is not None else None
    judged = judge(state, request, min(since or now, now), now)
    if isinstance(judged, Waiting):
        flight.waiting[request.id] = judged
        return True
    flight.refused[request.id] = judged
    return False
