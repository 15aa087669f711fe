"""A world of lanes in virtual time: each takes what it takes, has room or none, and counts what it was paid for."""

import heapq
import itertools
from collections import Counter
from dataclasses import dataclass, field
from datetime import timedelta

from fakes import FakeStore, at, ended

from batch_bridge._core.models import Cancelled, InProgress, Limits, Measure, Request, Succeeded
from batch_bridge._core.policy.flush_policy import FlushPolicy
from batch_bridge._core.policy.ladder import Rung
from batch_bridge._core.policy.lanes import LANE
from batch_bridge._engine import Engine, EngineSettings
from batch_bridge._engine.waiting.ladder import Ladder, LadderLane
from batch_bridge._ledger.make import budgeted

NO_TIME = timedelta(0)
PRICES = {"batch": 0.5, "window:2h": 0.7, "flex": 0.5, "realtime": 1.0}
PROMISES = {"batch": 86_400, "window:2h": 7_200, "flex": 900, "realtime": 60}
STOPS = {"batch": 600, "window:2h": 60, "flex": 5, "realtime": 0}


class Clock:
    def __init__(self):
        self.seconds = 0.0

    @property
    def now(self):
        return at(self.seconds)


@dataclass
class Sent:
    requests: tuple
    began: float | None
    ends: float | None
    stopped: float | None = None


@dataclass
class Lane:
    """A lane.

    Attributes:
        takes: Seconds that an answer takes, by the time at which it begins.
        is_open: Whether it has capacity at a time; one without says so.
        stops: Whether what has begun can be stopped; it is not paid then.
    """

    name: str
    clock: Clock
    takes: object
    is_open: object = lambda _: True
    stops: bool = True
    limits: Limits = field(default_factory=Limits)
    paid: Counter = field(default_factory=Counter)

    def __post_init__(self):
        self.sent = {}
        self.numbers = itertools.count()

    def measure(self, request):
        return Measure("chat model", 1)

    async def prepare(self, key, requests):
        return {LANE: self.name, "key": key}

    async def submit(self, key, requests, prepared):
        handle = f"{self.name} {next(self.numbers)}"
        self.sent[handle] = Sent(tuple(requests), None, None)
        self._begin(self.sent[handle])
        return {LANE: self.name, "id": handle}

    def _begin(self, sent):
        now = self.clock.seconds
        if sent.began is None and sent.stopped is None and self.is_open(now):
            sent.began, sent.ends = now, now + self.takes(now)

    def refuses(self, handle):
        return self.sent[handle["id"]].began is None

    async def poll(self, handle, requests):
        sent = self.sent[handle["id"]]
        self._begin(sent)
        now = self.clock.seconds
        if sent.stopped is not None and (sent.ends is None or sent.stopped < sent.ends):
            return ended({each.id: Cancelled("stopped") for each in sent.requests})
        if sent.ends is not None and sent.ends <= now:
            told = self.told(handle)
            self.paid.update({each.id: 1 for each in sent.requests if each.id not in told})
            return ended({each.id: Succeeded({"lane": self.name, "n": each.item["n"]}) for each in sent.requests})
        again = 600.0 if sent.ends is None else sent.ends - now
        return InProgress(0, len(sent.requests), again_in=max(min(again, 600.0), 0.001))

    def told(self, handle):
        key = ("told", handle["id"])
        known = key in self.__dict__.setdefault("_told", set())
        self._told.add(key)
        return {each.id for each in self.sent[handle["id"]].requests} if known else set()

    async def find(self, key, prepared):
        return []

    async def fence(self, prepared):
        pass

    async def cancel(self, handle):
        sent = self.sent[handle["id"]]
        if sent.stopped is None and (self.stops or sent.began is None):
            sent.stopped = self.clock.seconds

    async def release(self, handle):
        pass

    async def aclose(self):
        pass


class World:
    """A bridge with these lanes, from the patient to the quick; driven until everything is answered.

    Attributes:
        answered: When each request was answered, in seconds, and by which lane.
        events: What has happened.
    """

    def __init__(self, lanes, clock, *, max_age=1800, policy="wait_for_cancel"):
        self.clock = clock
        self.lanes = {lane.name: lane for lane in lanes}
        home = self.lanes.get("batch") or lanes[0]
        self.home = home
        self.policy = FlushPolicy(max_age=max_age if home.name == "batch" else 0)
        self.on_deadline = policy
        self.ladder = Ladder(
            tuple(self._lane(lane, home, lanes[-1], max_age) for lane in lanes),
            None,
            policy,
            is_strict=True,
            chooses=True,
        )
        self.store = FakeStore()
        self.answered = {}
        self.events = []

    def _lane(self, lane, home, last, max_age):
        name = lane.name
        is_pooled = name == "batch"
        pools = timedelta(seconds=max_age) if is_pooled else NO_TIME
        rung = Rung(name, PRICES[name], timedelta(seconds=PROMISES[name]), timedelta(seconds=STOPS[name]), pools)
        is_single = name not in ("batch", last.name)
        return LadderLane(rung, None if lane is home else lane, is_single=is_single, is_pooled=is_pooled)

    async def open(self):
        self.engine = Engine(
            "bridge",
            self.home,
            self.policy,
            budgeted(self.store, "bridge"),
            EngineSettings(ladder=self.ladder, attempts=3),
        )
        self.engine.on_event = self.events.append
        await self.engine.open(self.clock.now)

    async def run(self, arrivals):
        """Ask; `arrivals` are (seconds, request), in order."""
        coming = list(arrivals)[::-1]
        wanted = {request.id for _, request in coming}
        self.requests = {request.id: request for _, request in coming}
        while len(self.answered) < len(wanted):
            fresh = []
            while coming and coming[-1][0] <= self.clock.seconds:
                fresh.append(coming.pop()[1])
            if fresh:
                await self._note(await self.engine.collect(fresh, self.clock.now))
            tick = await self.engine.tick(self.clock.now)
            await self._note(tick.settled)
            if len(self.answered) == len(wanted):
                break
            times = [coming[-1][0]] if coming else []
            if tick.wake_at is not None:
                times.append((tick.wake_at - at(0)).total_seconds())
            assert times, "nothing is due, and not everything is answered"
            self.clock.seconds = max(min(times), self.clock.seconds + 0.001)

    async def _note(self, ids):
        fresh = [each for each in ids if each not in self.answered]
        for request_id, outcome in (await self.engine.outcomes(fresh)).items():
            assert isinstance(outcome, Succeeded), outcome
            assert outcome.answer["n"] == self.requests[request_id].item["n"]
            self.answered[request_id] = (self.clock.seconds, outcome.answer["lane"])
        await self.engine.forget(fresh)

    async def drain(self):
        """Go on until nothing is on its way; what was left is counted."""
        while self.engine.batches_in_flight:
            tick = await self.engine.tick(self.clock.now)
            if tick.wake_at is not None:
                self.clock.seconds = max((tick.wake_at - at(0)).total_seconds(), self.clock.seconds + 0.001)

    @property
    def cost(self):
        return sum(PRICES[name] * lane.paid.total() for name, lane in self.lanes.items())


def request(number, deadline):
    return Request(f"{number:032x}", f"t{number}", {"n": number}, deadline=timedelta(seconds=deadline))


def merged(*streams):
    return list(heapq.merge(*streams, key=lambda each: each[0]))
