"""A bridge: a queue with a provider behind it. Nodes refer to it by `wait(…, batcher=…)`."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final, cast

from langgraph.graph.state import CompiledStateGraph
from langgraph_sdk.client import LangGraphClient

from batch_bridge._cache import ResponseCache
from batch_bridge._core.durations import FORMS, Duration, Within, duration, required
from batch_bridge._core.models import JSON, Request
from batch_bridge._core.policy.batching import Waiting, cap, split
from batch_bridge._core.policy.flush_policy import FlushPolicy
from batch_bridge._core.policy.lanes import LaneName
from batch_bridge._core.policy.mode import resolve_ladder
from batch_bridge._core.policy.vendor_terms import VendorTerms, terms_for
from batch_bridge._core.provider import Provider, has_identity, has_price, has_tokens
from batch_bridge._engine import POLL_PATIENCE, Engine, Notices
from batch_bridge._engine.deduplication import Deduplication
from batch_bridge._engine.telemetry import Telemetry
from batch_bridge._engine.waiting.ladder import Ladder, OnDeadline
from batch_bridge._engine.waiting.quota import QuotaController
from batch_bridge._engine.waiting.tenants import TenantLimits
from batch_bridge._host.callbacks import Callbacks, Listeners, OnEvent, listen
from batch_bridge._host.notify import Notifier, Notify, notifier
from batch_bridge._ledger.ledger import Ledger
from batch_bridge._money import Budget, Lane, Price, Prices, Purse, Quote, of_asks
from batch_bridge._node.platform.client import LINGER as LINGER_ON_SERVER
from batch_bridge._node.platform.client import Access, Service, introduce, introduce_built
from batch_bridge._node.platform.keys import KeyRing
from batch_bridge._server.delivery import DELIVERY_LIMITS
from batch_bridge._server.graph import build
from batch_bridge._server.port.threads import ThreadServer
from batch_bridge._server.tick import ServerHost
from batch_bridge.bridge._flush_predicate import guarded
from batch_bridge.bridge._ladder import check_lanes, deadline_of, home_of, ladder_of
from batch_bridge.bridge._mode_switch import AnyMode, switch
from batch_bridge.events import Progress
from batch_bridge.providers._callables import CallableProvider, Find, Poll, Submit

_LINGER = 0.2
_SHORT_LINGER = 0.01
"""Seconds in which arrivals are collected before they are stored together; the short one in realtime."""


_VERBS: Final = ("measure", "submit", "poll", "limits")
"""Attributes of every provider."""


class Bridge:
    """Pools the requests of many threads and sends them in batches.

    Give it a provider, or your own pair of functions::

        Bridge(OpenAIBatch(model="gpt-4o-mini"))
        Bridge(submit=submit, poll=poll)

    `submit(items) -> handle` gets the items in order and returns any JSON value. `poll(handle)` returns
    `None` while the batch runs, then a list of answers in the order of the items, or a dict from position to answer.
    The dict may also use the ids of the items, if they are dicts with a `"custom_id"` or an `"id"`. An exception as one
    element fails that request; a returned exception, or a raised `BatchFailed`, fails the batch. After any other
    exception of `poll` the batch stays in flight and is polled again (`poll_patience`). An invalid result is a
    `BadPollResultError`, which ends the run and leaves the batch in flight until `poll` is fixed.
    Both functions may be sync (then they run in a thread) or async. A bridge holds no connection and no state; a
    `Runner` drives it.

    Args:
        provider: Answers the requests; instead of `submit` and `poll`.
        submit: Sends a batch. With a second parameter it also gets the batch's key, for `find`.
        poll: Returns whether the batch has ended, and its results.
        find: `find(key) -> handle | None` tells, after a crash in the middle of `submit`, whether the batch was
            created. Without it the requests of that batch fail, because the bridge cannot find out.
        name: What `wait(…, batcher=…)` calls it. Also part of every stored key: a bridge that is renamed does not find
            its batches again.
        flush: When to send what has been pooled.
        poll_interval: The longest pause between two polls of one batch (a duration). The first polls
            come quicker; where webhooks tell of ends, the pauses are up to four times as long.
        poll_patience: How long a batch is left in flight while every look at it fails with an exception that `poll`, or
            `find`, has raised (a duration); after that its requests fail, though they may have been
            billed. Hours in which no process looks do not count. A provider that says that it is out of reach
            (`ProviderUnavailable`, as the bundled ones do) is waited for.
        cache: Answers requests that were answered before. See `ResponseCache`.
        dedupe: Send equal requests as one line, and deliver the answer to each; one that comes while its equal is in
            flight joins it. The k-th equal wait of one
            execution of a node shares with the k-th of others, never with its own siblings, so it gets its own sample.
        mode: `"batch"`; `"realtime"` answers each request immediately by a call of its own, at full price, while
            threads still park and are resumed; `"auto"` does so for batches of fewer than `realtime_below`
            requests. `"flex"` answers by calls of the flex tier, at half the price, in minutes;
            `"window:2h"` and `"window:8h"` by stored responses in the background, 30 % and 40 % off. See
            `provider.lanes` for the lanes that a provider has. `None` uses `BATCH_BRIDGE_MODE` in the environment, or
            `"batch"`.
        realtime_below: For `"auto"`.
        ladder: Several lanes instead of one mode, such as `["batch", "window:2h", "flex", "realtime"]`, from the
            patient to the quick. Each request starts in the cheapest lane that can still meet its deadline, by what the
            lane promises or by how long it took before, and moves on when that lane runs late or has no capacity. One
            that no lane can answer in time goes to the last lane, and a `DeadlineTooShort` event tells of it. `None`:
            several lanes in `BATCH_BRIDGE_MODE`, with commas between them, or the one of `mode`.
        client: On a LangGraph server whose threads belong to users: `lambda user: get_client(url=…, headers=…)`, which
            returns a `langgraph_sdk` client of that user, whose threads it resumes, and for `None` one of a service
            that may read all threads. Or a client of the service, or `lambda: …`, which names the user that it
            resumes a thread for in a header that the authentication handler has to check. Without it the server is
            called in-process, as the user whose run it is.
        linger: How long arrivals gather before they are looked at together (a duration). `None`: 0.2
            seconds in a Runner, 0.01 in realtime, one second on a server, where it is rounded up to whole seconds.
        retention: On a server: how long an outcome is kept whose thread has not ended, and a batch's summary.
        attempts: How often a request is sent in all, while what it ends with may pass: it expired, never ran, or was
            answered with 429 or 5xx. It goes into the next batch then; `RequestError.attempts` tells what was
            tried. `1` sends nothing twice. Requests that a provider has not queued, because too many tokens waited
            there, are sent again without counting. In realtime each call is repeated by itself instead.
        deadline: How long a request may take (a duration). When the oldest of a batch is late, the
            batch is cancelled, and what it has not answered goes to the fallback, as what is queued still. Nothing
            waits for others longer than half of it: the flush policy's `max_age` is no more then. Without a
            fallback, a late request ends as `RequestExpired`, and may have been billed.
            With a `ladder` it is the time by which the answer must be there.
        on_deadline: `"wait_for_cancel"` waits until the provider tells what was done before the cancellation (OpenAI:
            up to ten minutes), and pays nothing twice. `"pay_again"` sends all of it to the fallback at once, and
            counts what the batch has answered all the same in `Report.paid_twice`. A pair cannot cancel: for it the
            second is done whatever is said here. In a `ladder` a batch is stopped early enough for the next lane; what
            it has not told by that lane's last chance moves on. An answer that arrives all the same is kept.
        fallback: The provider of late requests, in realtime if it has a realtime way. By default the provider
            itself, in realtime. Not with a `ladder`, whose last lane answers what is late.
        per_tenant: How much of one user of a LangGraph server may wait to be sent; what is over the limit ends as
            `RequestFailed` with the code `"tenant_limit"`. `None`: no limit. Users take turns in any case.
        prices: What tokens cost, where `genai-prices` does not know it, or knows it wrong; see `Prices`.
        budget: What may be spent through this bridge, and what one thread may ask for; see `Budget`. Several bridges
            share one that the Runner is given.
        telemetry: Traces and metrics for OpenTelemetry: `batch_bridge.otel.Telemetry()`. `None`: none, at no cost.
        on_event: Called with each `Event` of this bridge, in the process in which it happens: by a Runner, besides the
            Runner's own; on a LangGraph server by whatever worker runs the tick. See `batch_bridge.events`. It may be
            async; what it raises is logged once, and harms nothing.
        callback_workers: Threads that it runs in; `0`: on the event loop, which it must not block.
        notify: A URL of apprise, or several, to which a notice goes when something has ended or stands still: on a
            LangGraph server and in a Batcher each batch, in a Runner each run, in Jobs each job. It needs the extra
            `notify`.

    Raises:
        TypeError: Neither or both of a provider and functions were given, or an argument has the wrong type.
        ValueError: The name is empty, the interval is not positive, or a mode or lane is unknown, or none of the
            provider.
    """

    def __init__(
        self,
        provider: Provider | None = None,
        *,
        submit: Submit | None = None,
        poll: Poll | None = None,
        find: Find | None = None,
        name: str = "bridge",
        flush: FlushPolicy | None = None,
        poll_interval: Duration = 30,
        poll_patience: Within = POLL_PATIENCE,
        cache: ResponseCache | None = None,
        dedupe: bool = False,
        mode: AnyMode | None = None,
        realtime_below: int | None = None,
        ladder: Sequence[LaneName] | None = None,
        client: Service | None = None,
        linger: Within = None,
        retention: Duration = timedelta(days=7),
        attempts: int = 3,
        deadline: Within = None,
        on_deadline: OnDeadline = "wait_for_cancel",
        fallback: Provider | None = None,
        per_tenant: TenantLimits | None = None,
        prices: Prices | Mapping[str, Price] | None = None,
        budget: Budget | None = None,
        telemetry: Telemetry | None = None,
        on_event: OnEvent | None = None,
        callback_workers: int = 0,
        notify: Notify | None = None,
    ) -> None:
        self._callbacks = Callbacks(on_event=on_event, workers=callback_workers)
        self._callbacks.check("Bridge")
        self._notifier = notifier(notify, "Bridge")
        if provider is not None and (submit, poll, find) != (None, None, None):
            raise TypeError("Bridge got a provider and submit= or poll=; pass one or the other")
        if provider is None:
            if submit is None or poll is None:
                raise TypeError(
                    f"Bridge lacks {'submit=' if submit is None else 'poll='}; pass Bridge(submit=…, poll=…), or a "
                    "provider such as Bridge(OpenAIBatch(…))"
                )
            provider = CallableProvider(submit, poll, find)
        elif not _is_provider(provider):
            raise TypeError(
                f"Bridge({provider!r}) is not a provider: it lacks measure, submit, poll or limits; for two functions "
                "write Bridge(submit=…, poll=…)"
            )
        if not isinstance(name, str) or not name or "." in name:
            raise ValueError(f"Bridge(name={name!r}): a name must be a non-empty string without dots")
        if flush is not None and not isinstance(flush, FlushPolicy):
            raise TypeError(f"Bridge(flush={flush!r}) is no policy; give flush=FlushPolicy(max_requests=…, max_age=…)")
        interval = required(poll_interval, "Bridge(poll_interval={given})")
        if interval <= timedelta(0):
            raise ValueError(f"Bridge(poll_interval={poll_interval!r}) would poll without a pause; give a positive one")
        self._kind = type(provider).__name__
        self._telemetry = _telemetry(telemetry)
        self._terms = terms_for(provider, self._kind)
        self._lanes = _lanes(provider, ladder, mode, realtime_below)
        self._provider, self._flush, self._mode = switch(
            provider,
            flush or FlushPolicy(),
            home_of(self._lanes) if self._lanes else mode,
            realtime_below,
            what="Bridge",
        )
        self._ladder = self._ladder_of(provider, deadline, on_deadline, fallback)
        repeats = _attempts(attempts)
        self._attempts = repeats if self._mode not in ("realtime", "flex") else 1  # each call is repeated by itself
        self._flush = _in_time(self._flush, self._ladder)
        self._flush = guarded(self._flush, name)
        self._name = name
        self._poll_interval = interval
        self._poll_patience = _patience(poll_patience)
        self._per_tenant = _per_tenant(per_tenant)
        self._prices = _prices(prices)
        self._budget = _budget("Bridge", budget, self._prices)
        self._notices = Notices()
        self._deduplication = _deduplication(name, provider, cache, dedupe)
        self._linger = _seconds(linger)
        self._retention = _positive(retention)
        self._access = Access(_service(client), LINGER_ON_SERVER if self._linger is None else math.ceil(self._linger))
        self._hosts: dict[str, ServerHost] = {}
        self._delivery_limits = DELIVERY_LIMITS
        self._graph: CompiledStateGraph[Any, Any, Any, Any] | None = None
        self.__annotations__: dict[str, Any] = {}  # Aegra asks what it calls for its hints, as if it were a function

    def _ladder_of(
        self, provider: Provider, deadline: object, policy: OnDeadline, fallback: Provider | None
    ) -> Ladder | None:
        """Return the lanes that requests go to; `None` where nothing is ever late."""
        if fallback is not None and not _is_provider(fallback):
            raise TypeError(f"fallback={fallback!r} is not a provider; pass one such as OpenAIBatch(…)")
        if not self._lanes:
            within = deadline_of(deadline, policy, provider, fallback)
            return within if self._mode != "realtime" else None
        if fallback is not None:
            raise ValueError("Bridge(ladder=…, fallback=…): the last lane answers what is late; leave fallback= out")
        return ladder_of(provider, self._lanes, deadline, policy, flush=self._flush, terms=self._terms)

    def __repr__(self) -> str:
        if self._lanes:
            return f"Bridge({self._kind}, name={self._name!r}, ladder={list(self._lanes)!r})"
        mode = "" if self._mode == "batch" else f", mode={self._mode!r}"
        return f"Bridge({self._kind}, name={self._name!r}{mode})"

    @property
    def name(self) -> str:
        """The name for `wait(…, batcher=…)`."""
        return self._name

    @property
    def kind(self) -> str:
        """The name of the provider's class."""
        return self._kind

    @property
    def provider(self) -> Provider:
        """The provider, in the bridge's mode."""
        return self._provider

    @property
    def providers(self) -> tuple[Provider, ...]:
        """The provider, and the providers of other lanes and of late requests."""
        return (self._provider, *(self._ladder.providers if self._ladder is not None else ()))

    @property
    def mode(self) -> AnyMode:
        """How requests are answered."""
        return self._mode

    @property
    def ladder(self) -> tuple[LaneName, ...] | None:
        """The lanes that requests move through; `None` if it has one lane, and perhaps a fallback."""
        return self._lanes

    @property
    def deadline(self) -> timedelta | None:
        """How long a request without its own deadline may take."""
        return self._ladder.after if self._ladder is not None else None

    @property
    def terms(self) -> VendorTerms:
        """How long its provider works on a batch, and keeps its results."""
        return self._terms

    @property
    def access(self) -> Access:
        """How it reaches the LangGraph server that it is deployed on."""
        return self._access

    @property
    def prices(self) -> Prices:
        """What tokens cost."""
        return self._prices

    @property
    def budget(self) -> Budget | None:
        """What may be spent through it; `None` if no budget was given."""
        return self._budget

    @property
    def notifier(self) -> Notifier | None:
        """Who sends notices; `None` if none are wanted."""
        return self._notifier

    @property
    def linger(self) -> float:
        """Seconds in which arrivals are collected before they are handled together."""
        if self._linger is not None:
            return self._linger
        return _LINGER if self._mode in ("batch", "auto") else _SHORT_LINGER

    @property
    def flush(self) -> FlushPolicy:
        """When its queue is sent, in the bridge's mode."""
        return self._flush

    @property
    def poll_interval(self) -> timedelta:
        """The longest pause between two polls of one batch."""
        return self._poll_interval

    def quote(self, items: Iterable[JSON], *, output_tokens: int | None = None) -> Quote:
        """Return what items will come to, without sending anything; see `Batcher.quote`.

        Args:
            items: What would be sent, as JSON.
            output_tokens: What one answer is likely to hold.

        Raises:
            RequestRefused: An item is no request.
            TypeError: The provider does not say what it reads of a request.
        """
        if not has_price(self._provider):
            raise TypeError(f"{self!r} cannot be quoted: its provider does not say what a request asks; see HasPrice")
        waiting, asks = [], []
        now = datetime.now(UTC)
        for number, item in enumerate(items):
            request = Request(f"{number:032x}", "", item)
            measure = self._provider.measure(request)
            waiting.append(Waiting(request.id, measure.group, measure.bytes, now))
            ask = self._provider.ask(request)
            counted = self._provider.tokens(request) if has_tokens(self._provider) else None
            asks.append(ask if counted is None else replace(ask, tokens=counted))
        limits = cap(self._provider.limits, self._flush.max_requests, self._flush.max_bytes)
        count = sum(1 for _ in split(waiting, limits))
        vendor = self._provider.vendor
        lane = _quoted(self._mode) if self._ladder is None else cast("Lane", self._ladder.first(_quoted(self._mode)))
        return of_asks(asks, self._prices, vendor, batches=count, now=now, output_tokens=output_tokens, lane=lane)

    def __call__(self) -> CompiledStateGraph[Any, Any, Any, Any]:
        """Return the bridge's graph for a LangGraph server, which calls this for `langgraph.json`."""
        if self._graph is None:
            introduce_built(self._name, self._access)
            self._graph = build(self._host, self._name)
        return self._graph

    def _host(self, graph_id: str) -> ServerHost:
        if graph_id not in self._hosts:
            introduce(graph_id, self._access)
            self._hosts[graph_id] = ServerHost(
                graph_id,
                self.engine,
                self._access,
                self._retention,
                listeners=self.listen(),
                notifier=self._notifier,
                delivery=self._delivery_limits,
            )
        return self._hosts[graph_id]

    def lifespan(self, *, dsn: str | None = None) -> Callable[[Any], AbstractAsyncContextManager[None]]:
        """Return the lifespan of an `http.app` of Aegra, in which this bridge is ticked for.

        ::

            app = FastAPI(lifespan=bridge.lifespan())       # aegra.json: "http": {"app": "./app.py:app"}

        Each process of Aegra may tick, and one of them does. See `docs/aegra.md`.

        Args:
            dsn: Aegra's database, where it is not the one of its settings: past a pooler that shares sessions, say.
        """
        from batch_bridge.bridge._ticking import ticking  # noqa: PLC0415  # only servers need it

        return lambda app: ticking(self, dsn=dsn, app=app)

    def host_in(
        self, name: str, server: ThreadServer, *, key_ring: KeyRing | None = None, notifies: bool = False
    ) -> ServerHost:
        """Return a host of this bridge for a server of threads that is no LangGraph server.

        Args:
            name: What the bridge is called there.
            server: Runs the threads.
            key_ring: The deployment's keys, where the server has to know them too.
            notifies: Whether a notice is sent when a batch has ended, if the bridge has a notifier.
        """
        return ServerHost(
            name,
            self.engine,
            Access(),
            self._retention,
            listeners=self.listen(),
            notifier=self._notifier if notifies else None,
            server=server,
            key_ring=key_ring,
        )

    def listen(self) -> Listeners | None:
        """Return the listeners of this bridge's own callback, for its host; `None` if it has none."""
        return listen(self._callbacks, lambda: Progress(0, None, 0, 0, 0))

    def engine(
        self,
        ledger: Ledger,
        name: str | None = None,
        *,
        provider: Provider | None = None,
        quota_controller: QuotaController | None = None,
    ) -> Engine:
        """Return an engine for this bridge over a ledger; its host holds the mutex.

        Args:
            ledger: Stores what must survive a crash.
            name: The bridge's name at its host, if it differs from its own.
            provider: The bridge's provider, as wrapped by its host.
            quota_controller: What another engine of this bridge has learned about the provider's quotas.
        """
        return Engine(
            name or self._name,
            self._provider if provider is None else provider,
            self._flush,
            ledger,
            poll_interval=self._poll_interval,
            deduplication=self._deduplication,
            attempts=self._attempts,
            ladder=self._ladder,
            poll_patience=self._poll_patience,
            per_tenant=self._per_tenant,
            notices=self._notices,
            quota_controller=quota_controller,
            prices=self._prices,
            terms=self._terms,
            telemetry=self._telemetry,
            purse=Purse(self._budget),
        )


def _lanes(
    provider: Provider, ladder: Sequence[str] | None, mode: AnyMode | None, below: int | None
) -> tuple[LaneName, ...] | None:
    """Return the lanes of a bridge's ladder."""
    names = resolve_ladder(ladder, mode, what="Bridge")
    if names is None:
        return None
    if below is not None:
        raise ValueError(f'Bridge(realtime_below={below!r}) is for mode="auto", and there is a ladder')
    return check_lanes(provider, names, is_argument=ladder is not None, what="Bridge")


def _quoted(mode: AnyMode) -> Lane:
    """Return the lane whose price a quote names beside that of realtime."""
    return "batch" if mode in ("auto", "realtime") else cast("Lane", mode)


def _service(client: object) -> Service | None:
    if client is None or callable(client) or isinstance(client, LangGraphClient):
        return client
    raise TypeError(
        f"Bridge(client={client!r}) is not a client of a LangGraph server; pass client=lambda user: get_client(url=…, "
        "headers=…) from langgraph_sdk, or such a client. A provider's client belongs to the provider"
    )


def _seconds(linger: object) -> float | None:
    seconds = None if linger is None else required(linger, "Bridge(linger={given})").total_seconds()
    if seconds is not None and seconds < 0:
        raise ValueError(f"Bridge(linger={linger!r}) is negative; it must be 0 or more")
    return seconds


def _patience(given: Within) -> timedelta:
    patience = duration(given, "poll_patience")
    if patience is None:
        raise ValueError(f"Bridge(poll_patience=None): give {FORMS}")
    return patience


def _per_tenant(given: object) -> TenantLimits | None:
    if not isinstance(given, TenantLimits | None):
        raise TypeError(f"Bridge(per_tenant={given!r}): pass per_tenant=TenantLimits(requests=…, bytes=…)")
    return given


def _prices(given: object) -> Prices:
    if isinstance(given, Mapping):
        return Prices(given)
    if not isinstance(given, Prices | None):
        raise TypeError(f"Bridge(prices={given!r}): give prices=Prices({{model: Price(input=…, output=…)}})")
    return given or Prices()


def _budget(what: str, given: object, prices: Prices) -> Budget | None:
    if not isinstance(given, Budget | None):
        raise TypeError(f"{what}(budget={given!r}): give budget=Budget(usd=…)")
    if given is not None and given.is_priced and prices.currency != "USD":
        raise ValueError(
            f"{what}(budget=…) is in US dollars, and the prices of a bridge are in {prices.currency}: the two are not "
            "compared. Give Prices in USD, or leave Budget(usd=…, usd_per_thread=…) out"
        )
    return given


def check_budget(given: object, bridges: Sequence[Bridge]) -> Budget | None:
    """Return the budget that bridges share.

    Raises:
        TypeError: It is not a budget, or one of the bridges has its own.
        ValueError: Prices are in another currency.
    """
    for bridge in bridges:
        _budget("Runner", given, bridge.prices)
        if given is not None and bridge.budget is not None:
            raise TypeError(
                f"Runner(budget=…) and Bridge(name={bridge.name!r}, budget=…): give one of them; the Runner's holds "
                "for all bridges together"
            )
    return given if isinstance(given, Budget) else None


def _telemetry(given: Any) -> Telemetry | None:
    if given is not None and not (hasattr(given, "ended") and hasattr(given, "figures")):
        raise TypeError(f"Bridge(telemetry={given!r}): pass batch_bridge.otel.Telemetry(), or nothing")
    telemetry: Telemetry | None = given
    return telemetry


def _positive(retention: object) -> timedelta:
    kept = required(retention, "Bridge(retention={given})")
    if kept <= timedelta(0):
        raise ValueError(f"Bridge(retention={retention!r}): give a positive duration")
    return kept


def _is_provider(given: object) -> bool:
    return not isinstance(given, type) and all(hasattr(given, verb) for verb in _VERBS)


def _attempts(attempts: object) -> int:
    if isinstance(attempts, bool) or not isinstance(attempts, int) or attempts < 1:
        raise ValueError(f"attempts={attempts!r} is not a positive integer; with 1 nothing is sent again")
    return attempts


def _in_time(flush: FlushPolicy, ladder: Ladder | None) -> FlushPolicy:
    """Return a policy whose age leaves a batch half of the deadline, at least; one without an age stays so."""
    after, age = ladder.after if ladder is not None else None, flush.max_age
    return replace(flush, max_age=after / 2) if after and isinstance(age, timedelta) and age > after / 2 else flush


def _deduplication(name: str, provider: Provider, cache: object, dedupe: object) -> Deduplication | None:
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
