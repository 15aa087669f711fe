"""A request that fails in its next lane takes the answer that the lane it has left has meanwhile: that one is paid for."""

import pytest
from fakes import at, ended
from ladder_world import Clock, Lane, World, request

from batch_bridge import events
from batch_bridge._core.models import Errored, InProgress, Succeeded


class Slow(Lane):
    """A lane that is not looked at for long."""

    async def poll(self, handle, requests):
        reply = await super().poll(handle, requests)
        return InProgress(0, 1, again_in=3000.0) if isinstance(reply, InProgress) else reply


class Failing(Lane):
    """A lane that ends requests with an error after its time."""

    async def poll(self, handle, requests):
        reply = await super().poll(handle, requests)
        if isinstance(reply, InProgress):
            return reply
        self.paid.clear()
        return ended({each.id: Errored("no", code="bad") for each in self.sent[handle["id"]].requests})


async def driven(flex, realtime, *, until=5000):
    """Ask for one answer, and go on; return its outcomes as they were read, and the world."""
    clock = flex.clock
    world = World([flex, realtime], clock)
    await world.open()
    asked, seen = request(1, 900), []
    await world.engine.collect([asked], clock.now)
    while clock.seconds < until:
        tick = await world.engine.tick(clock.now)
        seen += [(await world.engine.outcomes([each]))[each] for each in tick.settled]
        due = until if tick.wake_at is None else (tick.wake_at - at(0)).total_seconds()
        clock.seconds = min(max(due, clock.seconds + 0.001), until)
    return seen, world


def closed_as(closed):
    return [pair for each in closed for pair in each.outcomes.items()]


async def test_an_answer_of_the_lane_that_was_left_wins_over_an_error_that_comes_after_it():
    clock = Clock()
    flex = Slow("flex", clock, lambda _: 880, stops=False)
    seen, world = await driven(flex, Failing("realtime", clock, lambda _: 100))
    assert seen == [Succeeded({"lane": "flex", "n": 1})]
    closed = await world.engine.closed_batches()
    assert sum(each.paid_twice for each in closed) == 0
    assert closed_as(closed) == [("succeeded", 1)]
    settled = [each for each in world.events if isinstance(each, events.Settled) and each.requests]
    assert [each.outcomes for each in settled] == [{"succeeded": 1}]
    assert not world.engine.batches_in_flight


async def test_an_error_that_was_told_before_that_stands():
    clock = Clock()
    flex = Slow("flex", clock, lambda _: 2000, stops=False)
    seen, world = await driven(flex, Failing("realtime", clock, lambda _: 100))
    assert seen == [Errored("no", code="bad", attempts=seen[0].attempts)]
    closed = await world.engine.closed_batches()
    assert (sum(each.paid_twice for each in closed), closed_as(closed)) == (0, [("errored", 1)])


class FailingEarly(Failing):
    """The same, and it says so before the batch has ended."""

    async def poll(self, handle, requests):
        reply = await super().poll(handle, requests)
        if isinstance(reply, InProgress) or self.clock.seconds > 1500:
            return reply
        return InProgress(1, 2, outcomes=tuple([pair async for pair in reply.outcomes]), again_in=700.0)


async def test_an_error_before_the_end_of_its_batch_is_looked_at_as_well():
    clock = Clock()
    flex = Slow("flex", clock, lambda _: 880, stops=False)
    seen, world = await driven(flex, FailingEarly("realtime", clock, lambda _: 100))
    assert seen == [Succeeded({"lane": "flex", "n": 1})]
    closed = await world.engine.closed_batches()
    assert (sum(each.paid_twice for each in closed), closed_as(closed)) == (0, [("succeeded", 1)])


class Broken(Slow):
    """A lane that cannot be looked at from some time on, for a while."""

    async def poll(self, handle, requests):
        if 850 < self.clock.seconds < 1000:
            raise RuntimeError("down")
        return await super().poll(handle, requests)


async def test_a_look_that_fails_leaves_the_error_and_the_batch():
    clock = Clock()
    flex = Broken("flex", clock, lambda _: 880, stops=False)
    seen, world = await driven(flex, Failing("realtime", clock, lambda _: 100))
    assert [each.code for each in seen] == ["bad"]
    assert flex.paid.total() == 1
    assert not world.engine.batches_in_flight


@pytest.mark.parametrize("dies", [False, True])
async def test_many_that_fail_at_a_time_are_each_answered_once(dies):
    clock = Clock()
    flex = Slow("flex", clock, lambda _: 880, stops=False)
    realtime = Failing("realtime", clock, lambda _: 100)
    world = World([flex, realtime], clock)
    await world.open()
    asked = [request(number, 900) for number in range(30)]
    world.requests = {each.id: each for each in asked}
    await world.engine.collect(asked, clock.now)
    while clock.seconds < 900:
        tick = await world.engine.tick(clock.now)
        clock.seconds = max((tick.wake_at - at(0)).total_seconds(), clock.seconds + 0.001)
    if dies:
        await world.open()
    await world.run([(clock.seconds, each) for each in asked])
    assert {lane for _, lane in world.answered.values()} == {"flex"}
    await world.drain()
    assert sum(each.paid_twice for each in await world.engine.closed_batches()) == 0
    assert sum(each.outcomes.get("succeeded", 0) for each in await world.engine.closed_batches()) == 30
