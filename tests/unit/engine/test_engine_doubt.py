"""What a submission in doubt means to those who ask while nobody can tell what became of it.

The requests themselves are only held in memory: a process that dies takes them along, and whoever waits hands them in
again.
"""

import pytest
from fakes import T0, Crash, FakeProvider, request
from langgraph.store.memory import InMemoryStore

from batch_bridge._core.models import Errored, Limits, Measure, Succeeded
from batch_bridge._core.policy.flush_policy import FlushPolicy
from batch_bridge._engine import Engine
from batch_bridge._ledger.make import budgeted
from batch_bridge.errors import ProviderUnavailable

AWAY = ProviderUnavailable("503")
SMALL = request(1, bytes=10)
LARGE = request(2, bytes=100)
BOTH = (SMALL, LARGE)
IDS = tuple(each.id for each in BOTH)
ANSWERS = {each.id: Succeeded(each.item) for each in BOTH}


class World:
    """What outlives a process: the store, the provider and the time. `restart` begins the next process."""

    def __init__(self):
        self.provider = FakeProvider(measure=lambda each: Measure("", each.item["bytes"]))
        self.store = InMemoryStore()
        self.now = T0
        self.engine = None

    async def restart(self):
        self.provider.fuse.revive()
        self.engine = Engine("bridge", self.provider, FlushPolicy(max_age=0), budgeted(self.store, "bridge"))
        await self.engine.open(self.now)

    async def tick(self):
        tick = await self.engine.tick(self.now)
        self.now = tick.wake_at or self.now
        return tick

    async def end(self):
        settled = []
        for _ in range(30):
            tick = await self.tick()
            settled += tick.settled
            if tick.wake_at is None:
                return await self.engine.outcomes(settled)
        raise AssertionError("this never ends")


async def left_in_doubt(moment):
    """Return a world whose first process died in the call that creates the batch, and whose second cannot look yet."""
    world = World()
    await world.restart()
    assert await world.engine.collect(BOTH, world.now) == set()
    world.provider.fuse.arm(1, moment, "submit")
    with pytest.raises(Crash):
        await world.tick()
    await world.restart()
    world.provider.then("find", AWAY)
    await world.tick()
    world.provider.take()
    return world


@pytest.mark.parametrize("asks", [1, 2], ids=["once", "twice"])
async def test_what_is_asked_for_while_in_doubt_is_sent_again_when_it_turns_out_that_nothing_was_created(asks):
    world = await left_in_doubt("before")
    for _ in range(asks):
        assert await world.engine.collect(BOTH, world.now) == set()
    assert await world.end() == ANSWERS
    assert world.provider.take() == ["find", "fence", "find", "prepare", "submit", "poll", "release"]
    assert world.provider.executed == dict.fromkeys(IDS, 1)


async def test_of_what_is_in_doubt_only_that_is_sent_again_which_somebody_asks_for():
    world = await left_in_doubt("before")
    assert await world.engine.collect([LARGE], world.now) == set()
    assert await world.end() == {LARGE.id: ANSWERS[LARGE.id]}
    assert world.provider.executed == {LARGE.id: 1}


async def test_a_request_that_has_become_too_large_while_in_doubt_ends_so_when_nothing_was_created():
    world = await left_in_doubt("before")
    world.provider.limits = Limits(bytes=50)
    assert await world.engine.collect(BOTH, world.now) == set()
    outcomes = await world.end()
    assert outcomes == {
        SMALL.id: ANSWERS[SMALL.id],
        LARGE.id: Errored(
            "the request is 100 bytes long, but 'bridge' accepts at most 50; send a smaller request",
            "item_too_large",
        ),
    }
    assert world.provider.executed == {SMALL.id: 1}
    assert await world.engine.collect([LARGE], world.now) == {LARGE.id}


async def test_a_request_that_has_become_too_large_while_in_doubt_is_answered_all_the_same_when_it_was_created():
    world = await left_in_doubt("after")
    world.provider.limits = Limits(bytes=50)
    assert await world.engine.collect(BOTH, world.now) == set()
    assert await world.end() == ANSWERS
    assert world.provider.take() == ["find", "poll", "release"]
    assert world.provider.executed == dict.fromkeys(IDS, 1)
