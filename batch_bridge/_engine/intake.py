"""How a request gets in: measured, or refused before it costs anything. No I/O."""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

from batch_bridge._core.models import Errored, Intent, LineFrame, Measure, Outcome, Request, Serialized
from batch_bridge._core.policy.batching import Waiting
from batch_bridge._core.provider import HasTokens, Provider, conversations_of, has_tokens
from batch_bridge._core.wording import log_text as _logged
from batch_bridge._core.wording.log import about, logger_of
from batch_bridge._engine.flights.flight import Flight
from batch_bridge._engine.state import State, said
from batch_bridge.errors import RequestRefused

logger = logger_of(__name__)

CANCELLED: Final = "the request was cancelled on demand"


def judge(state: State, request: Request, asked_at: datetime, provider: Provider | None = None) -> Waiting | Errored:
    """Return a request as it is queued, or why it is refused.

    Args:
        state: The engine's.
        request: The request.
        asked_at: Since when somebody waits for it.
        provider: Who is to answer it, if not the engine's provider.
    """
    who = provider or state.provider
    try:
        measure = who.measure(request)
    except RequestRefused as error:
        return Errored(str(error), code=error.code)
    except Exception as error:  # a provider is somebody's code: it must not stand in others' way
        if state.notices.is_new(state.name, error):
            told = _logged.trace(error)
            logger.error(  # noqa: TRY400
                "%s: the provider cannot measure a request", state.name, exc_info=told, extra=about(bridge=state.name)
            )
        return Errored(said(error), code="measure_failed")
    if provider is None and state.quota_controller.wants_sample(measure.group, who.limits) and has_tokens(who):
        _sample(state, who, request, measure)
    limit = who.limits.bytes
    if limit is not None and measure.bytes > limit:
        return Errored(
            f"the request is {measure.bytes:,} bytes long, but {state.name!r} accepts at most {limit:,}; "
            "send a smaller request",
            code="item_too_large",
        )
    if measure.line is not None and type(request) is Serialized:
        request.line = measure.line
    own = request.deadline if state.deadline is not None else None
    key = state.deduplication.key(request) if state.deduplication else ""
    return Waiting(request.id, measure.group, measure.bytes, asked_at, key, own, request.tenant, request.thread)


def judge_all(state: State, requests: Sequence[Request], now: datetime) -> list[Waiting | Errored]:
    """Return what `judge` returns for each of some requests that nobody has asked for before."""
    provider, notes_key = state.provider, state.deduplication is not None
    limits, conversation = provider.limits, conversations_of(provider)
    limit, measured, enough = limits.bytes, provider.measure, set[str]()
    has_deadlines = state.deadline is not None
    found: list[Waiting | Errored] = []
    for request in requests:
        line: LineFrame | None
        if conversation is not None and type(request) is Serialized and request.is_whole_conversation:
            line, group = conversation
            size = line.fixed + len(request.id) + len(request.data)
        else:
            try:
                group, size, line = measured(request)
            except Exception:  # noqa: BLE001  # it is told there
                found.append(judge(state, request, now))
                continue
        if group not in enough:
            if state.quota_controller.wants_sample(group, limits) and has_tokens(provider):
                _sample(state, provider, request, Measure(group, size))
            else:
                enough.add(group)
        if notes_key or (limit is not None and size > limit):
            found.append(judge(state, request, now))
            continue
        if line is not None and type(request) is Serialized:
            request.line = line
        own = request.deadline if has_deadlines else None
        found.append(Waiting(request.id, group, size, now, "", own, request.tenant, request.thread))
    return found


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
        why = None if state.ledger.tries(each.id) else limits.judge(state.name, each, count, size)
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
    if state.till.counts_nothing or not any(each.thread for each in accepted):
        return list(accepted), {}
    queue, entering = state.opened(), list[Waiting]()
    refused: dict[str, Outcome] = {}
    more: Counter[str] = Counter()
    for each in accepted:
        queued = queue.of_thread(each.thread) + more[each.thread]
        why = state.till.judge_count(each, requests[each.id].label, queued)
        if why is None or state.ledger.tries(each.id):
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


def asked_at(state: State, request: Request, since: datetime, now: datetime) -> datetime:
    """Return since when a request waits, which may have been late in a process before this one."""
    tries = state.ledger.tries(request.id)
    return state.deadline.asked_at(request.deadline, tries, since, now) if state.deadline and tries else since


def stand_by(state: State, flight: Flight, request: Request, now: datetime) -> bool:
    """Note that somebody waits for a request whose submission is in doubt; return whether that is new.

    If the submission turns out to have failed, it is queued again, or refused if it is too large by now.
    """
    if not isinstance(flight.batch, Intent) or request.id in flight.waiting:
        return False
    since = flight.batch.terms.asked_at if state.deadline is not None else None
    judged = judge(state, request, min(since or now, now))
    if isinstance(judged, Waiting):
        flight.waiting[request.id] = judged
        return True
    flight.refused[request.id] = judged
    return False
