"""Requests that are sent again, and a process that dies at every call in turn, whatever its requests end with."""

import pytest
import sampling
from engine_world import BAD, IDS, LEDGERS, RATE, REQUESTS, Moody, World
from fakes import MOMENTS, Crash, FakeProvider, FakeStore, Fuse, at, ended, request

from batch_bridge._core.models import Errored, Expired, Limits, Measure, Succeeded
from batch_bridge._core.policy.flush_policy import FlushPolicy
from batch_bridge._engine import Engine, EngineSettings
from batch_bridge._ledger.ledger import Ledger
from batch_bridge._ledger.make import durable
from batch_bridge._server.records import ServerRecords
from batch_bridge.errors import ProviderUnavailable


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
    for call in sampling.calls(f"{story} {moment} {ledger.__name__}"):
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


@pytest.mark.parametrize("ledger", [durable, ServerRecords])
async def test_a_queue_that_is_kept_is_gone_on_with_though_nobody_asks_again(ledger):
    """After each call the process ends, and the next one is told of nobody who waits."""
    for call in sampling.calls(ledger.__name__):
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
    engine = Engine(
        "bridge", provider, FlushPolicy(max_age=None), Ledger(FakeStore(), "bridge"), EngineSettings(attempts=2)
    )
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


# -- quotas ------------------------------------------------------------------------------------------------------


class Crowded(FakeProvider):
    """Refuses, after the create, what is more than it takes at a time."""

    def __init__(self, most, *, tells=True, **options):
        super().__init__(measure=lambda each: Measure("m", 4), **options)
        self.most, self.tells = most, tells
        self.full = 0
        self.peak = []
        self.idle = 0

    async def poll(self, handle, requests):
        batch = self.batches[str(handle)]
        if batch.state == "full":
            self.full += 1
            said = f"Limit: {self.most:,} enqueued tokens." if self.tells else "too much"
            return ended({}, Errored(said, code="token_limit_exceeded", retryable=True))
        return await super().poll(handle, requests)

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
    room = sampling.many(1_000, 50)
    provider = Crowded(room, tells=tells, limits=Limits(enqueued_tokens=room if told else None))
    engine = Engine("bridge", provider, FlushPolicy(), Ledger(FakeStore(), "bridge"), EngineSettings(attempts=3))
    asked = [request(n) for n in range(10 * room)]
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
        assert provider.peak == [room] * 10, "there was room, and it was not used"
    assert max(provider.executed.values()) == 1


async def test_a_provider_that_is_full_for_ever_ends_its_requests():
    provider = Crowded(0, tells=False)
    engine = Engine("bridge", provider, FlushPolicy(), Ledger(FakeStore(), "bridge"), EngineSettings(attempts=3))
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
    if isinstance(kept, ServerRecords):
        await kept.load()
        kept = kept.ledger
    engine = Engine("bridge", provider, FlushPolicy(max_requests=5), kept, EngineSettings(attempts=1))
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
