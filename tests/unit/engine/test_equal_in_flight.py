"""Equal requests share a line also when one of them is at the provider already; whatever dies, it is paid once."""

from dataclasses import replace

import pytest
from fakes import MOMENTS, Crash, FakeProvider, FakeStore, Fuse, at, request
from hypothesis import given
from hypothesis import strategies as st

from batch_bridge._core.models import InProgress, Limits, Succeeded
from batch_bridge._core.policy.flush_policy import FlushPolicy
from batch_bridge._engine import Engine, EngineSettings
from batch_bridge._engine.deduplication import Deduplication
from batch_bridge._ledger.ledger import Ledger
from batch_bridge._ledger.make import durable

FIRST, ALONE, EQUAL, LATER = (
    replace(request(n), item={"group": "a", "ask": ask}, tenant="t") for n, ask in enumerate("abaa")
)
ALL = [FIRST, ALONE, EQUAL, LATER]
IDS = [each.id for each in ALL]


class World:
    def __init__(self, ledger=Ledger):
        self.fuse = Fuse()
        self.store = FakeStore(fuse=self.fuse)
        self.provider = FakeProvider(fuse=self.fuse)
        self.ledger = ledger
        self.seconds = 0
        self.seen = {}

    @property
    def now(self):
        self.seconds += 60
        return at(self.seconds)

    async def process(self):
        deduplication = Deduplication("bridge", self.provider, None, dedupe=True)
        ledger = self.ledger(self.store, "bridge")
        engine = Engine(
            "bridge", self.provider, FlushPolicy(), ledger, EngineSettings(deduplication=deduplication, attempts=2)
        )
        await engine.open(self.now)
        return engine

    async def end(self, engine, requests=ALL):
        """Run a process until nothing is under way; what was told of before a crash is told of again."""
        told = await engine.collect(requests, self.now)
        for _ in range(9):
            tick = await engine.tick(self.now, drain=True)
            told |= set(tick.settled)
            if tick.wake_at is None:
                break
        found = await engine.outcomes(sorted(told))
        for each, outcome in found.items():
            assert self.seen.setdefault(each, outcome) == outcome
        return {each: outcome.answer["ask"] for each, outcome in found.items() if isinstance(outcome, Succeeded)}

    async def story(self):
        """One waits at the provider; another one comes, and a third one after another look."""
        self.provider.then("poll", *[InProgress()] * 3)
        engine = await self.process()
        await engine.collect([FIRST, ALONE], self.now)
        await engine.tick(self.now, drain=True)
        await engine.tick(self.now)
        await engine.collect([EQUAL], self.now)
        await engine.tick(self.now, drain=True)
        await engine.collect([LATER], self.now)
        return await self.end(engine)


EXPECTED = dict(zip(IDS, "abaa", strict=True))


@pytest.mark.parametrize("ledger", [Ledger, durable])
async def test_who_comes_later_joins_the_line_that_is_in_flight(ledger):
    world = World(ledger)
    assert await world.story() == EXPECTED
    assert world.provider.executed == {FIRST.id: 1, ALONE.id: 1}
    rows = {kind: rows for kind, rows in world.store.read().items() if rows}
    assert rows.keys() == {"outcomes", "closed", "money"}
    (closed,) = rows["closed"].values()
    assert closed["outcomes"] == {"succeeded": 4}
    (money,) = rows["money"].values()
    assert len(money["of"]) == 4


@pytest.mark.parametrize("ledger", [Ledger, durable])
@pytest.mark.parametrize("moment", MOMENTS)
async def test_whatever_call_a_process_dies_at_each_is_answered_and_paid_once(ledger, moment):
    calls = 0
    while True:
        calls += 1
        world = World(ledger)
        world.fuse.arm(calls, moment)
        try:
            await world.story()
        except Crash:
            world.fuse.revive()
            assert await world.end(await world.process()) == EXPECTED, calls
        else:
            break
        paid = [each for each, times in world.provider.executed.items() for _ in range(times)]
        asked = sorted(EXPECTED[each] for each in paid)
        assert asked == ["a", "b"], (calls, asked)
    assert calls > 20


@given(
    st.lists(
        st.tuples(st.sampled_from("ab"), st.sampled_from(["", "t", "u"]), st.booleans(), st.booleans()),
        min_size=1,
        max_size=12,
    )
)
async def test_each_gets_its_own_answer_and_tenants_never_share(drawn):
    world = World()
    engine = await world.process()
    everything = []
    for number, (ask, tenant, ticks, runs) in enumerate(drawn):
        one = replace(request(number), item={"group": "a", "ask": ask, "whose": ""}, tenant=tenant)
        everything.append(one)
        await engine.collect([one], world.now)
        if ticks:
            world.provider.then("poll", *[InProgress()] * runs)
            await engine.tick(world.now, drain=True)
        if number == 6:
            engine = await world.process()
            await engine.collect(everything, world.now)
    world.provider._next["poll"].clear()
    answers = await world.end(engine, everything)
    assert answers == {each.id: each.item["ask"] for each in everything}
    by_id = {each.id: each for each in everything}
    lines = [(by_id[each].item["ask"], by_id[each].tenant) for each in world.provider.executed]
    kinds = {(each.item["ask"], each.tenant) for each in everything}
    assert set(lines) == kinds
    assert set(world.provider.executed.values()) == {1}


async def test_what_was_sent_without_sharing_or_is_stopped_is_not_joined():
    world = World()
    world.provider.limits = Limits()
    world.provider.then("poll", *[InProgress()] * 2)
    engine = await world.process()
    await engine.collect([FIRST], world.now)
    await engine.tick(world.now, drain=True)
    await engine.cancel([FIRST.id], world.now)
    await engine.collect([EQUAL], world.now)
    assert engine.queued == 1
    assert await world.end(engine, [EQUAL]) == {EQUAL.id: "a"}


async def test_one_that_joined_may_be_cancelled_alone_and_keeps_the_batch_alive():
    world = World()
    world.provider.then("poll", InProgress())
    engine = await world.process()
    await engine.collect([FIRST], world.now)
    await engine.tick(world.now, drain=True)
    await engine.collect([EQUAL, LATER], world.now)
    assert (engine.queued, engine.in_flight) == (0, 3)
    assert await engine.cancel([FIRST.id, EQUAL.id], world.now) == {FIRST.id, EQUAL.id}
    assert (await world.end(engine, [LATER])) == {LATER.id: "a"}
    assert world.provider.executed == {FIRST.id: 1}
