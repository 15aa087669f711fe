"""A process that has slept for so long that another one took its bridge over writes nothing of a batch any more."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from fakes import FakeProvider, FakeStore, at, request

from batch_bridge._core import clock
from batch_bridge._core.policy.flush_policy import FlushPolicy
from batch_bridge._engine import Engine
from batch_bridge._ledger.ledger import Ledger
from batch_bridge.errors import ProviderUnavailable, StoreInUseError, SubmissionRefused, SubmissionUnknown

REQUESTS = [request(number) for number in range(3)]
IDS = [each.id for each in REQUESTS]


class World:
    """A bridge whose process falls asleep in a call of its provider, or when it is told to."""

    def __init__(self, error):
        self.now = datetime(2030, 1, 1, tzinfo=UTC)
        self.error = error
        self.is_ours = True
        self.sleeps_in = ""
        self.store = FakeStore()
        self.provider = Sleepy(self)
        self.engine = Engine("bridge", self.provider, FlushPolicy(), Ledger(self.store, "bridge"))
        self.engine.before_submit = self.check

    async def check(self):
        if not self.is_ours:
            raise self.error

    def sleep(self):
        self.now += timedelta(minutes=1)
        self.is_ours = False

    async def begin(self):
        await self.engine.open(at(0))
        await self.engine.collect(REQUESTS, at(0))

    async def tick(self, seconds=0):
        """Tick; a Runner's session ends with the error, and a tick of a server goes on."""
        if isinstance(self.error, StoreInUseError):
            with pytest.raises(StoreInUseError):
                await self.engine.tick(at(seconds), drain=True)
        else:
            await self.engine.tick(at(seconds), drain=True)

    def rows(self):
        return {kind: rows for kind, rows in self.store.read().items() if rows}


class Sleepy(FakeProvider):
    def __init__(self, world):
        super().__init__()
        self.world = world

    async def _call(self, verb, about, act):
        try:
            return await super()._call(verb, about, act)
        finally:
            if verb == self.world.sleeps_in:
                self.world.sleep()

    async def poll(self, handle, requests):
        ended = await super().poll(handle, requests)

        async def read() -> AsyncIterator:
            async for pair in ended.outcomes:
                yield pair
            if self.world.sleeps_in == "read":
                self.world.sleep()

        return replace(ended, outcomes=read())


@pytest.fixture(params=[StoreInUseError("taken over", host="b", pid=2), ProviderUnavailable("taken over")], ids=str)
def world(request):
    world = World(request.param)
    with clock.ticking(lambda: world.now):
        yield world


async def test_it_begins_no_batch_in_the_place_of_one_that_another_has_begun(world):
    await world.begin()
    world.sleep()
    await world.tick()
    assert not world.rows().keys() & {"batches", "members", "money"}
    assert world.provider.calls == []
    assert set(world.engine.waiting) == set(IDS)


async def test_an_answer_that_took_long_is_asked_for_again(world):
    async def check():
        if world.is_ours:
            world.sleep()  # the answer is one from before
            return
        raise world.error

    world.engine.before_submit = check
    await world.begin()
    await world.tick()
    assert world.provider.calls == []


async def test_it_sends_nothing_that_it_has_prepared(world):
    world.sleeps_in = "prepare"
    await world.begin()
    await world.tick()
    assert world.provider.take() == ["prepare"]
    ((row),) = world.rows()["batches"].values()
    assert row["stage"] == "begun"


async def test_it_does_not_take_for_refused_what_another_has_tidied_up(world):
    world.sleeps_in = "submit"
    world.provider.then("submit", SubmissionRefused("there is no such file"))
    await world.begin()
    await world.tick()
    assert not world.rows().keys() & {"outcomes", "closed"}


async def test_it_does_not_confirm_what_another_may_have_settled(world):
    world.sleeps_in = "submit"
    await world.begin()
    await world.tick()
    ((row),) = world.rows()["batches"].values()
    assert row["stage"] == "prepared"


async def test_it_does_not_withdraw_what_another_may_have_begun_again(world):
    world.sleeps_in = "fence"
    world.provider.then("submit", SubmissionUnknown("timed out"))
    await world.begin()
    await world.engine.tick(at(0), drain=True)
    await world.tick(60)
    assert len(world.rows()["members"]) == len(world.rows()["batches"]) == 1


async def test_it_does_not_close_what_it_has_read(world):
    world.sleeps_in = "read"
    await world.begin()
    await world.engine.tick(at(0), drain=True)
    await world.tick(1)
    assert "closed" not in world.rows()
    assert world.engine.batches_in_flight == 1
    assert "release" not in world.provider.take()


async def test_it_goes_on_once_it_owns_the_bridge_again(world):
    world.sleeps_in = "read"
    await world.begin()
    await world.engine.tick(at(0), drain=True)
    await world.tick(1)
    world.is_ours, world.sleeps_in = True, ""
    if isinstance(world.error, StoreInUseError):
        await world.engine.open(at(90))
        await world.engine.collect(REQUESTS, at(90))
    await world.engine.tick(at(100))
    assert (await world.engine.outcomes(IDS)).keys() == set(IDS)
    assert len(world.rows()["closed"]) == 1
    assert max(world.provider.executed.values()) == 1
