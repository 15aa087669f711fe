"""A request that the fallback refuses by name stays with the provider that takes it: late, but answered."""

from datetime import timedelta

import pytest
from engine_world import HOUR, IDS, LEDGERS, World
from fakes import FakeProvider, at

from batch_bridge._core.models import Measure, Succeeded
from batch_bridge._engine.waiting.ladder import Ladder
from batch_bridge.errors import RequestRefused

REFUSED = {IDS[1], IDS[4]}


def measure(request):
    if request.id in REFUSED:
        raise RequestRefused("it is of an endpoint that is not offered here", code="bad_item")
    return Measure("any", 1)


def world_of(policy, ledger):
    world = World(ledger, policy=policy, stuck=True, step=0)
    world.fallback = FakeProvider(fuse=world.fuse, measure=measure)
    world.deadline = Ladder.of_fallback(HOUR, policy, world.fallback)
    return world


async def until_quiet(world, told, seconds):
    for second in seconds:
        told |= set((await world.engine.tick(at(second), drain=True)).settled)


@pytest.mark.parametrize("dies", [False, True])
@pytest.mark.parametrize("ledger", LEDGERS)
@pytest.mark.parametrize("policy", ["wait_for_cancel", "pay_again"])
async def test_it_stays_where_it_is_taken(policy, ledger, dies):
    world = world_of(policy, ledger)
    told = await world.boot()
    await world.engine.tick(at(0), drain=True)
    if dies:
        told |= await world.boot()
    await until_quiet(world, told, range(3600, 3610))
    assert told == set(IDS) - REFUSED
    assert world.fallback.executed.keys() == told
    world.provider.stuck = False
    await until_quiet(world, told, range(7200, 7210))
    assert told == set(IDS)
    assert world.provider.executed.keys() == REFUSED
    assert all(isinstance(each, Succeeded) for each in (await world.engine.outcomes(IDS)).values())
    assert not world.engine.batches_in_flight
    assert sum(each.paid_twice for each in await world.engine.closed_batches()) == 0


async def test_one_that_is_late_before_it_is_asked_goes_where_it_is_taken():
    world = world_of("wait_for_cancel", LEDGERS[0])
    world.deadline = Ladder.of_fallback(timedelta(microseconds=1), "wait_for_cancel", world.fallback)
    world.provider.stuck = False
    told = await world.boot()
    await until_quiet(world, told, range(100, 110))
    assert told == set(IDS)
    assert world.provider.executed.keys() >= REFUSED
    assert world.fallback.executed.keys().isdisjoint(REFUSED)
