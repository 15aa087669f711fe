"""Requests that are sent again, are late or are cancelled; and a process that dies at every call in turn."""

import asyncio
import itertools
from dataclasses import replace
from datetime import timedelta

import pytest
from fakes import MOMENTS, Crash, Created, FakeProvider, FakeStore, Fuse, at, ended, request

from batch_bridge import _ledger, _settlement
from batch_bridge._deadline import Deadline
from batch_bridge._driver import Driver
from batch_bridge._engine import CANCELLED, Engine, _schedule
from batch_bridge._flush import FlushPolicy
from batch_bridge._holding import HoldingLedger
from batch_bridge._keeping import KeepingLedger
from batch_bridge._ledger import Ledger
from batch_bridge._models import Cancelled, Errored, Expired, InProgress, Limits, Measure, Succeeded
from batch_bridge._server._ledger import ServerLedger
from batch_bridge.errors import ProviderUnavailable, SubmissionUnknown

REQUESTS = [request(n, group="ab"[n % 2]) for n in range(7)]
IDS = [each.id for each in REQUESTS]
RATE = Errored("429", code="rate_limit", status_code=429, retryable=True)
BAD = Errored("400", code="invalid", status_code=400)
LEDGERS = [Ledger, HoldingLedger, KeepingLedger, ServerLedger]
HOUR = timedelta(seconds=3600)


@pytest.fixture(autouse=True)
def _short_chunks(monkeypatch):
    monkeypatch.setattr(_ledger, "_CHUNK", 2)
    monkeypatch.setattr(_settlement, "_CHUNK", 2)


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

    async def poll(self, handle, members):
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
        self.deadline = None if policy is None else Deadline(HOUR, policy, self.fallback)
        self.clock = itertools.count()
        self.step = step
        self.seen = {}
        self.engine = None

    def now(self):
        return at(self.step * next(self.clock))

    async def boot(self):
        ledger = self.kind(self.store, "bridge")
        if isinstance(ledger, ServerLedger):
            await ledger.load()
        self.engine = Engine(
            "bridge",
            self.provider,
            FlushPolicy(max_requests=3),
            ledger,
            attempts=self.attempts,
            deadline=self.deadline,
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
                if tick.wake_at is None:
                    break
            return await self.engine.outcomes(sorted(told))
        finally:
            self.look()

    def look(self):
        for request_id, outcome in self.store.read()["outcomes"].items():
            assert self.seen.setdefault(request_id, outcome) == outcome, "an outcome has changed"


async def give_up(engine, now):
    return await engine.cancel(IDS[:3], now)


STORIES = {
    "expired, and answered later": {"moods": {n: [Expired("24 h")] for n in range(7)}},
    "some 429": {"moods": {1: [RATE], 3: [RATE, RATE]}},
    "429 for ever": {"moods": {1: [RATE] * 9, 2: [BAD]}},
    "late, and waited for": {"policy": "wait_for_cancel", "stuck": True, "done": [0, 3], "step": 1000},
    "late, and paid again": {"policy": "pay_again", "stuck": True, "done": [0, 3], "step": 1000},
    "given up": {"stuck": True, "policy": "wait_for_cancel", "act": give_up, "step": 1000},
}


@pytest.mark.sampled
@pytest.mark.parametrize("ledger", LEDGERS)
@pytest.mark.parametrize("story", STORIES)
@pytest.mark.parametrize("moment", MOMENTS)
async def test_wherever_the_process_dies_every_request_ends_once(story, moment, ledger):
    options = dict(STORIES[story])
    act = options.pop("act", None)
    for call in itertools.count(1):
        world = World(ledger, **options)
        world.fuse.arm(call, moment)
        try:
            outcomes = await world.live(act=act)
        except Crash:
            world.fuse.revive()
            outcomes = await world.live(act=act)
        else:
            assert call > 30, "the story is too short to prove anything"
            break
        where = f"died at call {call}"
        assert outcomes.keys() == set(IDS), where
        rows = world.store.read()
        assert not rows["batches"], where
        again = {each: [batch for batch, *_ in row["tries"]] for each, row in rows["tries"].items()}
        for n, each in enumerate(REQUESTS):
            paid = world.provider.executed[each.id] + world.fallback.executed[each.id]
            assert paid <= (2 if story == "late, and paid again" and n in (0, 3) else 1), where
            if isinstance(outcomes[each.id], Succeeded):
                assert outcomes[each.id].answer == each.item, where
            elif act is None:
                assert n in (1, 2), where
                assert story == "429 for ever", where
            assert len(set(again.get(each.id, []))) == len(again.get(each.id, [])), "a batch is one try"
        closed = await Ledger(world.store, "bridge").closed_batches()
        twice = sum(each.paid_twice for each in closed)
        answered = world.provider.executed & world.fallback.executed
        assert twice == answered.total(), where
        if act is None:
            assert sum(each.requests for each in closed) == len(IDS), where


@pytest.mark.parametrize("ledger", [KeepingLedger, ServerLedger])
async def test_a_queue_that_is_kept_is_gone_on_with_though_nobody_asks_again(ledger):
    """After each call the process ends, and the next one is told of nobody who waits."""
    for call in itertools.count(1):
        world = World(ledger, moods={1: [RATE], 2: [Expired("24 h")]})
        await world.boot()
        await world.engine.tick(world.now(), drain=True)
        world.fuse.arm(call, "after")
        try:
            for _ in range(4):
                await world.engine.tick(world.now(), drain=True)
        except Crash:
            world.fuse.revive()
        else:
            break
        asked, REQUESTS[:] = list(REQUESTS), []
        try:
            await world.boot()
        finally:
            REQUESTS[:] = asked
        for _ in range(8):
            await world.engine.tick(world.now(), drain=True)
        assert world.store.read()["outcomes"].keys() == set(IDS), f"died after call {call}"
        assert max(world.provider.executed.values()) == 1
    assert call > 20


async def test_what_was_tried_is_on_record():
    world = World(moods={1: [RATE, Expired("24 h"), RATE]})
    outcomes = await world.live()
    final = outcomes[IDS[1]]
    assert [(each.kind, each.code) for each in final.attempts] == [("errored", "rate_limit"), ("expired", "expired")]
    assert len({each.batch for each in final.attempts}) == 2
    assert final.message == "429"
    (row,) = world.store.read()["tries"].values()
    assert len(row["tries"]) == 2
    closed = await Ledger(world.store, "bridge").closed_batches()
    assert sum(each.resubmitted for each in closed) == 2
    await world.engine.forget(IDS)
    assert not world.store.read()["tries"]


async def test_the_same_members_sent_again_are_another_batch():
    world = World(moods={n: [Expired("24 h")] for n in range(7)})
    await world.live()
    assert len(await Ledger(world.store, "bridge").closed_batches()) == 6


async def test_what_comes_back_is_sent_though_the_policy_would_wait():
    provider = Moody(Fuse(), lambda each: Measure("", 1))
    provider.moods = {IDS[0]: [RATE]}
    engine = Engine("bridge", provider, FlushPolicy(max_age=None), Ledger(FakeStore(), "bridge"), attempts=2)
    await engine.open(at(0))
    await engine.collect(REQUESTS, at(0))
    await engine.tick(at(0), drain=True)
    await engine.tick(at(1))
    assert engine.queued == 0
    assert set((await engine.tick(at(2))).settled) == {IDS[0]}


async def test_permanent_errors_and_single_attempts_reach_their_waiter_at_once():
    world = World(moods={1: [BAD], 2: [RATE]})
    assert (await world.live(ticks=2))[IDS[1]] == BAD
    world = World(attempts=1, moods={2: [RATE]})
    outcomes = await world.live(ticks=2)
    assert outcomes[IDS[2]] == RATE


async def test_what_nobody_waits_for_is_not_sent_again():
    world = World(moods={1: [RATE]}, stuck=True)
    await world.boot()
    await world.engine.tick(world.now(), drain=True)
    await world.engine.drop([IDS[1]])
    world.provider.stuck = False
    await world.engine.tick(world.now(), drain=True)
    assert world.engine.queued == world.engine.in_flight == 0
    assert await world.engine.collect([REQUESTS[1]], world.now()) == set()
    assert world.engine.queued == 1


# -- deadlines ---------------------------------------------------------------------------------------------------


async def late(policy, **options):
    world = World(policy=policy, stuck=True, step=0, **options)
    await world.boot()
    tick = await world.engine.tick(at(0), drain=True)
    assert tick.wake_at is not None
    return world


async def test_wait_for_cancel_pays_nothing_twice():
    world = await late("wait_for_cancel", done=[0, 3])
    told = set((await world.engine.tick(at(3599))).settled)
    assert not [verb for verb in world.provider.take() if verb == "cancel"]
    for second in (3600, 3601, 3602):
        told |= set((await world.engine.tick(at(second))).settled)
    assert told == set(IDS)
    assert world.provider.executed.keys() == {IDS[0], IDS[3]}
    assert world.fallback.executed.keys() == set(IDS) - {IDS[0], IDS[3]}
    assert world.provider.take().count("cancel") == 3


async def test_pay_again_answers_at_once_and_counts_what_is_paid_twice():
    world = await late("pay_again", done=[0, 3])
    world.provider.then("cancel", *[ProviderUnavailable("503")] * 4)
    told = set((await world.engine.tick(at(3600))).settled)
    told |= set((await world.engine.tick(at(3601))).settled)
    assert told == set(IDS)
    assert world.fallback.executed.keys() == set(IDS)
    assert {row["stage"] for row in world.store.read()["batches"].values()} == {"overdue"}
    for second in range(3700, 3800):
        await world.engine.tick(at(second))
    assert world.engine.batches_in_flight == 0
    closed = await Ledger(world.store, "bridge").closed_batches()
    assert sum(each.paid_twice for each in closed) == 2
    assert sum(each.requests for each in closed) == 7


async def test_the_bridge_wakes_at_the_deadline_of_what_is_queued_and_of_what_is_sent():
    world = World(policy="wait_for_cancel", stuck=True, step=0)
    await world.boot()
    engine = world.engine
    assert _schedule.wake_at(engine._state, at(0)) <= at(3600)
    await engine.drop(IDS[1:])
    tick = await engine.tick(at(3600))
    assert world.fallback.take()[:2] == ["prepare", "submit"], "what is queued at the deadline goes to the fallback"
    assert not world.provider.take()
    assert tick.wake_at is not None


async def test_what_is_late_waits_for_room_at_the_fallback():
    world = await late("pay_again")
    world.fallback.room = 2
    await world.engine.tick(at(3600))
    assert world.engine.queued == 5
    world.fallback.room = 0
    tick = await world.engine.tick(at(3600))
    assert tick.wake_at > at(3600)
    world.fallback.room = 9
    await world.engine.tick(at(3601))
    assert world.engine.queued == 0


async def test_a_batch_that_could_not_be_sent_in_time_goes_to_the_fallback():
    world = World(policy="wait_for_cancel", step=0)
    world.provider.then("submit", *[ProviderUnavailable("503")] * 99)
    await world.boot()
    await world.engine.tick(at(0), drain=True)
    await world.engine.tick(at(3600), drain=True)
    tick = await world.engine.tick(at(3601), drain=True)
    assert set(tick.settled) == set(IDS)
    assert world.fallback.executed.keys() == set(IDS)


# -- cancelling --------------------------------------------------------------------------------------------------


async def test_who_is_queued_is_cancelled_and_never_sent():
    world = World(step=0)
    await world.boot()
    assert await world.engine.cancel([*IDS[:2], "unknown"], at(0)) == set(IDS[:2])
    await world.engine.tick(at(0), drain=True)
    await world.engine.tick(at(1))
    assert world.provider.executed.keys() == set(IDS[2:])
    assert (await world.engine.outcomes(IDS[:1]))[IDS[0]] == Cancelled(CANCELLED)
    assert await world.engine.cancel(IDS[:2], at(2)) == set(), "cancelled once"


async def test_a_batch_is_stopped_when_nobody_waits_for_it_any_more():
    world = World(stuck=True, step=0)
    await world.boot()
    await world.engine.tick(at(0), drain=True)
    key = world.engine._state.flights.of(IDS[0]).batch.key
    members = world.engine.in_batch(key)
    await world.engine.cancel(members[:-1], at(1))
    await world.engine.tick(at(1))
    assert "cancel" not in world.provider.take()
    assert world.engine.in_batch(key) == members[-1:]
    await world.engine.cancel(members[-1:], at(2))
    world.fuse.arm(1, "before", "cancel")
    with pytest.raises(Crash):
        await world.engine.tick(at(2))
    world.fuse.revive()
    await world.boot()
    world.provider.take()
    await world.engine.tick(at(3))
    assert world.provider.take().count("cancel") == 1, "the next process stops it"
    await world.engine.tick(at(400))
    closed = await Ledger(world.store, "bridge").closed_batches()
    assert [dict(each.outcomes) for each in closed] == [{"cancelled": len(members)}]


async def test_who_is_cancelled_before_its_batch_is_confirmed_is_not_sent():
    world = World(step=0)
    world.provider.then("submit", *[ProviderUnavailable("503")] * 4)
    await world.boot()
    await world.engine.tick(at(0), drain=True)
    await world.engine.cancel(IDS[:3], at(1))
    for second in range(2, 200, 20):
        await world.engine.tick(at(second), drain=True)
    assert world.provider.executed.keys() == set(IDS[3:])
    assert await world.engine.outcomes(IDS[:3]) == dict.fromkeys(IDS[:3], Cancelled(CANCELLED))


# -- quotas ------------------------------------------------------------------------------------------------------


class Crowded(FakeProvider):
    """Refuses, after the create, what is more than it takes at a time."""

    def __init__(self, most, *, tells=True, **options):
        super().__init__(measure=lambda each: Measure("m", 4), **options)
        self.most, self.tells = most, tells
        self.full = 0
        self.peak = []
        self.idle = 0

    async def poll(self, handle, members):
        batch = self.batches[str(handle)]
        if batch.state == "full":
            self.full += 1
            said = f"Limit: {self.most:,} enqueued tokens." if self.tells else "too much"
            return ended({}, Errored(said, code="token_limit_exceeded", retryable=True))
        return await super().poll(handle, members)

    async def submit(self, key, requests, prepared):
        load = sum(len(each.requests) for each in self.batches.values() if each.state == "live")
        handle = await super().submit(key, requests, prepared)
        if load + len(requests) > self.most:
            self.batches[handle].state = "full"
        else:
            self.peak.append(load + len(requests))
        return handle


@pytest.mark.parametrize("tells", [True, False])
@pytest.mark.parametrize("told", [True, False])
async def test_a_limit_of_tokens_is_learned_and_then_kept_to(tells, told):
    provider = Crowded(1000, tells=tells, limits=Limits(enqueued_tokens=1000 if told else None))
    engine = Engine("bridge", provider, FlushPolicy(), Ledger(FakeStore(), "bridge"), attempts=3)
    asked = [request(n) for n in range(10_000)]
    await engine.open(at(0))
    await engine.collect(asked, at(0))
    now, settled = at(0), set()
    for _ in range(400):
        tick = await engine.tick(now, drain=True)
        settled |= set(tick.settled)
        if tick.wake_at is None:
            break
        assert tick.wake_at > now or engine.queued == 0 or engine.in_flight, "it spins"
        now = max(now, tick.wake_at)
    assert settled == {each.id for each in asked}
    assert provider.full <= (0 if told else 1 if tells else 12)
    if tells:
        assert provider.peak == [1000] * 10, "there was room, and it was not used"
    assert max(provider.executed.values()) == 1


async def test_a_provider_that_is_full_for_ever_ends_its_requests():
    provider = Crowded(0, tells=False)
    engine = Engine("bridge", provider, FlushPolicy(), Ledger(FakeStore(), "bridge"), attempts=3)
    asked = [request(n) for n in range(50)]
    await engine.open(at(0))
    await engine.collect(asked, at(0))
    now, ticks = at(0), 0
    while (tick := await engine.tick(now, drain=True)).wake_at is not None:
        now, ticks = max(now, tick.wake_at), ticks + 1
        assert ticks < 300
    outcomes = await engine.outcomes([each.id for each in asked])
    assert {each.code for each in outcomes.values()} == {"token_limit_exceeded"}
    assert len(outcomes) == 50


async def test_one_batch_at_a_time_and_no_group_starves():
    provider = FakeProvider(limits=Limits(batches=1, requests=2), measure=lambda each: Measure(each.item["group"], 1))
    engine = Engine("bridge", provider, FlushPolicy(), Ledger(FakeStore(), "bridge"))
    asked = [request(n, group="a" if n < 20 else "b") for n in range(24)]
    await engine.open(at(0))
    await engine.collect(asked, at(0))
    order = []
    for second in range(40):
        await engine.tick(at(second), drain=True)
        live = list(engine._state.flights)
        assert len(live) <= 1
        order += [each.batch.group for each in live]
    assert engine.queued == engine.in_flight == 0
    assert len(order) == 12


class Small(FakeProvider):
    """A provider that refuses a batch of more than `most` requests with a 429 of the create call."""

    most = 2

    async def submit(self, key, requests, prepared):
        if len(requests) > self.most:
            await self._call("submit", key, lambda: None)
            raise ProviderUnavailable("429 quota exceeded", retry_after=1.0, is_full=True)
        return await super().submit(key, requests, prepared)


@pytest.mark.parametrize("ledger", LEDGERS)
async def test_a_batch_that_is_never_taken_is_made_smaller(ledger):
    provider = Small(measure=lambda each: Measure(each.item["group"], 8))
    kept = ledger(FakeStore(), "bridge")
    if isinstance(kept, ServerLedger):
        await kept.load()
    engine = Engine("bridge", provider, FlushPolicy(max_requests=5), kept, attempts=1)
    await engine.open(at(0))
    asked = [request(n, group="a") for n in range(10)]
    await engine.collect(asked, at(0))
    settled, now, ticks = set(), at(0), 0
    while engine.queued or engine.batches_in_flight:
        tick = await engine.tick(now, drain=True)
        settled |= set(tick.settled)
        now, ticks = tick.wake_at, ticks + 1
        assert ticks < 100, "a bridge that never sleeps, or asks for ever"
    assert settled == {each.id for each in asked}
    assert provider.executed == dict.fromkeys(settled, 1)
    assert all(isinstance(each, Succeeded) for each in (await engine.outcomes([*settled])).values())
    fenced = [what for verb, what in provider.calls if verb == "fence"]
    assert len(fenced) == len(set(fenced)) > 0, "the inputs of batches that were never created are tidied up"


async def test_one_request_that_is_never_taken_waits():
    provider = Small()
    provider.most = 0
    engine = Engine("bridge", provider, FlushPolicy(), Ledger(FakeStore(), "bridge"))
    await engine.open(at(0))
    await engine.collect([request(0)], at(0))
    now = at(0)
    for _ in range(30):
        now = (await engine.tick(now, drain=True)).wake_at
    assert (engine.unsent, engine.queued) == (1, 0)
    provider.most = 1
    while engine.batches_in_flight:
        now = (await engine.tick(now)).wake_at
    assert provider.executed == {request(0).id: 1}


# -- who is cancelled, and a process that dies ----------------------------------------------------------------------


async def opened(kind, store, provider, now, **options):
    ledger = kind(store, "bridge")
    if isinstance(ledger, ServerLedger):
        await ledger.load()
    engine = Engine("bridge", provider, FlushPolicy(max_age=timedelta(0)), ledger, **options)
    await engine.open(now)
    return engine


@pytest.mark.parametrize("dies", [False, True])
@pytest.mark.parametrize("ledger", LEDGERS)
async def test_a_batch_in_doubt_whose_requests_were_all_cancelled_is_stopped_when_it_is_found(ledger, dies):
    provider, store = FakeProvider(), FakeStore()
    engine = await opened(ledger, store, provider, at(0))
    await engine.collect(REQUESTS[:2], at(0))
    provider.then("submit", Created(SubmissionUnknown("cut off")))
    await engine.tick(at(1))
    assert len(await engine.cancel(IDS[:2], at(2))) == 2
    if dies:
        engine = await opened(ledger, store, provider, at(3))
    for second in range(4, 600, 60):
        await engine.tick(at(second))
    assert "cancel" in [verb for verb, _ in provider.calls]
    assert not provider.executed


@pytest.mark.parametrize("ledger", LEDGERS)
async def test_who_was_cancelled_by_a_process_before_need_not_wait_for_the_batch(ledger):
    provider, store = Moody(Fuse(), lambda _: Measure("", 1)), FakeStore()
    provider.stuck = True
    engine = await opened(ledger, store, provider, at(0))
    await engine.collect(REQUESTS[:2], at(0))
    await engine.tick(at(1))
    await engine.cancel(IDS[:1], at(2))
    engine = await opened(ledger, store, provider, at(3))
    assert await engine.collect(REQUESTS[:2], at(3)) == {IDS[0]}
    assert await engine.cancel(IDS[:2], at(4)) == {IDS[1]}
    await engine.tick(at(5))
    assert "cancel" in [verb for verb, _ in provider.calls], "nobody is left to wait for it"
    assert not provider.executed


async def test_a_row_of_the_queue_that_a_cancelled_request_has_left_is_not_sent_later():
    fuse, provider = Fuse(), FakeProvider()
    store = FakeStore(fuse=fuse)
    engine = await opened(KeepingLedger, store, provider, at(0))
    await engine.collect(REQUESTS[:1], at(0))
    fuse.arm(1, "before", "delete queued")
    with pytest.raises(Crash):
        await engine.cancel(IDS[:1], at(2))
    fuse.revive()
    engine = await opened(KeepingLedger, store, provider, at(10))
    told = await engine.collect(REQUESTS[:1], at(10))
    await engine.forget([*told])
    engine = await opened(KeepingLedger, store, provider, at(20))
    await engine.tick(at(100), drain=True)
    assert told == {IDS[0]}
    assert not provider.executed


async def test_a_cancel_takes_what_has_arrived_before_it():
    class Slow(FakeStore):
        async def abatch(self, ops):
            await gate.wait()
            return await super().abatch(ops)

    gate, provider = asyncio.Event(), FakeProvider()
    engine = Engine("bridge", provider, FlushPolicy(max_age=3600), Ledger(Slow(), "bridge"))
    driver = Driver(engine, lambda _: None, lambda: False, lambda _: None, 0.0)
    gate.set()
    await driver.open()
    gate.clear()
    running = asyncio.create_task(driver.run())
    driver.collect(REQUESTS[:1])
    while driver._arrived:
        await asyncio.sleep(0)
    driver.collect(REQUESTS[1:2])  # while the first one is written down
    cancelling = asyncio.create_task(driver.cancel(IDS[:2]))
    await asyncio.sleep(0)
    gate.set()
    assert await cancelling == set(IDS[:2])
    driver.stop()
    await running
    assert not provider.executed


# -- deadlines that were stored ------------------------------------------------------------------------------------


@pytest.mark.parametrize("fallback", [None, FakeProvider()])
@pytest.mark.parametrize("ledger", [KeepingLedger, ServerLedger])
async def test_a_stored_deadline_that_cannot_be_kept_stops_no_bridge(ledger, fallback):
    provider, store = FakeProvider(), FakeStore()
    keeps = Deadline(None, "pay_again", FakeProvider())
    engine = await opened(ledger, store, provider, at(0), deadline=keeps)
    asked = [replace(REQUESTS[0], deadline=timedelta.max), REQUESTS[1], replace(REQUESTS[2], deadline=HOUR)]
    await engine.collect(asked, at(0))
    engine = await opened(ledger, store, provider, at(1), deadline=Deadline(None, "pay_again", fallback))
    await engine.tick(at(2))
    await engine.tick(at(3))
    assert provider.executed == dict.fromkeys(IDS[:3], 1)


async def test_a_request_that_is_asked_anew_has_its_own_time():
    provider, fallback = FakeProvider(), FakeProvider()
    deadline = Deadline(timedelta(seconds=60), "pay_again", fallback)
    engine = Engine("bridge", provider, FlushPolicy(max_age=3600), Ledger(FakeStore(), "bridge"), deadline=deadline)
    await engine.open(at(0))
    await engine.collect(REQUESTS[:1], at(0))
    await engine.drop(IDS[:1])
    await engine.collect(REQUESTS[:1], at(40))
    tick = await engine.tick(at(61))
    assert tick.wake_at == at(100)
    assert not fallback.calls
