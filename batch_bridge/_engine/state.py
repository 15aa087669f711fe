"""What the rooms of one engine share: settings, the queue, the batches on their way, and pending reports."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TypeVar

from batch_bridge import events
from batch_bridge._core import clock as _clock
from batch_bridge._core import outcomes as _outcome
from batch_bridge._core.models import JSON, Closed, Intent, Outcome, Request, SubmittedBatch
from batch_bridge._core.policy.batching import Waiting
from batch_bridge._core.policy.flush_policy import FlushPolicy
from batch_bridge._core.policy.vendor_terms import VendorTerms
from batch_bridge._core.provider import Provider
from batch_bridge._core.wording import log_text as _logged
from batch_bridge._core.wording.log import about, logger_of
from batch_bridge._engine.deduplication import Deduplication
from batch_bridge._engine.flights.flight import LONGEST_PAUSE, Flight, first_pause
from batch_bridge._engine.flights.history import History
from batch_bridge._engine.flights.in_flight import Flights
from batch_bridge._engine.flights.notices import Notices
from batch_bridge._engine.flights.poll_pace import PollPace
from batch_bridge._engine.flights.watch import BatchWatch
from batch_bridge._engine.settings import EngineSettings
from batch_bridge._engine.spending import Till, mode_of, vendor_of
from batch_bridge._engine.standstill import Standstill
from batch_bridge._engine.telemetry import Figures, Telemetry, Totals, row_of, trace_of
from batch_bridge._engine.waiting.ladder import Ladder, LadderLane, lane_of_group
from batch_bridge._engine.waiting.queue import Queue
from batch_bridge._engine.waiting.quota import QuotaController
from batch_bridge._engine.waiting.tenants import TenantLimits
from batch_bridge._engine.waiting.turns import Turns
from batch_bridge._ledger.ledger import Ledger
from batch_bridge._money import Account, Prices, Purse
from batch_bridge.errors import ProviderError, ProviderUnavailable

logger = logger_of(__name__)

T = TypeVar("T")
_SIDE_BY_SIDE = 4
"""Batches that are looked after at the same time."""
_LONGEST_WRITTEN = timedelta(days=1)
"""How long it is remembered that a prefix was written; no provider keeps one for longer."""
_MOMENT = timedelta(seconds=5)
"""How long a process owns a bridge for certain that was found to own it."""
_LOOKS = 3
"""How often that is looked up at most where the answer takes longer: the process has slept, or its store is slow."""
_LONGEST_HOLD = 64
"""Poll intervals that a group is left alone at the longest, after its batches were refused for want of room."""


@dataclass(slots=True)
class State:
    """One engine's state. The first four attributes are as `Engine` describes them.

    Attributes:
        settings: As the engine's bridge decided them. They stand beside it one by one: `interval` (`poll_interval`),
            `poll_patience`, `attempts`, `ladder`, `deduplication`, `per_tenant`, `prices`, `terms`, `telemetry`.
        queue: What waits to be sent; `None` until the engine is opened.
        flights: The batches that have been begun and not closed.
        quota_controller: Keeps them to the provider's quotas.
        turns: Whose turn it is among tenants. It outlives the queue.
        handles: What providers have called batches, by our key, until that is written down. It outlives a ledger that
            could not be written: no other place may know them.
        settled: Requests that received an outcome since the last report to the host.
        unreleased: Batches that are closed, and whose input and results the provider still keeps for us.
        too_short: Requests that no lane can answer in time, with the lane that they go to, since that was told last.
        moves: Requests that have gone from one lane to another since that was told last.
        drain: All that waits is due, whatever the policy says.
        owed: Groups of which something is due, and waits for room.
        held: Groups of the queue that wait until their prefix is in the provider's cache, with when that ends at last.
        written: When it was seen that a prefix is in the provider's cache, by its key. It outlives the queue.
        held_until: Nothing is sent before that.
        paused: Whether sending waits for a command; batches on their way are still collected.
        hold: How long the next hold is.
        till: What may be spent, and what was used.
        totals: What it has done, for telemetry.
        history: How long batches took that have ended.
        watch: Reports what makes no progress.
        notices: What has been said in the log already.
        standstill: Whether any bridge of the host gets on.
        last_error: As in `Engine`, as the three hooks.
        checked_at: When it was looked up the last time whether this process owns the bridge.
        tells_cost: Events of batches that have ended tell what they have cost.
    """

    name: str
    provider: Provider
    policy: FlushPolicy
    ledger: Ledger
    settings: EngineSettings
    interval: timedelta = field(init=False)
    poll_patience: timedelta = field(init=False)
    attempts: int = field(init=False)
    ladder: Ladder | None = field(init=False)
    deduplication: Deduplication | None = field(init=False)
    per_tenant: TenantLimits | None = field(init=False)
    prices: Prices = field(init=False)
    terms: VendorTerms = field(init=False)
    telemetry: Telemetry | None = field(init=False)
    till: Till = field(init=False)
    totals: Totals = field(default_factory=Totals)
    history: History = field(default_factory=History)
    watch: BatchWatch = field(init=False)
    pace: PollPace = field(init=False)
    notices: Notices = field(default_factory=Notices)
    standstill: Standstill = field(default_factory=Standstill)
    queue: Queue | None = None
    flights: Flights = field(default_factory=Flights)
    quota_controller: QuotaController = field(init=False)
    turns: Turns = field(default_factory=Turns)
    handles: dict[str, JSON] = field(default_factory=dict)
    settled: list[str] = field(default_factory=list)
    unreleased: list[SubmittedBatch] = field(default_factory=list)
    too_short: dict[str, str] = field(default_factory=dict)
    moves: dict[tuple[str, str], list[str]] = field(default_factory=dict)
    drain: bool = False
    owed: set[str] = field(default_factory=set)
    held: dict[str, datetime | None] = field(default_factory=dict)
    written: dict[str, datetime] = field(default_factory=dict)
    held_until: datetime | None = None
    paused: bool = False
    hold: timedelta = field(init=False)
    last_error: str = ""
    on_news: Callable[[], None] | None = None
    on_event: Callable[[events.Event], None] | None = None
    before_submit: Callable[[], Awaitable[None]] | None = None
    checked_at: datetime | None = None
    tells_cost: bool = False

    def __post_init__(self) -> None:
        settings = self.settings
        self.interval, self.poll_patience = settings.poll_interval, settings.poll_patience
        self.attempts, self.ladder, self.deduplication = settings.attempts, settings.ladder, settings.deduplication
        self.per_tenant, self.prices, self.terms = settings.per_tenant, settings.prices, settings.terms
        self.telemetry = settings.telemetry
        longest = min(self.interval * _LONGEST_HOLD, LONGEST_PAUSE)
        quota_of: Callable[[str], str] | None = getattr(self.provider, "quota_of", None)
        options = {} if quota_of is None else {"quota_of": quota_of}
        self.quota_controller = QuotaController(first_pause(self.interval), longest, **options)
        self.hold = first_pause(self.interval)
        self.pace = PollPace(self.interval)
        self.watch = BatchWatch(self.name, self.terms)
        self.till = Till(self.name, self.ledger, self.prices, Purse())

    def clear(self, now: datetime) -> Queue:
        """Forget all that the ledger will load again, and return the new queue."""
        self.queue = Queue(now, self.turns)
        self.flights = Flights()
        self.settled.clear()
        self.too_short.clear()
        self.moves.clear()
        self.till.refused.clear()
        self.drain, self.held_until = False, None
        self.owed.clear()
        self.held.clear()
        self.quota_controller.opened()
        return self.queue

    def opened(self) -> Queue:
        """Return the queue.

        Raises:
            RuntimeError: The engine has not been opened.
        """
        if self.queue is None:
            raise RuntimeError(f"the engine of {self.name!r} was used before it was opened")
        return self.queue

    def note_written(self, prefixes: Iterable[str], now: datetime) -> None:
        """Note that prefixes are in the provider's cache, and forget which were long ago."""
        self.written = {key: at for key, at in self.written.items() if now - at < _LONGEST_WRITTEN}
        self.written.update(dict.fromkeys(prefixes, now))

    def shown(self, batch: Intent | SubmittedBatch, handle: JSON) -> JSON:
        """Return a batch's handle for a person to read: some providers store more with it."""
        show = getattr(self.who(batch), "shown", None)
        return handle if show is None else show(handle)

    def lane(self, name: str) -> LadderLane:
        """Return a lane by its name; the home if no lane has that name.

        Raises:
            RuntimeError: There are no lanes at all.
        """
        if self.ladder is None:
            raise RuntimeError(f"{self.name!r} has no lanes, and was asked for {name!r}")
        return self.ladder.lane(name) or self.ladder.home

    def name_of(self, batch: Intent | SubmittedBatch) -> str:
        """Return the name of the lane that a batch was sent in; empty if there are no lanes."""
        return "" if self.ladder is None else self.lane(batch.terms.lane).name

    def is_last(self, lane: LadderLane | None) -> bool:
        """Return whether no lane follows; `None` is that of a bridge that has none."""
        return self.ladder is None or lane is None or self.ladder.is_last(lane)

    def lane_of(self, batch: Intent | SubmittedBatch) -> LadderLane | None:
        """Return the lane that a batch was sent in; `None` is the bridge's own."""
        return None if self.ladder is None or not batch.terms.lane else self.ladder.lane(batch.terms.lane)

    def who(self, batch: Intent | SubmittedBatch) -> Provider:
        """Return the provider of a batch."""
        return self.answers_in(self.lane_of(batch))

    def answers_in(self, lane: LadderLane | None) -> Provider:
        """Return the provider of a lane; `None` is the bridge's own."""
        return self.provider if lane is None or lane.provider is None else lane.provider

    def deduplication_in(self, lane: LadderLane | None) -> Deduplication | None:
        """Return which requests share an answer, of those that go to a lane."""
        is_elsewhere = lane is not None and lane.provider is not None
        return None if is_elsewhere and self.ladder is not None and not self.ladder.is_own else self.deduplication

    def unavailable(self, flight: Flight, error: Exception, now: datetime) -> None:
        """Note that the provider could not be reached, and when to try again."""
        flight.unanswered(now)
        flight.wait(now, self.interval, getattr(error, "retry_after", None))
        is_bug = not isinstance(error, ProviderError)
        self.last_error = f"batch {flight.batch.key}: {said(error) if is_bug else error}"
        self._tell_stalled(flight, error, now)
        is_new = is_bug and self.notices.is_new(self.name, error)
        again = self.notices.again(self.name, type(error).__name__, now)
        if again is None and not is_new:
            return  # a day of them is a dozen lines, and not thousands
        logger.warning(
            "%s: batch %s, %d times in a row: %s; next try %s%s",
            self.name,
            flight.batch.key,
            flight.failures,
            _logged.said(error),
            flight.due.isoformat(timespec="seconds"),
            again or "",
            exc_info=_logged.trace(error) if is_new else None,
            extra=about(bridge=self.name, batch=flight.batch.key),
        )

    def _tell_stalled(self, flight: Flight, error: Exception, now: datetime) -> None:
        """Note that nothing has moved, and report it if that lasts long."""
        standstill, key = self.standstill, f"batch {flight.batch.key} of {self.name!r}"
        pause = max(flight.due - now, self.interval)
        standstill.failed(f"{key}: {said(error)}", f"{key}: {_logged.said(error)}", now, pause)
        if (event := standstill.event(self.name)) is not None:
            logger.warning("nothing has moved for %.0f seconds; %s", event.seconds, standstill.logged)
            if self.on_event is not None:
                self.on_event(event)

    async def each(
        self, batches: Iterable[T], step: Callable[[T], Awaitable[None]], at_once: int = _SIDE_BY_SIDE
    ) -> None:
        """Do a step for each batch, side by side; one that fails lets the others finish, and then its error passes.

        Where several fail the first one passes, with a note of each of the others.
        """
        gate = asyncio.Semaphore(at_once)

        async def run(batch: T) -> None:
            async with gate:
                await step(batch)

        results = await asyncio.gather(*map(run, batches), return_exceptions=True)
        errors = [result for result in results if isinstance(result, BaseException)]
        if not errors:
            return
        first, *others = errors
        if isinstance(first, asyncio.CancelledError):  # this task was not cancelled: the gather would have ended
            first = RuntimeError(f"the provider of {self.name!r} raised CancelledError, which ends no batch")
        for other in others:
            first.add_note(f"another batch of {self.name!r} failed at the same time: {said(other)}")
        raise first

    async def check_owner(self) -> None:
        """Pass if this process owns the bridge still. Called before what must not be done twice.

        Raises:
            ProviderUnavailable: Not now; try again later.
            StoreInUseError: Another process has taken the bridge over.
        """
        if self.before_submit is None:
            return
        for _ in range(_LOOKS):
            self.checked_at, at = None, _clock.now()
            await self.before_submit()
            self.checked_at = at
            if self._is_checked():
                return

    async def is_still_owner(self, flight: Flight | None, now: datetime) -> bool:
        """Return whether this process owns the bridge still; it is looked up unless that was done a moment ago.

        Called before what a process must not write that has slept, and was taken for dead. If the answer is no, or not
        now, the batch is put off.

        Raises:
            StoreInUseError: As `check_owner`.
        """
        if not self._is_checked():
            try:
                await self.check_owner()
            except ProviderUnavailable as error:
                if flight is not None:
                    self.unavailable(flight, error, now)
                return False
        return True

    def _is_checked(self) -> bool:
        """Return whether this process owned the bridge a moment ago."""
        return self.checked_at is not None and timedelta(0) <= _clock.now() - self.checked_at < _MOMENT

    # -- telemetry ------------------------------------------------------------------------------------------------

    async def begin_trace(
        self, key: str, requests: Sequence[Waiting], asked: Mapping[str, Request], provider: Provider
    ) -> None:
        """Write down where the requests of a batch were asked, before it is begun."""
        if self.telemetry is not None:
            await self.ledger.note_trace(key, row_of(requests, asked, vendor_of(provider)))

    async def end_trace(self, closed: Closed, account: Account | None) -> None:
        """Hand over a batch that has ended. Durable: a process after this one does it, if this one does not live to."""
        if self.telemetry is None:
            return
        self.totals.add(closed)
        if account is not None:
            self.totals.spend((account,), self.prices)
        row = await self.ledger.trace(closed.key)
        self.telemetry.ended(trace_of(self.name, closed, row or {}))
        await self.ledger.note_trace(closed.key, None)

    async def drop_trace(self, key: str) -> None:
        """Delete the trace of a batch that was not sent."""
        if self.telemetry is not None:
            await self.ledger.note_trace(key, None)

    async def open_traces(self, closed: Sequence[Closed]) -> None:
        """Hand over what a process before this one has left, and count what all have done."""
        if self.telemetry is None:
            return
        await asyncio.to_thread(self.prices.load)
        self.totals = Totals()
        for batch in closed:
            self.totals.add(batch)
        is_open = [flight.batch.key for flight in self.flights]
        self.totals.spend((await self.till.settled(is_open))(), self.prices)
        ended = {batch.key: batch for batch in closed}
        for key, row in await self.ledger.traces():
            if self.flights.get(key) is not None:
                continue
            if key in ended:
                self.telemetry.ended(trace_of(self.name, ended[key], row))
            await self.ledger.note_trace(key, None)

    def tell_figures(self) -> None:
        """Report the present state."""
        if self.telemetry is None:
            return
        queue, oldest = self.opened(), self.opened().oldest
        figures = Figures(
            len(queue), None if oldest is None else oldest.timestamp(), self.flights.requests, len(self.flights)
        )
        self.telemetry.figures(self.name, figures, self.totals.copy(), self.prices.currency)

    # -- reports -----------------------------------------------------------------------------------------------

    def tell_queued(self, requests: Sequence[str]) -> None:
        """Report that requests wait to be sent."""
        if requests and self.on_event is not None:
            self.on_event(events.Queued(bridge=self.name, requests=tuple(requests)))

    async def refuse(self, refused: Mapping[str, Outcome]) -> None:
        """Settle requests that would pass a budget, and are not sent."""
        if not refused:
            return
        await self.till.refuse(refused)
        for request_id in refused:
            self.opened().discard(request_id)
        logger.warning(
            "%s: %d requests would pass the budget, and were not sent",
            self.name,
            len(refused),
            extra=about(bridge=self.name),
        )
        self.tell_settled(None, refused)

    def tell_settled(self, batch: str | None, outcomes: Mapping[str, Outcome]) -> None:
        """Report that requests have outcomes, before their batch has ended or without any."""
        if outcomes and self.on_event is not None:
            counts = Counter(map(_outcome.kind, outcomes.values()))
            self.on_event(events.Settled(bridge=self.name, batch=batch, requests=tuple(outcomes), outcomes=counts))

    def tell_resubmitted(self, batch: str, requests: Sequence[str]) -> None:
        """Report that requests of a batch wait to be sent again."""
        if requests and self.on_event is not None:
            self.on_event(events.Resubmitted(bridge=self.name, batch=batch, requests=tuple(requests)))

    def note_moves(self, left: str, moved: Iterable[Waiting]) -> None:
        """Note that requests wait for another lane than the one they were in, if they do."""
        for each in moved:
            lane, _ = lane_of_group(each.group)
            if lane != left:
                self.moves.setdefault((self._called(left), self._called(lane)), []).append(each.id)

    def tell_moves(self) -> None:
        """Report which requests have gone to other lanes, and which of them cannot be answered in time there."""
        moves, self.moves = self.moves, {}
        short, self.too_short = self.too_short, {}
        if self.on_event is None:
            return
        for (left, lane), ids in moves.items():
            self.on_event(events.LaneChanged(bridge=self.name, requests=tuple(ids), left=left, lane=lane))
        by_lane: dict[str, list[str]] = {}
        for request_id, lane in short.items():
            by_lane.setdefault(lane, []).append(request_id)
        for lane, ids in by_lane.items():
            self.on_event(events.DeadlineTooShort(bridge=self.name, requests=tuple(ids), lane=lane))

    def _called(self, name: str) -> str:
        """Return a lane's name for reports."""
        home = "" if self.ladder is None else self.ladder.home.name
        return name or home or mode_of(self.provider)

    def tell_cancelled(self, requests: Iterable[str]) -> None:
        """Report that requests were given up."""
        if (gone := tuple(requests)) and self.on_event is not None:
            self.on_event(events.Cancelled(bridge=self.name, requests=gone))


def said(error: BaseException | None) -> str:
    """Return an error's text, for a person who sees nothing else of it."""
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
