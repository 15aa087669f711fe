"""Requests that are late or cancelled, and what a deadline that was stored does to the process after."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest
from engine_world import HOUR, IDS, LEDGERS, REQUESTS, Moody, World
from fakes import Crash, Created, FakeProvider, FakeStore, Fuse, at

from batch_bridge._core.models import Cancelled, Measure
from batch_bridge._core.policy.flush_policy import FlushPolicy
from batch_bridge._engine import CANCELLED, Engine, EngineSettings
from batch_bridge._engine.sending import scheduling as _schedule
from batch_bridge._engine.waiting.ladder import Ladder
from batch_bridge._host.engine_loop import EngineLoop
from batch_bridge._ledger.ledger import Ledger
from batch_bridge._ledger.make import durable
from batch_bridge._server.records import ServerRecords
from batch_bridge.errors import ProviderUnavailable, SubmissionUnknown

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
    requests = world.engine.in_batch(key)
    await world.engine.cancel(requests[:-1], at(1))
    await world.engine.tick(at(1))
    assert "cancel" not in world.provider.take()
    assert world.engine.in_batch(key) == requests[-1:]
    await world.engine.cancel(requests[-1:], at(2))
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
    assert [dict(each.outcomes) for each in closed] == [{"cancelled": len(requests)}]


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


# -- who is cancelled, and a process that dies ----------------------------------------------------------------------


async def opened(kind, store, provider, now, **options):
    ledger = kind(store, "bridge")
    if isinstance(ledger, ServerRecords):
        await ledger.load()
        ledger = ledger.ledger
    engine = Engine("bridge", provider, FlushPolicy(max_age=timedelta(0)), ledger, EngineSettings(**options))
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
    engine = await opened(durable, store, provider, at(0))
    await engine.collect(REQUESTS[:1], at(0))
    fuse.arm(1, "before", "delete queued")
    with pytest.raises(Crash):
        await engine.cancel(IDS[:1], at(2))
    fuse.revive()
    engine = await opened(durable, store, provider, at(10))
    told = await engine.collect(REQUESTS[:1], at(10))
    await engine.forget([*told])
    engine = await opened(durable, store, provider, at(20))
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
    engine_loop = EngineLoop(engine, lambda _: None, lambda: False, lambda _: None, 0.0)
    gate.set()
    await engine_loop.open()
    gate.clear()
    running = asyncio.create_task(engine_loop.run())
    engine_loop.collect(REQUESTS[:1])
    while engine_loop._arrived:
        await asyncio.sleep(0)
    engine_loop.collect(REQUESTS[1:2])  # while the first one is written down
    cancelling = asyncio.create_task(engine_loop.cancel(IDS[:2]))
    await asyncio.sleep(0)
    gate.set()
    assert await cancelling == set(IDS[:2])
    engine_loop.stop()
    await running
    assert not provider.executed


# -- deadlines that were stored ------------------------------------------------------------------------------------


@pytest.mark.parametrize("fallback", [None, FakeProvider()])
@pytest.mark.parametrize("ledger", [durable, ServerRecords])
async def test_a_stored_deadline_that_cannot_be_kept_stops_no_bridge(ledger, fallback):
    provider, store = FakeProvider(), FakeStore()
    keeps = Ladder.of_fallback(None, "pay_again", FakeProvider())
    engine = await opened(ledger, store, provider, at(0), ladder=keeps)
    asked = [replace(REQUESTS[0], deadline=timedelta.max), REQUESTS[1], replace(REQUESTS[2], deadline=HOUR)]
    await engine.collect(asked, at(0))
    engine = await opened(ledger, store, provider, at(1), ladder=Ladder.of_fallback(None, "pay_again", fallback))
    await engine.tick(at(2))
    await engine.tick(at(3))
    assert provider.executed == dict.fromkeys(IDS[:3], 1)


async def test_a_request_that_is_asked_again_has_its_own_time():
    provider, fallback = FakeProvider(), FakeProvider()
    deadline = Ladder.of_fallback(timedelta(seconds=60), "pay_again", fallback)
    engine = Engine(
        "bridge", provider, FlushPolicy(max_age=3600), Ledger(FakeStore(), "bridge"), EngineSettings(ladder=deadline)
    )
    await engine.open(at(0))
    await engine.collect(REQUESTS[:1], at(0))
    await engine.drop(IDS[:1])
    await engine.collect(REQUESTS[:1], at(40))
    tick = await engine.tick(at(61))
    assert tick.wake_at == at(100)
    assert not fallback.calls
