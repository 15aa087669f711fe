"""The engine: requests in, outcomes out, through a provider's batches. Driven by `tick(now)`; it has no clock.

A request is in exactly one place::

    collect ─▶ queue ─▶ begun ─▶ prepared ─▶ submitted ─▶ outcome ─▶ forgotten
                 ▲        │          │
                 └────────┴──────────┘  withdrawn: known not to exist at the provider

Every step can be repeated without harm: a crash between any two writes is the same as a step done twice. The engine
knows nothing of LangGraph's runtime or of any vendor, and it never raises for what a provider did: each request of
a batch ends with exactly one outcome instead. What the ledger's store raises passes through.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import islice
from typing import TypeVar

from batch_bridge import _outcome, events
from batch_bridge._flight import LONGEST_PAUSE, Flight, first_pause
from batch_bridge._flush import FlushPolicy
from batch_bridge._ledger import Ledger
from batch_bridge._models import JSON, Closed, Ended, Errored, Intent, Outcome, Request, Submitted
from batch_bridge._plan import Waiting, batch_key, cap, lines, split
from batch_bridge._provider import Provider
from batch_bridge._queue import Queue
from batch_bridge._settlement import ReadError, nothing, settle, settle_early
from batch_bridge._sharing import Sharing, spread
from batch_bridge.errors import ProviderUnavailable, RequestRefused, SubmissionRefused, SubmissionUnknown

logger = logging.getLogger("batch_bridge")

T = TypeVar("T")
_SIDE_BY_SIDE = 4
"""Batches that are looked after at the same time."""


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
    ) -> None:
        self._name = name
        self._provider = provider
        self._policy = policy
        self._ledger = ledger
        self._interval = poll_interval
        self._sharing = sharing
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
        remembered = dict(self._flights)
        self._flights.clear()
        self._in_flight.clear()
        self._settled_early.clear()
        self._settled.clear()
        self._drain, self._held_until = False, None
        for entry in await self._ledger.open_batches():
            batch, doubtful = entry if isinstance(entry, tuple) else (entry, False)
            flight = Flight(batch, now, first_pause(self._interval), doubtful=doubtful, inherited=True)
            old = remembered.get(batch.key)
            if old is not None and isinstance(batch, Submitted) and isinstance(old.batch, Submitted):
                flight.due, flight.pause, flight.failures = old.due, old.pause, old.failures
            self._add(flight)
        sent = []
        for waiting in await self._ledger.queue():
            sent_in = self._in_flight.get(waiting.id)
            if sent_in is None:
                self._queue.add(waiting)
            elif isinstance(sent_in.batch, Intent):
                sent_in.waiting[waiting.id] = waiting
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
        for request in requests:
            flight = self._in_flight.get(request.id)
            if flight is None:
                if request.id not in queue:
                    new[request.id] = request
            elif self._stand_by(flight, request, now):
                in_doubt.append(request)
        await self._ledger.enqueue(in_doubt)
        settled = await self._ledger.settled(tuple(new)) if new else set()
        since = asked_at or {}
        judged = {
            request.id: self._judge(request, since.get(request.thread, now))
            for request in new.values()
            if request.id not in settled
        }
        accepted = [each for each in judged.values() if isinstance(each, Waiting)]
        refused: dict[str, Outcome] = {each: why for each, why in judged.items() if isinstance(why, Errored)}
        recalled = await self._sharing.recall(accepted, now) if self._sharing else {}
        accepted = [waiting for waiting in accepted if waiting.id not in recalled]
        await self._ledger.enqueue(new[waiting.id] for waiting in accepted)
        await self._ledger.queued(accepted)
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
        await self._each(self._due(now), lambda flight: self._advance(flight, now))

    async def flush(self, now: datetime, *, drain: bool = False) -> None:
        """Do the second half of a tick: send what the policy says is due; with `drain` all that waits."""
        queue = self._opened()
        self._drain = self._drain or drain
        if self._is_held(now):
            return
        wanted, count = self._count(now)
        self._drain = self._drain and count < wanted
        if count:
            await self._flush(queue.first(count, now), now)

    def to_flush(self, now: datetime) -> tuple[str, ...]:
        """Return the ids of the requests that `flush` would send now, oldest first."""
        return () if self._is_held(now) else tuple(islice(self._opened(), self._count(now)[1]))

    def tell(self, now: datetime) -> Tick:
        """Return what has been settled since the last time, and when the next tick is due."""
        settled, self._settled = tuple(self._settled), []
        return Tick(settled, self._wake_at(now))

    async def drop(self, ids: Iterable[str]) -> None:
        """Take requests out of the queue, because nobody waits for them any more. What is in flight stays."""
        queue = self._opened()
        dropped = [request_id for request_id in ids if queue.discard(request_id)]
        await self._ledger.drop(dropped)
        if dropped and self.on_event is not None:
            self.on_event(events.Cancelled(bridge=self._name, requests=tuple(dropped)))

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
    def is_open(self) -> bool:
        """Whether it has been opened; nothing else may be asked of it before."""
        return self._queue is not None

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
        judged = self._judge(request, now)
        if isinstance(judged, Waiting):
            flight.waiting[request.id] = judged
            return True
        flight.refused[request.id] = judged
        return False

    def _judge(self, request: Request, asked_at: datetime) -> Waiting | Errored:
        try:
            measure = self._provider.measure(request)
        except RequestRefused as error:
            return Errored(str(error), code=error.code)
        except Exception as error:  # noqa: BLE001  # as in `_submit`: it must not stand in its neighbours' way
            return Errored(_said(error), code="measure_failed")
        limit = self._provider.limits.bytes
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
        limits = cap(self._provider.limits, self._policy.max_requests, self._policy.max_bytes)
        if self._sharing is not None:
            waiting = await self._recall(self._sharing, waiting, now)
        shared = self._sharing is not None and self._sharing.dedupe
        await self._each(split(waiting, limits, shared=shared), lambda planned: self._begin(planned, now))

    async def _recall(self, sharing: Sharing, waiting: Sequence[Waiting], now: datetime) -> Sequence[Waiting]:
        """Settle what has become known while it was queued, and return the rest."""
        recalled = await sharing.recall(waiting, now, again=True)
        if not recalled:
            return waiting
        await self._ledger.settle(recalled)
        for request_id in recalled:
            self._opened().discard(request_id)
        self._settled += recalled
        self._tell_settled(None, recalled)
        return [each for each in waiting if each.id not in recalled]

    async def _begin(self, planned: tuple[Waiting, ...], now: datetime) -> None:
        # Up to here they were in the queue: its turn may come late, and what was given up meanwhile is not sent.
        queue = self._opened()
        members = tuple(each for each in planned if queue.discard(each.id))
        if not members:
            return
        ids = tuple(request.id for request in members)
        keys, shared = (tuple(each.key for each in members), self._sharing.dedupe) if self._sharing else ((), False)
        intent = Intent(batch_key(self._name, members), ids, members[0].group, now, None, keys, shared)
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
                prepared = await self._provider.prepare(intent.key, requests)
                intent = replace(intent, prepared=prepared)
                await self._ledger.prepared(intent)
                flight.batch = intent
            if self.before_submit is not None:
                await self.before_submit()
            flight.doubtful = True
            handle = await self._provider.submit(intent.key, requests, intent.prepared)
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
        batch = Submitted(intent.key, intent.members, intent.group, now, handle, intent.keys, intent.shared)
        await self._ledger.confirm(batch)
        flight.batch, flight.doubtful, flight.failures = batch, False, 0
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
            found = await self._provider.find(intent.key, intent.prepared)
            if not found:
                await self._provider.fence(intent.prepared)
                found = await self._provider.find(intent.key, intent.prepared)
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
            await self._provider.cancel(handle)
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
        gone: dict[str, Outcome] = {each: lost for each in intent.members if each not in held}
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
        self._settled += settled
        again = [each for each in flight.waiting.values() if each.id not in settled]
        self._opened().put_back(again)
        if again and self.on_event is not None:
            ids = tuple(each.id for each in again)
            self.on_event(events.Resubmitted(bridge=self._name, batch=intent.key, requests=ids))

    # -- poll and settle -----------------------------------------------------------------------------------------

    async def _advance(self, flight: Flight, now: datetime) -> None:
        match flight.batch:
            case Submitted() as batch:
                await self._poll(flight, batch, now)
            case Intent() as intent if flight.doubtful:
                await self._reconcile(flight, intent, now)
            case Intent() as intent if flight.inherited:
                await self._withdraw(flight, intent)  # begun and not sent, by a process that is gone
            case Intent() as intent:
                await self._submit(flight, intent, now)

    async def _poll(self, flight: Flight, batch: Submitted, now: datetime) -> None:
        try:
            sent = tuple(lines(batch)) if batch.shared else batch.members
            remember = self._sharing.remember(now) if self._sharing else None
            reply = await spread(await self._provider.poll(batch.handle, sent), batch, remember, flight.settled)
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
            if self._in_flight.get(request_id) is flight:
                fresh.setdefault(request_id, outcome)
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
        try:
            kinds = await settle(self._ledger, batch, ended, inherited=flight.inherited, settled=flight.settled)
        except ReadError as error:
            flight.inherited = True  # what was read before it broke is written
            if isinstance(error.__cause__, ProviderUnavailable):
                self._unavailable(flight, error.__cause__, now)
            else:
                await self._fail(flight, Errored(_said(error.__cause__), code="poll_failed"), now)
            return
        submitted = batch if isinstance(batch, Submitted) else None
        usage = ended.usage() if callable(ended.usage) else ended.usage
        await self._ledger.close(
            Closed(
                key=batch.key,
                handle=submitted.handle if submitted else None,
                requests=len(batch.members),
                submitted_at=submitted.submitted_at if submitted else now,
                ended_at=now,
                outcomes=kinds,
                usage=usage,
            )
        )
        self._remove(flight)
        late = tuple(each for each in batch.members if each not in flight.settled)
        self._settled += late
        if flight.forgotten:
            await self._ledger.forget(flight.forgotten)
        logger.info("%s: batch %s settled: %s", self._name, batch.key, dict(kinds))
        if self.on_event is not None:
            counts = kinds - Counter(flight.settled.values())
            self.on_event(
                events.Settled(
                    bridge=self._name, batch=batch.key, requests=late, outcomes=counts, ended=True, usage=usage
                )
            )
        if submitted:
            await self._release(submitted)

    async def _release(self, batch: Submitted) -> None:
        try:
            await self._provider.release(batch.handle)
        except Exception as error:  # noqa: BLE001  # tidying up must not undo what is settled
            logger.warning("%s: could not tidy up after batch %s: %s", self._name, batch.key, _said(error))

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
        self._in_flight.update(dict.fromkeys(flight.batch.members, flight))

    def _remove(self, flight: Flight) -> None:
        del self._flights[flight.batch.key]
        for request_id in flight.batch.members:
            for held in (self._in_flight, self._settled_early):
                if held.get(request_id) is flight:
                    del held[request_id]

    def _due(self, now: datetime) -> list[Flight]:
        latest = now + max(self._interval, LONGEST_PAUSE)  # due later than that: the clock was set back
        return [flight for flight in self._flights.values() if not now < flight.due <= latest]

    def _wake_at(self, now: datetime) -> datetime | None:
        queue = self._opened()
        times = [flight.due for flight in self._flights.values()]
        if len(queue) and self._room() == 0:
            times.append(now + first_pause(self._interval))  # where nobody rings
        elif len(queue):
            due = now if self._drain else self._policy.due_at(queue.summary(now))
            if due is not None:
                times.append(max(due, self._held_until) if self._held_until and self._is_held(now) else due)
            if self._policy.when is not None:
                times.append(now + self._interval)
        return min(times, default=None)

    def _count(self, now: datetime) -> tuple[int, int]:
        """Return how many requests the policy sends, and how many of them the provider takes."""
        wanted = self._policy.take(self._opened().summary(now), drain=self._drain)
        room = self._room()
        return wanted, wanted if room is None else min(wanted, room)

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

    async def _each(self, batches: Iterable[T], step: Callable[[T], Awaitable[None]]) -> None:
        """Do a step for each batch, side by side; one that fails lets the others finish, and then its error passes."""
        gate = asyncio.Semaphore(_SIDE_BY_SIDE)

        async def run(batch: T) -> None:
            async with gate:
                await step(batch)

        for result in await asyncio.gather(*map(run, batches), return_exceptions=True):
            if isinstance(result, asyncio.CancelledError):  # nobody cancelled us: the gather would have ended
                raise RuntimeError(  # noqa: TRY004
                    f"the provider of {self._name!r} raised CancelledError, which ends no batch"
                )
            if isinstance(result, BaseException):
                raise result


def _said(error: BaseException | None) -> str:
    """Return what an error says, for a person who sees nothing else of it."""
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
