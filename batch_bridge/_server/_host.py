"""A bridge in one process of a LangGraph server: the engine and the post, and the steps of a tick."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any

import httpx
from langgraph.store.base import PutOp, SearchOp
from langgraph_sdk.client import LangGraphClient
from langgraph_sdk.errors import APIError

from batch_bridge._deployment._access import Access, bridge_thread
from batch_bridge._deployment._bell import start_tick
from batch_bridge._deployment._inbox import Note, read_notes, remove_notes
from batch_bridge._engine import Engine
from batch_bridge._ledger import Ledger, Rows
from batch_bridge._models import Request
from batch_bridge._server._lease import Lease
from batch_bridge._server._ledger import DeploymentStore, ServerLedger
from batch_bridge._server._post import Post, delivered_namespace
from batch_bridge._server._seen import Seen, look, look_for_parked

logger = logging.getLogger("batch_bridge")

_SWEEP_PAGES = 5
"""Pages of parked threads that one pass of a sweep reads."""
_SWEEP_EVERY = timedelta(minutes=10)
_TIDY_EVERY = timedelta(hours=1)
_DELIVER_FOR = 1.0
"""Seconds of delivering, after which the inbox is looked at again."""
_NAP = timedelta(seconds=1)
_AWAKE = timedelta(seconds=5)
"""How long a tick goes on napping; then it ends, so that its thread shows how things are, and the next one begins."""
_NOT_PARKED = timedelta(seconds=5)
"""How long a note counts whose thread is neither parked nor busy."""
_LOOKED_AT = 200
"""Threads that are held in memory at once, with all that they ask for."""
_SHOWN = 20
"""Batches and dead letters that the thread's state shows."""


class Host:
    """The steps of a tick, in the order of a tick. One tick at a time; what a step did need not be done again.

    Args:
        graph_id: The bridge's name on this server.
        engine: Makes the engine over a ledger.
        access: How the server is reached.
        retention: How long outcomes are kept that were delivered, and summaries of batches.
    """

    def __init__(
        self, graph_id: str, engine: Callable[[Ledger, str], Engine], access: Access, retention: timedelta
    ) -> None:
        self._name = graph_id
        self._access = access
        self._retention = retention
        self._store = DeploymentStore()
        self._ledger = ServerLedger(self._store, graph_id)
        self._lease = Lease(self._store, graph_id)
        self._engine = engine(self._ledger, graph_id)
        self._post = Post(self._store, graph_id, self._ledger, self._engine.forget)
        self._engine.before_submit = self._lease.check
        self._opened = False
        self._sweep_at: datetime | None = None
        self._sweep_began: datetime | None = None
        self._sweep_since: datetime | None = None
        self._swept: int | None = 0
        self._tidy_at: datetime | None = None
        self._look_at: datetime | None = None
        self._again = False
        self._began = _now()
        self._failures = 0
        self.last_error = ""
        self.passes = 0

    @property
    def client(self) -> LangGraphClient:
        """Calls the server, as the service that was configured or as the user of this run."""
        return self._access.client()

    async def begin(self, store: Rows) -> bool:
        """Begin a pass; tell whether this process may go on with the bridge, or another tick still runs."""
        self.passes += 1
        self._store.store = store
        now = _now()
        if self.passes == 1:
            self._began = now
        mine = await self._lease.take(now)
        if mine is None:
            await self._wake_at(now + timedelta(seconds=5), now)
            return False
        if not mine or not self._opened:
            await self._ledger.load()
            await self._renew(_now())  # a long queue takes its time
            await self._engine.open(now)
            self._post.load(now)
            self._opened = True
        return True

    async def collect(self, user: str) -> None:
        """Take in what newly parked threads ask for; look for forgotten ones now and then."""
        now = _now()
        self._again = False
        notes = await read_notes(self._store, self._name)
        if notes:
            threads = list(dict.fromkeys(note.thread for note in notes))
            seen = await look(self.client, threads)
            fresh = await self._take_in(seen.values(), now, {note.thread: note.left_at for note in notes})
            for note in notes:
                if note.thread in seen and note.asks in seen[note.thread].digests(self._name):
                    self._post.strike(note.thread, idle=note.idle and note.thread in fresh)
            self._post.hasten(threads, now)
            done, self._look_at = self._sort(notes, seen, user, now)
            await remove_notes(self._store, self._name, done)
        else:
            self._look_at = None
        await self._sweep(now)

    async def advance(self) -> None:
        """Look after the batches that are due."""
        now = _now()
        await self._renew(now)
        await self._engine.advance(now)
        self._post.add(self._engine.tell(now).settled, now)
        self._note_error(self._engine)

    async def deliver(self) -> None:
        """Resume the threads whose outcomes are there."""
        now = _now()
        self._again |= await self._post.deliver(self.client, now, seconds=_DELIVER_FOR)
        self._note_error(self._post)

    async def flush(self, *, everything: bool) -> None:
        """Send what is due, or all that waits, unless its thread has gone away meanwhile."""
        now = _now()
        ids = tuple(self._engine.waiting) if everything else self._engine.to_flush(now)
        if ids:
            await self._drop_abandoned(ids)
            await self._renew(now)
            await self._engine.flush(_now(), drain=everything)
            self._note_error(self._engine)

    @property
    def again(self) -> bool:
        """Whether this tick has more to do."""
        return self._again

    async def rest(self) -> bool:
        """Wait for what is due within a second, and tell whether there was something.

        A run can be asked for by the second only, and costs more than a nap. What is answered in this process, and
        by no provider's batch, is waited for.
        """
        now, next_at = _now(), self._next_at()
        if next_at is None or (next_at - now > _NAP and not self._engine.expects_news):
            return False
        if not timedelta(0) <= now - self._began < _AWAKE:
            return False
        news = asyncio.Event()
        self._engine.on_news = news.set
        try:
            async with asyncio.timeout(max(min(next_at - now, _NAP).total_seconds(), 0.0)):
                await news.wait()
        except TimeoutError:
            pass
        finally:
            self._engine.on_news = None
        return True

    async def end(self) -> datetime | None:
        """End the tick: see to it that there is a next one if there is anything to wait for. Returns when."""
        now = _now()
        await self._tidy(now)
        self._failures, self.passes = 0, 0
        at = now if self._again else self._next_at()
        return await self._wake_at(at, now)

    def _next_at(self) -> datetime | None:
        now = _now()
        tick = self._engine.tell(now)
        self._post.add(tick.settled, now)
        waits = [time for time in (tick.wake_at, self._post.next_at, self._look_at) if time is not None]
        if waits and self._sweep_at is not None:
            waits.append(self._sweep_at)
        return min(waits, default=None)

    async def fail(self, error: Exception) -> datetime | None:
        """End a tick that an error has ended: try again, later each time."""
        now = _now()
        self.last_error = f"{type(error).__name__}: {error}"
        logger.error("%s: a tick failed", self._name, exc_info=error)
        self.passes = 0
        self._opened = False  # what is remembered may be wrong: read it again
        self._failures += 1
        return await _stubbornly(self._wake_at, now + timedelta(seconds=min(2**self._failures, 60)), now)

    async def _renew(self, now: datetime) -> None:
        if not await self._lease.renew(now):
            raise RuntimeError(f"another tick of {self._name!r} has taken over from this one")

    async def replay(self, ids: list[str] | None) -> None:
        """Deliver dead letters again: those named, or all."""
        await self._ledger.replay(ids)
        self._post.add(self._ledger.outbox, _now())

    def status(self) -> dict[str, Any]:
        """Return what the thread's state shows."""
        dead: list[tuple[str, Any]] = list(islice(self._ledger.dead.items(), _SHOWN))
        return {
            "waiting": self._engine.queued,
            "in_flight": self._engine.in_flight,
            "batches": self._engine.batches_in_flight,
            "undelivered": len(self._post),
            "dead_letters": [{"request": each, "thread": thread, "reason": why} for each, (thread, why, _) in dead],
            "last_error": self.last_error,
        }

    def _note_error(self, source: Engine | Post) -> None:
        if source.last_error:
            self.last_error, source.last_error = f"{_now():%Y-%m-%d %H:%M:%SZ} {source.last_error}", ""

    # -- intake ----------------------------------------------------------------------------------------------------

    async def _take_in(
        self, threads: Iterable[Seen], now: datetime, asked_at: Mapping[str, datetime] | None = None
    ) -> set[str]:
        """Take in what threads ask for, and return those that ask for something new."""
        requests: list[Request] = []
        stale: list[str] = []
        for thread in threads:
            asked = thread.asks(self._name)
            if asked:
                requests += [each.request(thread.id) for each in asked]
                stale += self._ledger.queued_of(thread.id) - {each.id for each in asked}
        await self._engine.drop(stale)
        new = [each for each in requests if not self._engine.knows(each.id)]
        settled = await self._engine.collect(requests, now, asked_at=asked_at)
        await self._ledger.outbox.add({each.id: each.thread for each in requests if each.id in settled})
        self._post.add(settled, now)
        return {each.thread for each in new if each.id not in settled}

    def _sort(
        self, notes: list[Note], seen: dict[str, Seen], user: str, now: datetime
    ) -> tuple[list[str], datetime | None]:
        """Return the notes that are done with, and when to look at the others again."""
        done: list[str] = []
        look_at: datetime | None = None
        for note in notes:
            thread, age = seen.get(note.thread), now - note.left_at
            if thread is None and self._may_be_hidden(note, user):
                self.last_error = (
                    f"thread {note.thread} of user {note.user!r} is hidden from {user or 'this run'!r}; give the "
                    "bridge an identity that sees all: Bridge(…, client=get_client(url=…, headers=…))"
                )
                wait = age < timedelta(hours=1)
            elif thread is None or note.asks in thread.digests(self._name):
                wait = False
            else:
                wait = thread.busy or age < _NOT_PARKED
            if wait:
                again = now + min(max(age / 4, timedelta(seconds=0.5)), timedelta(seconds=30))
                look_at = again if look_at is None else min(look_at, again)
            else:
                done.append(note.key)
        return done, look_at

    def _may_be_hidden(self, note: Note, user: str) -> bool:
        return bool(note.user) and note.user != user and self._access.service is None

    async def _sweep(self, now: datetime) -> None:
        """Look for parked threads that nobody told of: a few pages in a pass."""
        if self._swept is None and self._sweep_at is not None and now >= self._sweep_at:
            self._swept = 0
        if self._swept is None:
            return
        for _ in range(_SWEEP_PAGES):
            threads, last = await look_for_parked(self.client, self._swept, self._sweep_since)
            await self._take_in([thread for thread in threads if self._is_news(thread)], now)
            self._swept += len(threads)
            if last:  # the next one looks at what has parked since the one before this
                self._sweep_since, self._sweep_began = self._sweep_began, now
                self._swept, self._sweep_at = None, now + _SWEEP_EVERY
                return
        self._again = True

    def _is_news(self, thread: Seen) -> bool:
        asked = {each.id for each in thread.asks(self._name)}
        return any(not self._engine.knows(each) and each not in self._ledger.dead for each in asked)

    # -- before paying ---------------------------------------------------------------------------------------------

    async def _drop_abandoned(self, ids: tuple[str, ...]) -> None:
        """Take out of the queue what nobody waits for any more: its thread was deleted, has ended, or does other work.

        Judged by the threads' interrupts: one that was given new input may wait for something else by now.
        """
        by_thread: dict[str, list[str]] = {}
        for request_id in ids:
            by_thread.setdefault(self._ledger.thread_of(request_id), []).append(request_id)
        abandoned: list[str] = []
        threads = list(by_thread)
        for start in range(0, len(threads), _LOOKED_AT):
            page = threads[start : start + _LOOKED_AT]
            seen = await look(self.client, page)
            for thread in page:
                abandoned += _abandoned(seen.get(thread), self._name, by_thread[thread])
        await self._engine.drop(abandoned)

    # -- the end of a tick -----------------------------------------------------------------------------------------

    async def _wake_at(self, at: datetime | None, now: datetime) -> datetime | None:
        if at is not None:
            at = max(at, now)
            pending: Any = await self.client.runs.list(bridge_thread(self._name), status="pending", limit=100)
            if not any((run.get("metadata") or {}).get("due", 0) <= at.timestamp() + 0.5 for run in pending):
                await start_tick(self.client, self._name, "timer", after=int((at - now).total_seconds()))
        await self._lease.end(now)
        return at

    async def _tidy(self, now: datetime) -> None:
        """Let go, now and then, of what has been kept for long enough, and of old runs of the bridge's thread."""
        if self._tidy_at is not None and now < self._tidy_at:
            return
        first, self._tidy_at = self._tidy_at is None, now + _TIDY_EVERY
        oldest = now - self._retention
        (rows,) = await self._store.abatch([SearchOp(delivered_namespace(self._name), limit=1000)])
        for row in rows:
            if row.key < f"{oldest:%Y%m%d%H}":
                await self._engine.forget(row.value["ids"])
                await self._store.abatch([PutOp(delivered_namespace(self._name), row.key, None)])
        await self._ledger.forget_closed(oldest)
        await self._engine.forget(await self._ledger.forget_dead(oldest))
        if not first:
            await self._forget_runs()

    async def _forget_runs(self) -> None:
        thread = bridge_thread(self._name)
        try:
            for run in await self.client.runs.list(thread, status="success", limit=1000, offset=20):
                await self.client.runs.delete(thread, run["run_id"])
            if hasattr(self.client.threads, "prune"):
                await self.client.threads.prune([thread], strategy="keep_latest")
        except APIError as error:
            logger.info("%s: could not tidy up the bridge's thread: %s", self._name, error)


async def _stubbornly(
    wake_at: Callable[[datetime, datetime], Awaitable[datetime | None]], at: datetime, now: datetime
) -> datetime | None:
    """Ask for the next tick until the server takes it: there would be none otherwise."""
    for pause in (1, 4, 15, 60):
        try:
            return await wake_at(at, now)
        except (APIError, httpx.HTTPError) as error:
            logger.warning("could not ask for the next tick: %s", error)
            await asyncio.sleep(pause)
    return await wake_at(at, now)


def _abandoned(thread: Seen | None, bridge: str, queued: list[str]) -> list[str]:
    """Return those of a thread's queued requests that it does not wait for any more; one that runs may yet."""
    if thread is None or thread.failed or thread.ended:
        return queued
    asked = {each.id for each in thread.asks(bridge)}
    return [] if thread.busy else [request_id for request_id in queued if request_id not in asked]


def _now() -> datetime:
    return datetime.now(UTC)
