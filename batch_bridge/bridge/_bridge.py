"""A bridge: a queue with a provider behind it. Nodes refer to it by `wait(…, batcher=…)`."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, cast

from langgraph.graph.state import CompiledStateGraph

from batch_bridge._cache import ResponseCache
from batch_bridge._core.durations import Duration, Within
from batch_bridge._core.models import JSON, Request
from batch_bridge._core.policy.batching import Waiting, cap, split
from batch_bridge._core.policy.flush_policy import FlushPolicy
from batch_bridge._core.policy.lanes import LaneName
from batch_bridge._core.policy.vendor_terms import VendorTerms, terms_for
from batch_bridge._core.provider import Provider, has_price, has_tokens
from batch_bridge._engine import POLL_PATIENCE, Engine, EngineSettings, Notices
from batch_bridge._engine.telemetry import Telemetry
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
from batch_bridge.bridge import _arguments
from batch_bridge.bridge._deadline import Deadline
from batch_bridge.bridge._flush_predicate import guarded
from batch_bridge.bridge._ladder import home_of
from batch_bridge.bridge._mode_switch import AnyMode, switch
from batch_bridge.events import Progress
from batch_bridge.providers._callables import Find, Poll, Submit

_LINGER = 0.2
_SHORT_LINGER = 0.01
"""Seconds in which arrivals are collected before they are stored together; the short one in realtime."""


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
        deadline: How long a request may take: a duration, or a `Deadline`, which also says what happens then. When the
            oldest of a batch is late, the batch is cancelled, and what it has not answered goes to the fallback, as
            what is queued still. Nothing waits for others longer than half of it: the flush policy's `max_age` is no
            more then. Without a fallback, a late request ends as `RequestExpired`, and may have been billed.
            With a `ladder` it is the time by which the answer must be there.
        fallback: The provider of late requests, in realtime if it has a realtime way. By default the provider
            itself, in realtime. Not with a `ladder`, whose last lane answers what is late.
        per_tenant: How much of one user of a LangGraph server may wait to be sent; what is over the limit ends as
            `RequestFailed` with the code `"tenant_limit"`. `None`: no limit. Users take turns in any case.
        prices: What tokens cost, where `genai-prices` does not know it, or knows it wrong; see `Prices`.
        budget: What may be spent through this bridge, and what one thread may ask for; see `Budget`. It counts
            for each Runner, Batcher or deployment that uses the bridge, by what its file or store remembers: two of
            them may spend it twice. Several bridges share one that the Runner is given.
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
        deadline: Deadline | Within = None,
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
        provider = _arguments.provider_of(provider, submit, poll, find)
        self._name = _arguments.name(name)
        policy = _arguments.flush_policy(flush)
        interval = _arguments.poll_interval(poll_interval)
        self._kind = type(provider).__name__
        terms = terms_for(provider, self._kind)
        self._lanes = _arguments.lanes(provider, ladder, mode, realtime_below)
        self._provider, policy, self._mode = switch(
            provider, policy, home_of(self._lanes) if self._lanes else mode, realtime_below, what="Bridge"
        )
        due = Deadline.of(deadline)
        rungs = _arguments.ladder(provider, self._lanes, due, fallback, mode=self._mode, flush=policy, terms=terms)
        self._flush = guarded(_arguments.in_time(policy, rungs), name)
        sends = _arguments.attempts(attempts)
        self._settings = EngineSettings(
            poll_interval=interval,
            poll_patience=_arguments.poll_patience(poll_patience),
            attempts=1 if self._mode in ("realtime", "flex") else sends,  # there, each call is repeated by itself
            ladder=rungs,
            deduplication=_arguments.deduplication(name, provider, cache, dedupe),
            per_tenant=_arguments.per_tenant(per_tenant),
            prices=_arguments.prices(prices),
            terms=terms,
            telemetry=_arguments.telemetry(telemetry),
        )
        self._budget = _arguments.budget("Bridge", budget, self.prices)
        self._notices = Notices()
        self._linger = _arguments.linger(linger)
        self._retention = _arguments.retention(retention)
        on_server = LINGER_ON_SERVER if self._linger is None else math.ceil(self._linger)
        self._access = Access(_arguments.service(client), on_server)
        self._hosts: dict[str, ServerHost] = {}
        self._delivery_limits = DELIVERY_LIMITS
        self._graph: CompiledStateGraph[Any, Any, Any, Any] | None = None
        self.__annotations__: dict[str, Any] = {}  # Aegra asks what it calls for its hints, as if it were a function

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
        return (self._provider, *(self._settings.ladder.providers if self._settings.ladder is not None else ()))

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
        return self._settings.ladder.after if self._settings.ladder is not None else None

    @property
    def terms(self) -> VendorTerms:
        """How long its provider works on a batch, and keeps its results."""
        return self._settings.terms

    @property
    def access(self) -> Access:
        """How it reaches the LangGraph server that it is deployed on."""
        return self._access

    @property
    def prices(self) -> Prices:
        """What tokens cost."""
        return self._settings.prices

    @property
    def budget(self) -> Budget | None:
        """What may be spent through it; `None` if no budget was given."""
        return self._budget

    @property
    def callbacks(self) -> Callbacks:
        """Its own callback, `on_event`, and where that runs."""
        return self._callbacks

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
        return self._settings.poll_interval

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
        lane = _quoted(self._mode)
        if self._settings.ladder is not None:
            lane = cast("Lane", self._settings.ladder.first(lane))
        return of_asks(asks, self.prices, vendor, batches=count, now=now, output_tokens=output_tokens, lane=lane)

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
            self._settings,
            notices=self._notices,
            quota_controller=quota_controller,
            purse=Purse(self._budget),
        )


def _quoted(mode: AnyMode) -> Lane:
    """Return the lane whose price a quote names beside that of realtime."""
    return "batch" if mode in ("auto", "realtime") else cast("Lane", mode)


def check_budget(given: object, bridges: Sequence[Bridge]) -> Budget | None:
    """Return the budget that bridges share.

    Raises:
        TypeError: It is not a budget, or one of the bridges has its own.
        ValueError: Prices are in another currency.
    """
    for bridge in bridges:
        _arguments.budget("Runner", given, bridge.prices)
        if given is not None and bridge.budget is not None:
            raise TypeError(
                f"Runner(budget=…) and Bridge(name={bridge.name!r}, budget=…): give one of them; the Runner's holds "
                "for all bridges together"
            )
    return given if isinstance(given, Budget) else None
