"""A process after this one that has other lanes, or none: what was on its way or queued there still ends."""

from fakes import at, ended
from ladder_world import Clock, Lane, World, request

from batch_bridge._core.models import Errored

HOUR = 3600


def constant(seconds):
    return lambda _: seconds


async def go_on(engine, clock, until, most=300):
    """Tick until nothing is due before a time; that takes few ticks."""
    for _ in range(most):
        tick = await engine.tick(clock.now)
        if tick.wake_at is None or tick.wake_at > at(until):
            clock.seconds = until
            return
        clock.seconds = max((tick.wake_at - at(0)).total_seconds(), clock.seconds + 0.001)
    raise AssertionError("it ticks without end")


async def test_without_lanes_a_batch_that_was_being_stopped_is_waited_for():
    clock = Clock()
    world = World([Lane("batch", clock, constant(27 * HOUR), stops=False), Lane("realtime", clock, constant(4))], clock)
    await world.open()
    asked = request(1, 26 * HOUR)
    await world.engine.collect([asked], clock.now)
    await go_on(world.engine, clock, 26 * HOUR - 400)
    (flight,) = world.engine.flights
    assert flight.batch.leaves_at is not None
    world.ladder = None
    await world.open()
    await world.engine.collect([asked], clock.now)
    await go_on(world.engine, clock, 28 * HOUR)
    assert (await world.engine.outcomes([asked.id]))[asked.id].answer["lane"] == "batch"


class Busy(Lane):
    """A lane that looks after batches of others, too, and of those answers nothing."""

    async def poll(self, handle, members):
        if handle["id"] in self.sent:
            return await super().poll(handle, members)
        return ended({each: Errored("busy", code="busy", status_code=503, retryable=True) for each in members})


async def test_without_lanes_what_another_lane_did_not_answer_is_sent_at_home():
    clock = Clock()
    home = Busy("batch", clock, constant(HOUR))
    world = World([home, Lane("realtime", clock, constant(99 * HOUR))], clock)
    await world.open()
    asked = request(1, 60)
    await world.engine.collect([asked], clock.now)
    await world.engine.tick(clock.now)
    assert [flight.batch.terms.lane for flight in world.engine.flights] == ["realtime"]
    world.ladder = None
    await world.open()
    world.engine.on_event = world.events.append
    await world.engine.collect([asked], clock.now)
    await go_on(world.engine, clock, 2 * HOUR)
    assert (await world.engine.outcomes([asked.id]))[asked.id].answer["lane"] == "batch"
