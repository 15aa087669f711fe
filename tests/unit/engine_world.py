"""What outlives a process, and a provider whose batches end as they are told."""

import itertools
from datetime import timedelta

from fakes import FakeProvider, FakeStore, Fuse, at, ended, request

from batch_bridge._core.models import Cancelled, Errored, InProgress, Measure, Succeeded
from batch_bridge._core.policy.flush_policy import FlushPolicy
from batch_bridge._engine import Engine, EngineSettings
from batch_bridge._engine.waiting.ladder import Ladder
from batch_bridge._ledger.ledger import Ledger
from batch_bridge._ledger.make import budgeted, durable
from batch_bridge._server.records import ServerRecords

REQUESTS = [request(n, group="ab"[n % 2]) for n in range(7)]
IDS = [each.id for each in REQUESTS]
RATE = Errored("429", code="rate_limit", status_code=429, retryable=True)
BAD = Errored("400", code="invalid", status_code=400)
LEDGERS = [Ledger, budgeted, durable, ServerRecords]
HOUR = timedelta(seconds=3600)


class Moody(FakeProvider):
    """A batch provider whose batches end as they are told, by request; and which is slow, if that is wanted.

    Attributes:
        moods: What a request ends with the next times, before it succeeds.
        stuck: Batches do not end by themselves.
        done: Requests that were answered by the time a batch is cancelled.
    """

    def __init__(self, fuse, measure):
        super().__init__(fuse=fuse, measure=measure)
        self.moods = {}
        self.stuck = False
        self.done = set()
        self.read = {}
        self.cancelled_at = {}

    async def poll(self, handle, requests):
        def end():
            batch = self.batches[str(handle)]
            if self.stuck and batch.state == "live":
                return InProgress(0, len(batch.requests))
            if handle not in self.read:
                self.read[handle] = {each.id: self._outcome(each, batch) for each in batch.requests}
                batch.state = "ended"
                self.executed.update(each for each, end in self.read[handle].items() if isinstance(end, Succeeded))
            return ended(self.read[handle])

        return await self._call("poll", handle, end)

    def _outcome(self, request, batch):
        if batch.state == "cancelled":
            return Succeeded(request.item) if request.id in self.done else Cancelled("stopped")
        moods = self.moods.get(request.id, [])
        return moods.pop(0) if moods else Succeeded(request.item)


class World:
    """What outlives a process; see `test_engine_crashes`."""

    def __init__(self, ledger=Ledger, *, attempts=3, policy=None, moods=(), stuck=False, done=(), step=100):
        self.fuse = Fuse()
        self.store = FakeStore(fuse=self.fuse)
        self.kind = ledger
        self.provider = Moody(self.fuse, lambda each: Measure(each.item["group"], 1))
        self.provider.moods = {IDS[n]: list(each) for n, each in dict(moods).items()}
        self.provider.stuck = stuck
        self.provider.done = {IDS[n] for n in done}
        self.fallback = FakeProvider(fuse=self.fuse)
        self.attempts = attempts
        self.deadline = None if policy is None else Ladder.of_fallback(HOUR, policy, self.fallback)
        self.clock = itertools.count()
        self.step = step
        self.seen = {}
        self.engine = None

    def now(self):
        return at(self.step * next(self.clock))

    async def boot(self):
        ledger = self.kind(self.store, "bridge", chunk=2)  # so that a crash falls between the writes of one step
        if isinstance(ledger, ServerRecords):
            await ledger.load()
            ledger = ledger.ledger
        self.engine = Engine(
            "bridge",
            self.provider,
            FlushPolicy(max_requests=3),
            ledger,
            EngineSettings(attempts=self.attempts, ladder=self.deadline),
        )
        await self.engine.open(self.now())
        return set(await self.engine.collect(REQUESTS, self.now()))

    async def live(self, ticks=20, act=None):
        try:
            told = await self.boot()
            for turn in range(ticks):
                if act is not None and turn == 2:
                    told |= await act(self.engine, self.now())
                tick = await self.engine.tick(self.now(), drain=True)
                told |= set(tick.settled)
                self.look()
                await self.after_tick()
                if tick.wake_at is None:
                    break
            return await self.engine.outcomes(sorted(told))
        finally:
            self.look()

    async def after_tick(self):
        """Do what a host does beside its engine: nothing here."""

    def look(self):
        for request_id, outcome in self.store.read()["outcomes"].items():
            assert self.seen.setdefault(request_id, outcome) == outcome, "an outcome has changed"
