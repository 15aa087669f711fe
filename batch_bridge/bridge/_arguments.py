"""The arguments of a `Bridge`, one function each: what was given in, what counts out. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any, Final

from langgraph_sdk.client import LangGraphClient

from batch_bridge._cache import ResponseCache
from batch_bridge._core.durations import FORMS, Within, duration, required
from batch_bridge._core.policy.flush_policy import FlushPolicy
from batch_bridge._core.policy.lanes import LaneName
from batch_bridge._core.policy.mode import resolve_ladder
from batch_bridge._core.policy.vendor_terms import VendorTerms
from batch_bridge._core.provider import Provider, has_identity
from batch_bridge._engine.deduplication import Deduplication
from batch_bridge._engine.telemetry import Telemetry
from batch_bridge._engine.waiting.ladder import Ladder
from batch_bridge._engine.waiting.tenants import TenantLimits
from batch_bridge._money import Budget, Prices
from batch_bridge._node.platform.client import Service
from batch_bridge.bridge._deadline import Deadline
from batch_bridge.bridge._ladder import check_lanes, deadline_of, ladder_of
from batch_bridge.bridge._mode_switch import AnyMode
from batch_bridge.providers._callables import CallableProvider, Find, Poll, Submit

_VERBS: Final = ("measure", "submit", "poll", "limits")
"""Attributes of every provider."""


def provider_of(given: Provider | None, submit: Submit | None, poll: Poll | None, find: Find | None) -> Provider:
    """Return the provider, or the one that the user's functions make."""
    if given is not None and (submit, poll, find) != (None, None, None):
        raise TypeError("Bridge got a provider and submit= or poll=; pass one or the other")
    if given is None:
        if submit is None or poll is None:
            raise TypeError(
                f"Bridge lacks {'submit=' if submit is None else 'poll='}; pass Bridge(submit=…, poll=…), or a "
                "provider such as Bridge(OpenAIBatch(…))"
            )
        return CallableProvider(submit, poll, find)
    if not is_provider(given):
        raise TypeError(
            f"Bridge({given!r}) is not a provider: it lacks measure, submit, poll or limits; for two functions "
            "write Bridge(submit=…, poll=…)"
        )
    return given


def name(given: object) -> str:
    """Return the name of a bridge."""
    if not isinstance(given, str) or not given or "." in given:
        raise ValueError(f"Bridge(name={given!r}): a name must be a non-empty string without dots")
    return given


def flush_policy(given: object) -> FlushPolicy:
    """Return when the queue is sent."""
    if not isinstance(given, FlushPolicy | None):
        raise TypeError(f"Bridge(flush={given!r}) is no policy; give flush=FlushPolicy(max_requests=…, max_age=…)")
    return given or FlushPolicy()


def poll_interval(given: object) -> timedelta:
    """Return the longest pause between two polls."""
    interval = required(given, "Bridge(poll_interval={given})")
    if interval <= timedelta(0):
        raise ValueError(f"Bridge(poll_interval={given!r}) would poll without a pause; give a positive one")
    return interval


def ladder(
    provider: Provider,
    lanes: Sequence[LaneName] | None,
    deadline: Deadline,
    fallback: Provider | None,
    *,
    mode: AnyMode,
    flush: FlushPolicy,
    terms: VendorTerms,
) -> Ladder | None:
    """Return the lanes that requests go to; `None` where nothing is ever late."""
    if fallback is not None and not is_provider(fallback):
        raise TypeError(f"fallback={fallback!r} is not a provider; pass one such as OpenAIBatch(…)")
    if lanes is None:
        return deadline_of(deadline, provider, fallback) if mode != "realtime" else None
    if fallback is not None:
        raise ValueError("Bridge(ladder=…, fallback=…): the last lane answers what is late; leave fallback= out")
    return ladder_of(provider, lanes, deadline, flush=flush, terms=terms)


def lanes(
    provider: Provider, ladder: Sequence[str] | None, mode: AnyMode | None, below: int | None
) -> tuple[LaneName, ...] | None:
    """Return the lanes of a bridge's ladder."""
    names = resolve_ladder(ladder, mode, what="Bridge")
    if names is None:
        return None
    if below is not None:
        raise ValueError(f'Bridge(realtime_below={below!r}) is for mode="auto", and there is a ladder')
    return check_lanes(provider, names, is_argument=ladder is not None, what="Bridge")


def service(client: object) -> Service | None:
    """Return how a server is called."""
    if client is None or callable(client) or isinstance(client, LangGraphClient):
        return client
    raise TypeError(
        f"Bridge(client={client!r}) is not a client of a LangGraph server; pass client=lambda user: get_client(url=…, "
        "headers=…) from langgraph_sdk, or such a client. A provider's client belongs to the provider"
    )


def linger(given: object) -> float | None:
    """Return the linger in seconds; `None` leaves it to the host."""
    seconds = None if given is None else required(given, "Bridge(linger={given})").total_seconds()
    if seconds is not None and seconds < 0:
        raise ValueError(f"Bridge(linger={given!r}) is negative; it must be 0 or more")
    return seconds


def poll_patience(given: Within) -> timedelta:
    """Return the patience of a batch in flight."""
    patience = duration(given, "poll_patience")
    if patience is None:
        raise ValueError(f"Bridge(poll_patience=None): give {FORMS}")
    return patience


def per_tenant(given: object) -> TenantLimits | None:
    """Return the limits of each tenant."""
    if not isinstance(given, TenantLimits | None):
        raise TypeError(f"Bridge(per_tenant={given!r}): pass per_tenant=TenantLimits(requests=…, bytes=…)")
    return given


def prices(given: object) -> Prices:
    """Return what tokens cost; without a word, what `genai-prices` knows."""
    if isinstance(given, Mapping):
        return Prices(given)
    if not isinstance(given, Prices | None):
        raise TypeError(f"Bridge(prices={given!r}): give prices=Prices({{model: Price(input=…, output=…)}})")
    return given or Prices()


def budget(what: str, given: object, prices: Prices) -> Budget | None:
    """Return the budget, in the currency of the prices."""
    if not isinstance(given, Budget | None):
        raise TypeError(f"{what}(budget={given!r}): give budget=Budget(usd=…)")
    if given is not None and given.is_priced and prices.currency != "USD":
        raise ValueError(
            f"{what}(budget=…) is in US dollars, and the prices of a bridge are in {prices.currency}: the two are not "
            "compared. Give Prices in USD, or leave Budget(usd=…, usd_per_thread=…) out"
        )
    return given


def telemetry(given: Any) -> Telemetry | None:
    """Return who traces."""
    if given is not None and not (hasattr(given, "ended") and hasattr(given, "figures")):
        raise TypeError(f"Bridge(telemetry={given!r}): pass batch_bridge.otel.Telemetry(), or nothing")
    telemetry: Telemetry | None = given
    return telemetry


def retention(given: object) -> timedelta:
    """Return how long outcomes are kept."""
    kept = required(given, "Bridge(retention={given})")
    if kept <= timedelta(0):
        raise ValueError(f"Bridge(retention={given!r}): give a positive duration")
    return kept


def is_provider(given: object) -> bool:
    """Return whether something has the methods of a provider."""
    return not isinstance(given, type) and all(hasattr(given, verb) for verb in _VERBS)


def attempts(given: object) -> int:
    """Return how often a request is sent."""
    if isinstance(given, bool) or not isinstance(given, int) or given < 1:
        raise ValueError(f"attempts={given!r} is not a positive integer; with 1 nothing is sent again")
    return given


def in_time(flush: FlushPolicy, ladder: Ladder | None) -> FlushPolicy:
    """Return a policy whose age leaves a batch half of the deadline, at least; one without an age stays so."""
    after, age = ladder.after if ladder is not None else None, flush.max_age
    return replace(flush, max_age=after / 2) if after and isinstance(age, timedelta) and age > after / 2 else flush


def deduplication(name: str, provider: Provider, cache: object, dedupe: object) -> Deduplication | None:
    """Return which requests share an answer; `None` if none do."""
    if not isinstance(cache, ResponseCache | None):
        raise TypeError(f"Bridge(cache={cache!r}) is not a cache; pass cache=ResponseCache(path)")
    if cache is not None and not isinstance(provider, CallableProvider) and not has_identity(provider):
        raise TypeError(
            f"Bridge({type(provider).__name__}(…), cache=…): this provider does not say what decides its answers; "
            "add a method identity(request) -> bytes to it, or omit the cache"
        )
    if not isinstance(dedupe, bool):
        raise TypeError(f"Bridge(dedupe={dedupe!r}): pass True or False")
    return Deduplication(name, provider, cache, dedupe=dedupe) if cache is not None or dedupe else None
