"""The engine: requests in, outcomes out, through a provider's batches. Driven by `tick(now)`; it has no clock.

A request is in exactly one place::

    collect ─▶ queue ─▶ begun ─▶ prepared ─▶ submitted ─▶ outcome ─▶ forgotten
                 ▲        │          │           │
                 ├────────┴──────────┘           │       withdrawn: known not to exist at the provider
                 └───────────────────────────────┘       sent again: expired, 429, 5xx, missing, or late

Every step can be repeated without harm: a crash between any two writes is the same as a step done twice. The engine
knows nothing of LangGraph's runtime or of any vendor, and it never raises for what a provider did: each request of
a batch ends with exactly one outcome instead. What the ledger's store raises passes through.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from batch_bridge import _outcome, events
from batch_bridge._deadline import Deadline
from batch_bridge._flight import LONGEST_PAUSE, Flight, first_pause
from batch_bridge._flush import FlushPolicy
from batch_bridge._ledger import Ledger
from batch_bridge._models import (
    JSON,
    Attempt,
    Cancelled,
    Closed,
    Ended,
    Errored,
    Intent,
    Limits,
    Outcome,
    Request,
    Submitted,
    Succeeded,
    Terms,
    Usage,
)
from batch_bridge._plan import Waiting, batch_key, cap, lines, split
from batch_bridge._provider import Provider
from batch_bridge._queue import Queue
from batch_bridge._quota import Admission, Governor
from batch_bridge._resubmit import DEADLINE, Again, final, is_passing
from batch_bridge._settlement import ReadError, nothing, settle, settle_early
from batch_bridge._sharing import Sharing, spread
from batch_bridge.errors import ProviderUnavailable, RequestRefused, SubmissionRefused, SubmissionUnknown

logger = logging.getLogger("batch_bridge")

_SIDE_BY_SIDE = 4
"""Batches that are looked after at the same time."""
_CHUNK = 500
"""Requests that are read at once to be sent again."""
_LONGEST_HOLD = 64
"""Poll intervals that a group is left alone at the longest, after its batches were refused for want of room."""
_LATE = "\0late"
"""The group, in the queue alone, of what waits for room at the fallback."""
CANCELLED = "the request was cancelled by who waited for it"


@dataclass(frozen=True, slots=True)
class _Flush:
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


@dataclass(frozen=True, slots=True)
class Tick:
    """What a tick did. `settled` are requests that have an outcome now; `wake_at` is when the next tick is due."""

    settled: tuple[str, ...]
    wake_at: datetime | None


class Engine:
    """One bridge's requests and batches. One caller at a time: its owner holds the mutex.

    Args:
        name: The bridge; part of every key.
        provider: Who answers.
        policy: When the queue is sent.
        ledger: What survives a crash.
        poll_interval: The longest pause between two looks at one batch.
        sharing: Which requests share an answer; none do without it.
        attempts: How often a request is sent in all, while what it ends with may pass: it expired, never ran, or was
            answered with 429 or 5xx. With 1 nothing is sent twice.
        deadline: When a request must be answered, and by whom else.

    Attributes:
        on_news: Called, by its host's wish, when a batch has news before the time that the last tick named.
        on_event: Called, by its host's wish, with what happens, once it is durable. It must not raise.
        last_error: What failed last, for a person to read; empty if nothing has.
        before_submit: Called, by its host's wish, right before a batch is created. `ProviderUnavailable` from it puts
            that off.
    """

    def __init__(
        self,
        name: str,
        provider: Provider,
        policy: FlushPolicy,
        ledger: Ledger,
        *,
        poll_interval: timedelta = timedelta(seconds=30),
        sharing: Sharing | None = None,
        attempts: int = 1,
        deadline: Deadline | None = None,
    ) -> None:
        self._name = name
        self._provider = provider
        self._policy = policy
        self._ledger = ledger
        self._interval = poll_interval
        self._sharing = sharing
        self._attempts = attempts
        self._deadline = deadline
        self._governor = Governor(first_pause(poll_interval), min(poll_interval * _LONGEST_HOLD, LONGEST_PAUSE))
        self._owed: set[str] = set()
        self._queue: Queue | None = None
        self._flights: dict[str, Flight] = {}
        self._in_flight: dict[str, Flight] = {}
        self._settled_early: dict[str, Flight] = {}
        self.on_news: Callable[[], None] | None = None
        self.on_event: Callable[[events.Event], None] | None = None
        self.last_error = ""
        self.before_submit: Callable[[], Awaitable[None]] | None = None
        self._settled: list[str] = []
        self._drain = False
        self._held_until: datetime | None = None
        self._hold = first_pause(poll_interval)

    # -- what its host calls ---------------------------------------------------------------------------------

    async def open(self, now: datetime) -> None:
        """Read from the ledger what a process before this one left in flight. Idempotent.

        Requests that were only queued are not sent until somebody collects them again, unless the ledger keeps the
        queue: the parked interrupt is the truth, and a thread that nobody continues is not paid for.
        """
        self._queue = Queue(now)
        self._flights.clear()
        self._in_flight.clear()
        self._settled_early.clear()
        self._settled.clear()
        self._drain, self._held_until = False, None
        self._owed.clear()
        self._governor.opened()
        await self._ledger.read_tries()
        for entry in await self._ledger.open_batches():
            batch, doubtful = entry if isinstance(entry, tuple) else (entry, False)
            self._add(
                Flight(
                    batch, now, first_pause(self._interval), doubtful=doubtful, inherited=True, stopping=_is_left(batch)
                )
            )
            if isinstance(batch, Submitted) and not batch.terms.fallback and batch.submitted_at <= now:
                self._governor.created(batch.submitted_at)
        sent = []
        for waiting in await self._ledger.queue():
            flight = self._in_flight.get(waiting.id)
            if flight is None:
                self._queue.add(waiting)
            elif isinstance(flight.batch, Intent):
                flight.waiting[waiting.id] = waiting
            else:
                sent.append(waiting.id)
        await self._ledger.unqueued(sent)

    async def collect(
        self, requests: Iterable[Request], now: datetime, *, asked_at: Mapping[str, datetime] | None = None
    ) -> set[str]:
        """Take in the requests of parked threads; those known already are not taken twice.

        Args:
            requests: What the threads wait for.
            now: Aware UTC.
            asked_at: Since when a thread waits, by its id, where that is not now. A request's age counts from there.

        Returns:
            The requests that have an outcome, however long ago they were settled: deliver them (again).
        """
        queue = self._opened()
        new: dict[str, Request] = {}
        in_doubt: list[Request] = []
        adopted: list[Request] = []
        for request in requests:
            flight = self._in_flight.get(request.id)
            if flight is None:
                if request.id not in queue:
                    new[request.id] = request
            elif self._stand_by(flight, request, now):
                in_doubt.append(request)
            elif isinstance(flight.batch, Submitted) and request.id not in flight.wanted:
                flight.wanted.add(request.id)
                adopted.append(request)
        await self._ledger.enqueue(in_doubt)
        await self._ledger.hold(adopted)
        settled = await self._ledger.settled(tuple(new)) if new else set()
        since = asked_at or {}
        judged = {
            request.id: self._judge(request, self._asked_at(request.id, since.get(request.thread, now), now))
            for request in new.values()
            if request.id not in settled
        }
        accepted = [each for each in judged.values() if isinstance(each, Waiting)]
        refused: dict[str, Outcome] = {each: why for each, why in judged.items() if isinstance(why, Errored)}
        recalled = await self._sharing.recall(accepted, now) if self._sharing else {}
        accepted = [waiting for waiting in accepted if waiting.id not in recalled]
        await self._ledger.enqueue(new[waiting.id] for waiting in accepted)
        await self._ledger.queued(accepted)
        late = [each for each in accepted if self._deadline is not None and self._deadline.is_past(each, now)]
        queue.put_back(late)
        for waiting in accepted:
            queue.add(waiting)
        if accepted and self.on_event is not None:
            self.on_event(events.Queued(bridge=self._name, requests=tuple(each.id for each in accepted)))
        if judged_now := refused | recalled:
            await self._ledger.settle(judged_now)
            self._tell_settled(None, judged_now)
        return settled | judged_now.keys()

    async def tick(self, now: datetime, *, drain: bool = False) -> Tick:
        """Do everything that is due at `now`: reconcile, poll, settle, flush.

        Args:
            now: Aware UTC. A clock that jumps makes things early or late, never wrong.
            drain: Send all that waits, whatever the policy says: nothing more can come.
        """
        await self.advance(now)
        await self.flush(now, drain=drain)
        return self.tell(now)

    async def advance(self, now: datetime) -> None:
        """Do the first half of a tick: reconcile, poll and settle the batches that are due."""
        self._opened()
        await self._each(self._advance(flight, now) for flight in self._due(now))

    async def flush(self, now: datetime, *, drain: bool = False) -> None:
        """Do the second half of a tick: send what the policy says is due; with `drain` all that waits.

        What is late goes to the fallback. What the provider has no room for stays, and goes first once there is some.
        """
        queue = self._opened()
        self._drain = self._drain or drain
        if late := self._late(now):
            await self._flush_late(queue.remove(late, now), now)
        while not self._is_held(now):
            plan = self._plan(now)
            self._drain, self._owed = plan.drain, plan.owed
            if not plan.due:
                break
            await self._flush(queue.remove(plan.due, now), now)
            if not plan.is_limited:
                break

    def to_flush(self, now: datetime) -> tuple[str, ...]:
        """Return the ids of the requests that `flush` would send now, oldest first."""
        late = self._late(now)
        if self._is_held(now):
            return tuple(each.id for each in late)
        return tuple(dict.fromkeys(each.id for each in (*late, *self._plan(now).due)))

    def tell(self, now: datetime) -> Tick:
        """Return what has been settled since the last time, and when the next tick is due."""
        settled, self._settled = tuple(self._settled), []
        return Tick(settled, self._wake_at(now))

    async def drop(self, ids: Iterable[str]) -> None:
        """Take requests out of the queue, because nobody waits for them any more. What is in flight stays.

        It is not sent again, though, unless somebody collects it again.
        """
        queue = self._opened()
        ids = tuple(ids)
        for request_id in ids:
            if (flight := self._in_flight.get(request_id)) is not None:
                flight.wanted.discard(request_id)
        dropped = [request_id for request_id in ids if queue.discard(request_id)]
        await self._ledger.drop(dropped)
        if dropped and self.on_event is not None:
            self.on_event(events.Cancelled(bridge=self._name, requests=tuple(dropped)))

    async def cancel(self, ids: Iterable[str], now: datetime, *, why: str = CANCELLED) -> set[str]:
        """End requests as cancelled, and stop each batch of which nothing is left to wait for. Idempotent.

        What is queued is not sent. What is on its way has its outcome at once; what the provider answers all the same
        is put aside. A batch that others still wait for goes on. Survives a crash: a batch whose last request was
        cancelled is stopped by the next process.

        Returns:
            The requests that have been cancelled now, those that were queued or on their way: deliver their outcomes.
        """
        queue = self._opened()
        cancelled: dict[str, Outcome] = {}
        early: dict[Flight, list[tuple[str, Outcome]]] = {}
        for request_id in dict.fromkeys(ids):
            if request_id in queue:
                cancelled[request_id] = Cancelled(why)
            elif (flight := self._in_flight.get(request_id)) is not None:
                early.setdefault(flight, []).append((request_id, Cancelled(why)))
        await self._ledger.settle(cancelled)
        for request_id in cancelled:
            queue.discard(request_id)
        self._tell_settled(None, cancelled)
        for flight, outcomes in early.items():
            batch = flight.batch
            is_last = sum(self._in_flight.get(each) is flight for each in batch.members) == len(outcomes)
            if is_last and isinstance(batch, Submitted) and not batch.left:  # first: who is left behind is stopped
                flight.batch = replace(batch, left="cancelled")
                await self._ledger.mark(flight.batch)
            told = len(self._settled)
            await self._settle_early(flight, outcomes)
            del self._settled[told:]  # they are returned, and perhaps forgotten by the next tick
            for request_id, _ in outcomes:
                flight.waiting.pop(request_id, None)
                flight.refused.pop(request_id, None)
                flight.wanted.discard(request_id)
            if is_last:
                flight.stopping, flight.due = isinstance(flight.batch, Submitted), now
            cancelled |= dict(outcomes)
        if cancelled and self.on_event is not None:
            self.on_event(events.Cancelled(bridge=self._name, requests=tuple(cancelled)))
        return set(cancelled)

    def in_batch(self, key: str) -> tuple[str, ...]:
        """Return the requests of a batch that have no outcome yet, by our key of it."""
        flight = self._flights.get(key)
        return () if flight is None else tuple(self._unsettled(flight))

    async def outcomes(self, ids: Sequence[str]) -> dict[str, Outcome]:
        """Read the outcomes that are known."""
        return await self._ledger.outcomes(ids)

    async def forget(self, ids: Sequence[str]) -> None:
        """Let go of settled requests whose thread has ended: their outcomes will not be asked for again.

        Those whose batch has not ended are kept until it has: a process after this one tells by them what is missing.
        """
        early = {request_id: flight for request_id in ids if (flight := self._settled_early.get(request_id))}
        for request_id, flight in early.items():
            flight.forgotten.append(request_id)
        await self._ledger.forget([request_id for request_id in ids if request_id not in early] if early else ids)

    def knows(self, request_id: str) -> bool:
        """Tell whether a request waits to be sent or is on its way."""
        return request_id in self._opened() or request_id in self._in_flight

    @property
    def queued(self) -> int:
        """How many requests wait to be sent."""
        return len(self._opened())

    @property
    def waiting(self) -> Iterable[str]:
        """Ids of the requests that wait to be sent, oldest first."""
        return iter(self._opened())

    @property
    def in_flight(self) -> int:
        """How many requests are on their way."""
        return len(self._in_flight)

    @property
    def unsent(self) -> int:
        """How many batches have been begun, and not confirmed by the provider."""
        return sum(isinstance(flight.batch, Intent) for flight in self._flights.values())

    def is_sent(self, request_id: str) -> bool:
        """Whether a request is on its way in a batch that the provider has confirmed."""
        flight = self._in_flight.get(request_id)
        return flight is not None and isinstance(flight.batch, Submitted)

    @property
    def expects_news(self) -> bool:
        """Whether a batch in flight will call `on_news`: it runs in this process, and not at a provider."""
        return any(flight.rings for flight in self._flights.values())

    @property
    def batches_in_flight(self) -> int:
        """How many batches have been begun and not closed."""
        return len(self._flights)

    # -- intake ----------------------------------------------------------------------------------------------

    def _stand_by(self, flight: Flight, request: Request, now: datetime) -> bool:
        """Note that somebody waits for a request whose submission is in doubt; tell whether that is new.

        If the submission turns out to have failed, it is queued again, or refused if it is too large by now.
        """
        if not isinstance(flight.batch, Intent) or request.id in flight.waiting:
            return False
        asked_at = flight.batch.terms.asked_at if self._deadline is not None else None
        judged = self._judge(request, min(asked_at or now, now))
        if isinstance(judged, Waiting):
            flight.waiting[request.id] = judged
            return True
        flight.refused[request.id] = judged
        return False

    def _asked_at(self, request_id: str, asked_at: datetime, now: datetime) -> datetime:
        """Return since when a request waits, which may have been late in a process before this one."""
        tries = self._ledger.tries(request_id)
        return self._deadline.asked_at(tries, asked_at, now) if self._deadline is not None and tries else asked_at

    def _judge(self, request: Request, asked_at: datetime, provider: Provider | None = None) -> Waiting | Errored:
        provider = provider or self._provider
        try:
            measure = provider.measure(request)
        except RequestRefused as error:
            return Errored(str(error), code=error.code)
        except Exception as error:  # noqa: BLE001  # as in `_submit`: it must not stand in its neighbours' way
            return Errored(_said(error), code="measure_failed")
        limit = provider.limits.bytes
        if limit is not None and measure.bytes > limit:
            return Errored(
                f"the request is {measure.bytes:,} bytes long, and {self._name!r} takes {limit:,} at most; "
                "ask for less in one request",
                code="item_too_large",
            )
        key = self._sharing.key(request) if self._sharing else ""
        return Waiting(request.id, measure.group, measure.bytes, asked_at, key)

    # -- flush and submit --------------------------------------------------------------------------------------

    async def _flush(self, waiting: Sequence[Waiting], now: datetime) -> None:
        limits = self._batch_limits()
        if self._sharing is not None:
            waiting = await self._recall(self._sharing, waiting, now)
        shared = self._sharing is not None and self._sharing.dedupe
        await self._each(self._begin(members, now) for members in split(waiting, limits, shared=shared))

    def _batch_limits(self) -> Limits:
        return cap(self._provider.limits, self._policy.max_requests, self._policy.max_bytes)

    async def _flush_late(self, waiting: Sequence[Waiting], now: datetime) -> None:
        """Send what is late to the fallback."""
        assert self._deadline is not None  # noqa: S101  # else nothing is late
        fallback = self._deadline.fallback
        by_id = {each.id: each for each in waiting}
        judged: dict[str, Waiting | Errored] = dict(by_id)
        try:
            for request in await self._ledger.requests(tuple(by_id)):
                judged[request.id] = self._judge(request, by_id[request.id].queued_at, fallback)
            refused: dict[str, Outcome] = {
                each: replace(why, attempts=self._ledger.tries(each))
                for each, why in judged.items()
                if isinstance(why, Errored)
            }
            await self._ledger.settle(refused)
        except BaseException:
            self._opened().put_back(waiting)
            raise
        self._settled += refused
        self._tell_settled(None, refused)
        limits = cap(fallback.limits, self._policy.max_requests, None)
        accepted = [each for each in judged.values() if isinstance(each, Waiting)]
        await self._each(self._begin(members, now, fallback=True) for members in split(accepted, limits))

    async def _recall(self, sharing: Sharing, waiting: Sequence[Waiting], now: datetime) -> Sequence[Waiting]:
        """Settle what has become known while it was queued, and return the rest."""
        recalled = await sharing.recall(waiting, now, again=True)
        if not recalled:
            return waiting
        try:
            await self._ledger.settle(recalled)
        except BaseException:
            self._opened().put_back(waiting)
            raise
        self._settled += recalled
        self._tell_settled(None, recalled)
        return [each for each in waiting if each.id not in recalled]

    async def _begin(self, members: tuple[Waiting, ...], now: datetime, *, fallback: bool = False) -> None:
        ids = tuple(request.id for request in members)
        is_shared = self._sharing is not None and not fallback
        keys = tuple(each.key for each in members) if is_shared else ()
        shared = self._sharing is not None and self._sharing.dedupe and not fallback
        key = batch_key(self._name, ids, lambda each: len(self._ledger.tries(each)))
        terms = Terms(min(each.queued_at for each in members), sum(each.bytes for each in members), fallback)
        intent = Intent(key, ids, members[0].group, now, None, keys, shared, terms)
        flight = Flight(intent, now, first_pause(self._interval), waiting={each.id: each for each in members})
        self._add(flight)
        await self._ledger.begin(intent)
        logger.info("%s: batch %s begun with %d requests", self._name, intent.key, len(ids))
        await self._submit(flight, intent, now)

    async def _submit(self, flight: Flight, intent: Intent, now: datetime) -> None:
        requests = await self._ledger.requests(intent.members)
        if len(requests) < len(intent.members):
            await self._drop_lost(flight, intent, {request.id for request in requests})
            return
        if intent.shared:
            sent = lines(intent)
            requests = [request for request in requests if request.id in sent]
        try:
            if intent.prepared is None:
                prepared = await self._who(intent).prepare(intent.key, requests)
                intent = replace(intent, prepared=prepared)
                await self._ledger.prepared(intent)
                flight.batch = intent
            if self.before_submit is not None:
                await self.before_submit()
            flight.doubtful = True
            handle = await self._who(intent).submit(intent.key, requests, intent.prepared)
        except ProviderUnavailable as error:
            flight.doubtful = False
            self._unavailable(flight, error, now)
        except SubmissionUnknown as error:
            self._unavailable(flight, error, now)
        except SubmissionRefused as error:
            refusal = Errored(str(error), code=error.code, status_code=error.status_code)
            await self._fail(flight, refusal, now)
        except Exception as error:  # noqa: BLE001  # a provider is somebody's code: its bug fails its batch alone
            await self._fail(flight, Errored(_said(error), code="submit_failed"), now)
        else:
            await self._confirm(flight, intent, handle, now)

    async def _confirm(self, flight: Flight, intent: Intent, handle: JSON, now: datetime) -> None:
        batch = Submitted(
            intent.key, intent.members, intent.group, now, handle, intent.keys, intent.shared, intent.terms
        )
        if not any(self._unsettled(flight)):  # all were cancelled meanwhile
            batch, flight.stopping = replace(batch, left="cancelled"), True
        await self._ledger.confirm(batch)
        flight.batch, flight.doubtful, flight.failures, flight.is_late = batch, False, 0, False
        if not intent.terms.fallback:
            self._governor.created(now)
        flight.wanted = {*flight.waiting, *flight.refused}
        flight.waiting.clear()
        flight.refused.clear()
        self._held_until, self._hold = None, first_pause(self._interval)
        flight.due, flight.pause = now, first_pause(self._interval)
        logger.info("%s: batch %s submitted as %r", self._name, batch.key, handle)
        if self.on_event is not None:
            self.on_event(events.Submitted(bridge=self._name, batch=batch.key, handle=handle, requests=batch.members))

    async def _reconcile(self, flight: Flight, intent: Intent, now: datetime) -> None:
        """Find out what became of a submission that we did not see the end of."""
        try:
            who = self._who(intent)
            found = await who.find(intent.key, intent.prepared)
            if not found:
                await who.fence(intent.prepared)
                found = await who.find(intent.key, intent.prepared)
            for double in found[1:]:
                await self._cancel_double(intent, double)
        except ProviderUnavailable as error:
            self._unavailable(flight, error, now)
        except SubmissionUnknown as error:
            await self._fail(flight, Errored(str(error), code="submission_unknown", retryable=True), now)
        except Exception as error:  # noqa: BLE001  # as in `_submit`
            await self._fail(flight, Errored(_said(error), code="find_failed"), now)
        else:
            if found:
                logger.warning("%s: adopted batch %s, whose submission was interrupted", self._name, intent.key)
                await self._confirm(flight, intent, found[0], now)
            else:
                await self._withdraw(flight, intent)
                self._hold_back(now)

    async def _cancel_double(self, intent: Intent, handle: JSON) -> None:
        """Stop a second batch of one intent; that it cannot be stopped must not cost the answers of the first."""
        try:
            await self._who(intent).cancel(handle)
        except ProviderUnavailable:
            raise
        except Exception as error:  # noqa: BLE001  # as in `_submit`
            logger.error(  # noqa: TRY400  # the provider's own words say it
                "%s: batch %s was created twice, and %r could not be cancelled (%s); cancel it at the provider, "
                "or it is billed too",
                self._name,
                intent.key,
                handle,
                _said(error),
            )

    async def _drop_lost(self, flight: Flight, intent: Intent, held: set[str]) -> None:
        """Settle the requests whose rows are gone from the store, and queue their neighbours again."""
        lost = Errored(
            "the ledger has lost this request's row; was its store edited?", "ledger_row_lost", retryable=True
        )
        gone: dict[str, Outcome] = {
            each: lost for each in intent.members if each not in held and each not in flight.settled
        }
        await self._ledger.settle(gone)
        self._settled += gone
        self._tell_settled(intent.key, gone)
        for request_id in gone:
            flight.waiting.pop(request_id, None)
        await self._withdraw(flight, intent)

    def _hold_back(self, now: datetime) -> None:
        """Send nothing for a while: a submission has come to nothing, and the next one may too."""
        self._drain = True  # what was sent was due
        self._held_until = now + self._hold
        self._hold = min(self._hold * 2, self._interval)

    def _is_held(self, now: datetime) -> bool:
        until = self._held_until
        return until is not None and now < until <= now + self._interval  # a clock that was set back holds nothing

    async def _withdraw(self, flight: Flight, intent: Intent) -> None:
        # A process before this one may have died while it settled the batch as failed: what it wrote stands.
        settled = await self._ledger.settled(intent.members) if flight.inherited else set()
        refused: dict[str, Outcome] = {each: why for each, why in flight.refused.items() if each not in settled}
        if refused:
            await self._ledger.settle(refused)
            settled |= refused.keys()
            self._tell_settled(intent.key, refused)
        await self._ledger.unqueued(settled)
        await self._ledger.withdraw(intent.key)
        self._remove(flight)
        self._settled += settled - flight.settled.keys()
        if flight.forgotten:
            await self._ledger.forget(flight.forgotten)
        again = [each for each in flight.waiting.values() if each.id not in settled]
        self._opened().put_back(again)
        self._tell_resubmitted(intent.key, [each.id for each in again])

    # -- poll and settle -----------------------------------------------------------------------------------------

    async def _advance(self, flight: Flight, now: datetime) -> None:
        if self._is_late(flight, now):
            await self._act_on_lateness(flight, now)
        match flight.batch:
            case Submitted() as batch:
                if not flight.stopping or await self._stop(flight, batch, now):
                    await self._poll(flight, batch, now)
            case Intent() as intent if flight.is_late and not flight.doubtful:
                await self._withdraw(flight, intent)  # the fallback takes what it holds
            case Intent() as intent if flight.doubtful:
                await self._reconcile(flight, intent, now)
            case Intent() as intent if flight.inherited:
                await self._withdraw(flight, intent)  # begun and not sent, by a process that is gone
            case Intent() as intent:
                await self._submit(flight, intent, now)

    def _is_late(self, flight: Flight, now: datetime) -> bool:
        late_at = self._late_at(flight)
        return late_at is not None and late_at <= now

    def _late_at(self, flight: Flight) -> datetime | None:
        """Return when a batch that is not late yet will be."""
        return None if self._deadline is None or flight.is_late else self._deadline.of(flight.batch)

    async def _act_on_lateness(self, flight: Flight, now: datetime) -> None:
        flight.is_late = True
        if not isinstance(flight.batch, Submitted):
            return
        flight.stopping = True
        logger.warning("%s: batch %s is late, and is stopped", self._name, flight.batch.key)
        if self._deadline is not None and self._deadline.policy == "pay_again":
            await self._leave(flight, flight.batch, now)

    async def _leave(self, flight: Flight, batch: Submitted, now: datetime) -> None:
        """Let the fallback answer a batch's requests, whatever becomes of it."""
        known = await self._ledger.settled(batch.members) if flight.inherited else set()
        late = [each for each in self._unsettled(flight) if each not in known]
        await self._ledger.tried(dict.fromkeys(late, Attempt(batch.key, "overdue", DEADLINE, now)))
        overdue = Errored("the deadline has passed, and there is nothing to send again", code=DEADLINE, retryable=True)
        back, lost = await self._come_back(flight, dict.fromkeys(late, overdue))
        await self._ledger.settle(lost)
        await self._ledger.queued(back)
        left = replace(batch, left="overdue")
        await self._ledger.mark(left)
        flight.batch = left
        for request_id in batch.members:
            if self._in_flight.get(request_id) is flight:
                del self._in_flight[request_id]
        self._settled += (*known, *lost)
        self._opened().put_back(back)
        self._tell_settled(batch.key, lost)
        self._tell_resubmitted(batch.key, [each.id for each in back])

    async def _stop(self, flight: Flight, batch: Submitted, now: datetime) -> bool:
        """Tell the provider to stop a batch; tell whether that is done, or cannot be."""
        try:
            await self._who(batch).cancel(batch.handle)
        except ProviderUnavailable as error:
            self._unavailable(flight, error, now)
            return False
        except Exception as error:  # noqa: BLE001  # as in `_submit`
            logger.error("%s: batch %s cannot be cancelled: %s", self._name, batch.key, _said(error))  # noqa: TRY400
        flight.stopping = False
        flight.pause = first_pause(self._interval)
        logger.info("%s: batch %s is cancelled", self._name, batch.key)
        return True

    async def _come_back(
        self, flight: Flight, outcomes: Mapping[str, Outcome]
    ) -> tuple[list[Waiting], dict[str, Outcome]]:
        """Return a batch's requests as they are queued again, and the outcomes of those that cannot be.

        Only those that somebody waits for: a thread that nobody continues is not paid for. The others are found in
        neither; who collects them sends them.
        """
        batch = flight.batch
        wanted = list(outcomes)
        if not self._ledger.keeps_queue:
            wanted = [each for each in wanted if each in flight.wanted or each in flight.waiting]
        keys = dict(zip(batch.members, batch.keys, strict=True)) if batch.keys else {}
        asked_at = batch.terms.asked_at or _begun_at(batch)
        back: list[Waiting] = []
        for start in range(0, len(wanted), _CHUNK):
            for request in await self._ledger.requests(wanted[start : start + _CHUNK]):
                judged = self._judge(request, asked_at)
                if isinstance(judged, Waiting):
                    back.append(replace(judged, key=keys.get(request.id, judged.key)))
        found = {each.id for each in back}
        lost = {
            each: final(outcomes[each], self._ledger.tries(each), batch.key) for each in wanted if each not in found
        }
        return back, lost

    async def _poll(self, flight: Flight, batch: Submitted, now: datetime) -> None:
        try:
            sent = tuple(lines(batch)) if batch.shared else batch.members
            remember = self._sharing.remember(now) if self._sharing and not batch.terms.fallback else None
            reply = await spread(await self._who(batch).poll(batch.handle, sent), batch, remember, flight.settled)
        except ProviderUnavailable as error:
            self._unavailable(flight, error, now)
        except Exception as error:  # noqa: BLE001  # as in `_submit`
            await self._fail(flight, Errored(_said(error), code="poll_failed"), now)
        else:
            if isinstance(reply, Ended):
                await self._settle(flight, reply, now)
            else:
                flight.failures = 0
                flight.wait(now, self._interval)
                if self.on_event is not None:
                    self.on_event(events.Polled(bridge=self._name, batch=batch.key, done=reply.done, total=reply.total))
                if reply.outcomes:
                    await self._settle_early(flight, reply.outcomes)
                flight.rings = reply.news is not None
                if reply.news is not None:
                    reply.news.add_done_callback(lambda _: self._ring(flight, now))

    def _ring(self, flight: Flight, polled_at: datetime) -> None:
        """Have a batch polled in the next tick, and ask for one."""
        flight.due = polled_at
        if self.on_news is not None:
            self.on_news()

    async def _settle_early(self, flight: Flight, outcomes: Iterable[tuple[str, Outcome]]) -> None:
        fresh: dict[str, Outcome] = {}
        for request_id, outcome in outcomes:
            if self._in_flight.get(request_id) is flight and not self._may_come_back(flight, outcome):
                tries = self._ledger.tries(request_id)
                fresh.setdefault(request_id, final(outcome, tries, flight.batch.key))
        kinds = await settle_early(self._ledger, fresh, inherited=flight.inherited)
        flight.settled.update(kinds)
        for request_id in fresh:
            del self._in_flight[request_id]
            self._settled_early[request_id] = flight
        self._settled += fresh
        if kinds and self.on_event is not None:
            counts, batch = Counter(kinds.values()), flight.batch.key
            self.on_event(events.Settled(bridge=self._name, batch=batch, requests=tuple(kinds), outcomes=counts))

    async def _fail(self, flight: Flight, errored: Errored, now: datetime) -> None:
        logger.error("%s: batch %s failed: %s", self._name, flight.batch.key, errored.message)
        self.last_error = f"batch {flight.batch.key} failed: {errored.message}"
        await self._settle(flight, Ended(nothing(), missing=errored), now)

    async def _settle(self, flight: Flight, ended: Ended, now: datetime) -> None:
        batch = flight.batch
        if isinstance(batch, Submitted) and batch.left == "overdue":
            await self._count_overdue(flight, batch, ended, now)
            return
        again = self._again(flight, now)
        try:
            kinds = await settle(
                self._ledger, batch, ended, inherited=flight.inherited, settled=flight.settled, again=again
            )
        except ReadError as error:
            flight.inherited = True  # what was read before it broke is written
            if isinstance(error.__cause__, ProviderUnavailable):
                self._unavailable(flight, error.__cause__, now)
            else:
                await self._fail(flight, Errored(_said(error.__cause__), code="poll_failed"), now)
            return
        back, lost = await self._come_back(flight, again.outcomes)
        await self._ledger.settle(lost)
        kinds.update(map(_outcome.kind, lost.values()))
        await self._ledger.queued(back)
        usage = ended.usage() if callable(ended.usage) else ended.usage
        whole = kinds.get("succeeded", 0) == len(batch.members) and not batch.shared
        self._learn(flight, again, usage, now, whole=whole)
        submitted = batch if isinstance(batch, Submitted) else None
        await self._ledger.close(
            Closed(
                key=batch.key,
                handle=submitted.handle if submitted else None,
                requests=kinds.total(),
                submitted_at=submitted.submitted_at if submitted else now,
                ended_at=now,
                outcomes=kinds,
                usage=usage,
                resubmitted=len(batch.members) - kinds.total(),
            )
        )
        self._remove(flight)
        sent_again = again.outcomes.keys() - lost.keys()
        late = tuple(each for each in batch.members if each not in flight.settled and each not in sent_again)
        self._settled += late
        if flight.forgotten:
            await self._ledger.forget(flight.forgotten)
        if back:
            self._opened().put_back(back)
            self._drain = True  # what was sent was due
        if sent_again:
            logger.warning("%s: %d requests of batch %s go into another batch", self._name, len(sent_again), batch.key)
        logger.info("%s: batch %s settled: %s", self._name, batch.key, dict(kinds))
        if self.on_event is not None:
            counts = kinds - Counter(flight.settled.values())
            self.on_event(
                events.Settled(
                    bridge=self._name, batch=batch.key, requests=late, outcomes=counts, ended=True, usage=usage
                )
            )
        self._tell_resubmitted(batch.key, [each.id for each in back])
        if submitted:
            await self._release(submitted)

    def _again(self, flight: Flight, now: datetime) -> Again:
        batch = flight.batch
        is_left = isinstance(batch, Submitted) and batch.left != ""
        limit = 1 if is_left or batch.terms.fallback else self._attempts
        return Again(batch.key, limit, flight.is_late and not is_left, self._governor.requeues(batch.group), now)

    def _may_come_back(self, flight: Flight, outcome: Outcome) -> bool:
        """Tell whether an outcome that came before its batch's end is to be judged once the batch has ended."""
        if isinstance(flight.batch, Intent) or flight.batch.left or flight.batch.terms.fallback:
            return False
        return is_passing(outcome) and (self._attempts > 1 or flight.is_late)

    def _learn(self, flight: Flight, again: Again, usage: Usage | None, now: datetime, *, whole: bool) -> None:
        """Tell the governor how a batch has ended."""
        batch = flight.batch
        if isinstance(batch, Intent) or batch.terms.fallback:
            return
        if again.refusal is None:
            self._governor.ended(batch.group, batch.terms.bytes, usage, whole=whole)
            return
        others = sum(size for group, size in self._loads(flight) if group == batch.group)
        self._governor.refused(
            batch.group, batch.terms.bytes, others, said=again.refusal.message, limits=self._provider.limits, now=now
        )

    async def _count_overdue(self, flight: Flight, batch: Submitted, ended: Ended, now: datetime) -> None:
        """Close a batch whose requests were sent elsewhere, and count what it has answered all the same."""
        paid = set[str]()
        try:
            async for request_id, outcome in ended.outcomes:
                if isinstance(outcome, Succeeded):
                    paid.add(request_id)
        except ProviderUnavailable as error:
            self._unavailable(flight, error, now)
            return
        except Exception as error:  # noqa: BLE001  # as in `_submit`
            logger.warning("%s: batch %s cannot be read to its end: %s", self._name, batch.key, _said(error))
        twice = len(paid.intersection(lines(batch)) - flight.settled.keys())
        usage = ended.usage() if callable(ended.usage) else ended.usage
        await self._ledger.close(
            Closed(batch.key, batch.handle, 0, batch.submitted_at, now, {}, usage, paid_twice=twice)
        )
        self._remove(flight)
        if flight.forgotten:
            await self._ledger.forget(flight.forgotten)
        self._governor.ended(batch.group, batch.terms.bytes, None, whole=False)
        logger.warning("%s: overdue batch %s has ended: %d requests are paid twice", self._name, batch.key, twice)
        await self._release(batch)

    async def _release(self, batch: Submitted) -> None:
        try:
            await self._who(batch).release(batch.handle)
        except Exception as error:  # noqa: BLE001  # tidying up must not undo what is settled
            logger.warning("%s: could not tidy up after batch %s: %s", self._name, batch.key, _said(error))

    def _tell_resubmitted(self, batch: str, requests: Sequence[str]) -> None:
        if requests and self.on_event is not None:
            self.on_event(events.Resubmitted(bridge=self._name, batch=batch, requests=tuple(requests)))

    def _tell_settled(self, batch: str | None, outcomes: Mapping[str, Outcome]) -> None:
        if outcomes and self.on_event is not None:
            counts = Counter(map(_outcome.kind, outcomes.values()))
            self.on_event(events.Settled(bridge=self._name, batch=batch, requests=tuple(outcomes), outcomes=counts))

    # -- bookkeeping ---------------------------------------------------------------------------------------------

    def _opened(self) -> Queue:
        if self._queue is None:
            raise RuntimeError(f"the engine of {self._name!r} was used before it was opened")
        return self._queue

    def _add(self, flight: Flight) -> None:
        self._flights[flight.batch.key] = flight
        if isinstance(flight.batch, Submitted) and flight.batch.left == "overdue":
            return
        self._in_flight.update(dict.fromkeys(flight.batch.members, flight))

    def _remove(self, flight: Flight) -> None:
        del self._flights[flight.batch.key]
        for request_id in flight.batch.members:
            for held in (self._in_flight, self._settled_early):
                if held.get(request_id) is flight:
                    del held[request_id]

    def _due(self, now: datetime) -> list[Flight]:
        latest = now + max(self._interval, LONGEST_PAUSE)  # due later than that: the clock was set back
        return [flight for flight in self._flights.values() if not now < self._due_at(flight) <= latest]

    def _due_at(self, flight: Flight) -> datetime:
        late_at = self._late_at(flight)
        return flight.due if late_at is None else min(flight.due, late_at)

    def _who(self, batch: Intent | Submitted) -> Provider:
        """Return who was given a batch."""
        return self._deadline.fallback if batch.terms.fallback and self._deadline is not None else self._provider

    def _unsettled(self, flight: Flight) -> Iterable[str]:
        return (each for each in flight.batch.members if self._in_flight.get(each) is flight)

    def _loads(self, without: Flight | None = None) -> Iterable[tuple[str, int]]:
        """Return group and bytes of the batches that are at the provider."""
        return (
            (flight.batch.group, flight.batch.terms.bytes)
            for flight in self._flights.values()
            if flight is not without and not flight.batch.terms.fallback
        )

    def _wake_at(self, now: datetime) -> datetime | None:
        queue = self._opened()
        times = [self._due_at(flight) for flight in self._flights.values()]
        if len(queue) and self._room() == 0:
            times.append(now + first_pause(self._interval))  # where nobody rings
        elif len(queue):
            admission = self._admission(now)
            shut = {_LATE, *(admission.shut if admission else ())}
            owed = any(group not in shut for group in queue.groups) and (
                self._drain or any(group not in shut for group in self._owed.intersection(queue.groups))
            )
            due = now if owed else self._policy.due_at(queue.summary(now, without=shut))
            if due is not None:
                times.append(max(due, self._held_until) if self._held_until and self._is_held(now) else due)
            if self._policy.when is not None:
                times.append(now + self._interval)
            if (room_at := self._governor.wake_at(self._provider.limits, shut, now)) is not None:
                times.append(room_at)
        if self._deadline is not None and (oldest_at := queue.oldest_at) is not None:
            late_at = oldest_at + self._deadline.after
            room = self._fallback_room()
            is_full = _LATE in queue.groups and room is not None and room <= 0
            times.append(now + first_pause(self._interval) if is_full else late_at)
        return min(times, default=None)

    def _late(self, now: datetime) -> list[Waiting]:
        """Return what goes to the fallback now. What is late is set apart: nobody else gets it, or waits behind it."""
        deadline, queue = self._deadline, self._opened()
        if deadline is None:
            return []
        for each in queue.pick(len(queue), lambda waiting: deadline.is_past(waiting, now), without={_LATE}):
            queue.discard(each.id)
            queue.add(replace(each, group=_LATE))
        room = self._fallback_room()
        return queue.pick(len(queue) if room is None else max(room, 0), only={_LATE})

    def _fallback_room(self) -> int | None:
        room: int | None = getattr(self._deadline.fallback, "room", None) if self._deadline else None
        return room

    def _admission(self, now: datetime) -> Admission | None:
        queue = self._opened()
        heads = {group: queue.head(group) for group in queue.groups if group != _LATE}
        return self._governor.admission(
            self._provider.limits, self._batch_limits(), heads, flights=self._loads(), owed=self._owed, now=now
        )

    def _plan(self, now: datetime) -> "_Flush":
        """Choose what is sent now: what the policy says is due, as far as the provider has room for it."""
        queue = self._opened()
        admission = self._admission(now)
        if admission is None:
            wanted = self._policy.take(queue.summary(now, without={_LATE}), drain=self._drain)
            room = self._room()
            count = wanted if room is None else min(wanted, room)
            return _Flush(
                queue.pick(count, without={_LATE}) if count else [], set(), drain=self._drain and count < wanted
            )
        waiting = set(queue.groups) - {_LATE}
        owed = waiting if self._drain else self._owed & waiting
        due = queue.pick(len(queue), admission, only=owed) if owed else []
        judged_not = owed | admission.shut | {_LATE}
        if waiting - judged_not:
            wanted = self._policy.take(queue.summary(now, without=judged_not))
            due += queue.pick(wanted, admission, without=judged_not)
        room = self._room()
        due = due if room is None else due[:room]
        left = Counter(each.group for each in due)
        still = {group for group in owed if left[group] < queue.size(group)}
        return _Flush(due, still | admission.turned_away, drain=False, is_limited=True)

    def _room(self) -> int | None:
        """Return how many requests the provider takes now; `None` is as many as there are."""
        room: int | None = getattr(self._provider, "room", None)
        return room if room is None else max(room, 0)

    def _unavailable(self, flight: Flight, error: Exception, now: datetime) -> None:
        flight.failures += 1
        flight.wait(now, self._interval, getattr(error, "retry_after", None))
        self.last_error = f"batch {flight.batch.key}: {error}"
        logger.warning(
            "%s: batch %s, %d times in a row: %s; next try %s",
            self._name,
            flight.batch.key,
            flight.failures,
            error,
            flight.due.isoformat(timespec="seconds"),
        )

    async def _each(self, steps: Iterable[Coroutine[None, None, None]]) -> None:
        """Run steps side by side; one that fails lets the others finish, and then its error passes."""
        gate = asyncio.Semaphore(_SIDE_BY_SIDE)

        async def run(step: Coroutine[None, None, None]) -> None:
            async with gate:
                await step

        for result in await asyncio.gather(*(run(step) for step in steps), return_exceptions=True):
            if isinstance(result, asyncio.CancelledError):  # nobody cancelled us: the gather would have ended
                raise RuntimeError(  # noqa: TRY004
                    f"the provider of {self._name!r} raised CancelledError, which ends no batch"
                )
            if isinstance(result, BaseException):
                raise result


def _is_left(batch: Intent | Submitted) -> bool:
    return isinstance(batch, Submitted) and batch.left != ""


def _begun_at(batch: Intent | Submitted) -> datetime:
    return batch.begun_at if isinstance(batch, Intent) else batch.submitted_at


def _said(error: BaseException | None) -> str:
    """Return what an error says, for a person who sees nothing else of it."""
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
