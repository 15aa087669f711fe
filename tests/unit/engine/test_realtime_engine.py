"""The engine where outcomes come before their batch has ended, and where a provider takes only so many at a time."""

import asyncio
import itertools

import pytest
from fakes import MOMENTS, Crash, FakeProvider, FakeStore, Fuse, at, ended, request
from test_realtime_provider import Vendor
from virtual import clock, run

from batch_bridge._core.models import Errored, InProgress, Succeeded
from batch_bridge._core.policy.flush_policy import FlushPolicy
from batch_bridge._engine import Engine
from batch_bridge._host.engine_loop import EngineLoop
from batch_bridge._ledger.in_memory import MemoryRows
from batch_bridge._ledger.ledger import Ledger
from batch_bridge._ledger.make import in_memory

REQUESTS = [request(number) for number in range(6)]
IDS = [each.id for each in REQUESTS]
EARLY = tuple((each, Succeeded("early")) for each in IDS[:2])
AT_ONCE = FlushPolicy(max_age=0)


class World:
    def __init__(self, *polls):
        self.store = FakeStore()
        self.provider = FakeProvider()
        self.provider.then("poll", *polls)
        self.ledger = Ledger(self.store, "bridge")

    async def open(self, now=0):
        engine = Engine("bridge", self.provider, AT_ONCE, self.ledger)
        await engine.open(at(now))
        return engine

    async def fly(self):
        engine = await self.open()
        await engine.collect(REQUESTS, at(0))
        await engine.tick(at(0))
        return engine


async def test_what_is_known_early_is_settled_at_once_and_told_once():
    world = World(InProgress(outcomes=EARLY), InProgress(outcomes=EARLY))
    engine = await world.fly()
    tick = await engine.tick(at(1))
    assert set(tick.settled) == set(IDS[:2])
    assert (engine.in_flight, engine.batches_in_flight) == (4, 1)
    assert (await engine.tick(at(100))).settled == ()
    tick = await engine.tick(at(200))
    assert set(tick.settled) == set(IDS[2:])
    outcomes = await engine.outcomes(IDS)
    assert [outcomes[each] for each in IDS[:2]] == [Succeeded("early")] * 2
    assert engine.batches_in_flight == 0


async def test_the_summary_counts_each_request_once():
    world = World(InProgress(outcomes=EARLY), ended({IDS[0]: Errored("late"), IDS[2]: Errored("no")}))
    engine = await world.fly()
    await engine.tick(at(1))
    await engine.tick(at(100))
    (closed,) = await world.ledger.closed_batches()
    assert (closed.requests, closed.outcomes) == (6, {"succeeded": 2, "errored": 4})


async def test_an_early_outcome_is_written_once():
    world = World(InProgress(outcomes=EARLY))
    engine = await world.fly()
    await engine.tick(at(1))
    world.store.take()
    await engine.tick(at(100))
    assert world.store.take().count("put outcomes") == 4


async def test_strangers_and_second_outcomes_are_put_aside():
    world = World(InProgress(outcomes=(*EARLY, (IDS[0], Errored("second")), (request(99).id, Succeeded("whose?")))))
    engine = await world.fly()
    assert set((await engine.tick(at(1))).settled) == set(IDS[:2])
    assert world.store.read()["outcomes"].keys() == set(IDS[:2])


async def test_who_asks_again_gets_the_outcome_though_the_batch_runs():
    world = World(InProgress(outcomes=EARLY))
    engine = await world.fly()
    await engine.tick(at(1))
    assert await engine.collect(REQUESTS, at(2)) == set(IDS[:2])
    assert engine.queued == 0


async def test_what_nobody_asks_for_again_is_kept_until_the_batch_has_ended():
    world = World(InProgress(outcomes=EARLY))
    engine = await world.fly()
    await engine.tick(at(1))
    await engine.forget(IDS[:2])
    assert world.store.read()["outcomes"].keys() == set(IDS[:2])
    again = await world.open(2)  # a process that dies now leaves it to the next to tell what is missing
    await again.tick(at(3))
    (closed,) = await world.ledger.closed_batches()
    assert closed.outcomes == {"succeeded": 6}
    assert (await again.outcomes(IDS))[IDS[0]] == Succeeded("early")


async def test_the_first_outcome_counts_over_processes_too():
    world = World(InProgress(outcomes=EARLY), InProgress(outcomes=tuple((each, Errored("late")) for each, _ in EARLY)))
    engine = await world.fly()
    await engine.tick(at(1))
    again = await world.open(2)
    assert set((await again.tick(at(3))).settled) == set(IDS[:2])
    assert await again.outcomes(IDS) == dict(EARLY)
    await again.tick(at(100))
    (closed,) = await world.ledger.closed_batches()
    assert closed.outcomes == {"succeeded": 6}


async def test_and_no_longer():
    world = World(InProgress(outcomes=EARLY))
    engine = await world.fly()
    await engine.tick(at(1))
    await engine.forget([*IDS[:2], request(98).id])
    await engine.tick(at(100))
    assert world.store.read()["outcomes"].keys() == set(IDS[2:])
    assert await engine.collect(REQUESTS[:1], at(101)) == set()  # a new request now
    assert engine.queued == 1


async def test_news_make_a_batch_due():
    rung = []
    news = asyncio.get_running_loop().create_future()
    world = World(InProgress(news=news))
    engine = await world.fly()
    engine.on_news = lambda: rung.append(True)
    tick = await engine.tick(at(1))
    assert tick.wake_at > at(1)
    assert (await engine.tick(at(1))).settled == ()
    news.set_result(None)
    await asyncio.sleep(0)
    assert rung == [True]
    assert set((await engine.tick(at(1))).settled) == set(IDS)


async def test_a_provider_takes_what_it_has_room_for():
    world = World()
    world.provider.room = 4
    engine = await world.fly()
    assert (engine.queued, engine.in_flight) == (2, 4)
    world.provider.room = 0
    tick = await engine.tick(at(0))
    assert (engine.queued, engine.in_flight) == (2, 0)
    assert at(0) < tick.wake_at < at(1)  # neither at once, again and again, nor too late
    world.provider.room = -3
    await engine.tick(at(2))
    assert engine.queued == 2
    world.provider.room = None
    await engine.tick(at(3))
    assert (engine.queued, engine.in_flight) == (0, 2)


async def test_a_drain_goes_on_once_there_is_room():
    world = World()
    world.provider.room = 4
    engine = Engine("bridge", world.provider, FlushPolicy(max_age=None), world.ledger)
    await engine.open(at(0))
    await engine.collect(REQUESTS, at(0))
    await engine.tick(at(0), drain=True)
    assert engine.queued == 2
    await engine.tick(at(1))
    assert engine.queued == 0


# -- with the realtime provider ----------------------------------------------------------------------------------


@pytest.mark.parametrize("moment", MOMENTS)
def test_wherever_the_process_dies_nothing_is_paid_twice_and_nothing_is_lost(moment):
    died = lost = 0
    for call in itertools.count(1):
        fuse = Fuse()
        store = FakeStore(fuse=fuse)
        vendor = Vendor.paid(6, seconds=lambda number: 1 + number * 0.3)
        ticks = itertools.count()

        async def live(store=store, vendor=vendor, ticks=ticks):
            provider = vendor.provider(concurrency=2)
            engine = Engine("bridge", provider, AT_ONCE, Ledger(store, "bridge"))
            try:
                await engine.open(at(next(ticks)))
                told = await engine.collect(REQUESTS, at(next(ticks)))
                while len(told) < len(REQUESTS) or engine.batches_in_flight:
                    told |= set((await engine.tick(at(next(ticks)))).settled)
                    await asyncio.sleep(0.1)
                return await engine.outcomes(IDS)
            finally:
                await provider.aclose()

        fuse.arm(call, moment)
        try:
            outcomes = run(live)
        except Crash:
            died += 1
            fuse.revive()
            outcomes = run(live)
        else:
            assert set(vendor.calls.values()) == {1}
            break
        assert outcomes.keys() == set(IDS), f"died at call {call}"
        assert max(vendor.calls.values(), default=0) <= 1, f"died at call {call}"
        for number, request_id in enumerate(IDS):
            if outcomes[request_id] != Succeeded(number):
                assert outcomes[request_id].code == "realtime_interrupted"
                lost += 1
    assert died > 15
    assert lost  # else it never died while a call was on its way


def test_a_thousand_calls_take_hardly_longer_than_they_must():
    vendor = Vendor(seconds=0.02)
    requests = [request(number) for number in range(1000)]

    async def main():
        provider = vendor.provider(concurrency=64)
        told, all_told = [], asyncio.Event()

        def settled(ids):
            told.extend(ids)
            if len(told) == len(requests):
                all_told.set()

        engine = Engine("bridge", provider, AT_ONCE, in_memory(MemoryRows(), "bridge"))
        engine_loop = EngineLoop(engine, settled, lambda: False, lambda _: None, 0.01)
        await engine_loop.open()
        loop = asyncio.create_task(engine_loop.run())
        engine_loop.collect(requests)
        await all_told.wait()
        took = clock()
        engine_loop.stop()
        await loop
        await provider.aclose()
        assert sorted(told) == sorted(each.id for each in requests)
        return took

    took = run(main)
    assert vendor.most == 64
    assert 0.32 <= took < 1.25 * 0.32


def test_one_slow_call_holds_back_nobody():
    vendor = Vendor(seconds=lambda number: 1000.0 if number == 0 else 1.0)

    async def main():
        provider = vendor.provider(concurrency=2)
        engine = Engine("bridge", provider, AT_ONCE, in_memory(MemoryRows(), "bridge"))
        when = {}
        done = asyncio.Event()

        def settled(ids):
            when.update(dict.fromkeys(ids, clock()))
            if len(when) == len(REQUESTS):
                done.set()

        engine_loop = EngineLoop(engine, settled, lambda: False, lambda _: None, 0.01)
        await engine_loop.open()
        loop = asyncio.create_task(engine_loop.run())
        engine_loop.collect(REQUESTS)
        await done.wait()
        engine_loop.stop()
        await loop
        await provider.aclose()
        return [when[each] for each in IDS]

    slow, *others = run(main)
    assert slow >= 1000
    assert max(others) < 6
