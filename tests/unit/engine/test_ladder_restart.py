"""A process after this one that has other lanes, or none: what was on its way or queued there still ends."""

from datetime import timedelta

from fakes import at, ended
from ladder_world import Clock, Lane, World, request

from batch_bridge._core.models import Errored, Expired, Request
from batch_bridge._engine import Engine, EngineSettings
from batch_bridge._engine.waiting.ladder import Ladder
from batch_bridge._ledger.make import durable
from batch_bridge.errors import RequestRefused

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

    async def poll(self, handle, requests):
        if handle["id"] in self.sent:
            return await super().poll(handle, requests)
        return ended({each: Errored("busy", code="busy", status_code=503, retryable=True) for each in requests})


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


class Full(Lane):
    """A lane that takes no request now."""

    room = 0


class Refusing(Lane):
    def measure(self, request):
        raise RequestRefused("no", code="no")


def engine_of(world, home, ladder):
    return Engine(
        "bridge", home, world.policy, durable(world.store, "bridge"), EngineSettings(ladder=ladder, attempts=3)
    )


async def test_one_that_waits_for_a_lane_that_is_gone_expires_if_no_other_answers_it():
    clock = Clock()
    home, quick = Lane("batch", clock, constant(99 * HOUR)), Full("realtime", clock, constant(4))
    world = World([home, quick], clock)
    engine = engine_of(world, home, Ladder.of_fallback(timedelta(hours=1), "pay_again", quick))
    await engine.open(clock.now)
    asked = Request("1" * 32, "t", {"n": 1})
    await engine.collect([asked], clock.now)
    await engine.tick(clock.now, drain=True)
    clock.seconds = HOUR + 1
    await engine.tick(clock.now)
    assert engine.queued == 1
    engine = engine_of(world, home, Ladder.of_fallback(timedelta(hours=1), "pay_again", None))
    await engine.open(clock.now)
    assert asked.id in (await engine.tick(clock.now)).settled
    assert isinstance((await engine.outcomes([asked.id]))[asked.id], Expired)
    await go_on(engine, clock, 2 * HOUR)


async def test_one_that_waits_for_a_lane_that_is_gone_ends_if_the_others_refuse_it():
    clock = Clock()
    home, flex = Refusing("batch", clock, constant(HOUR)), Full("flex", clock, constant(60))
    world = World([home, flex, Lane("realtime", clock, constant(4))], clock)
    engine = engine_of(world, home, world.ladder)
    await engine.open(clock.now)
    asked = request(1, 5 * HOUR)
    await engine.collect([asked], clock.now)
    await engine.tick(clock.now)
    assert engine.queued == 1
    engine = engine_of(world, home, World([home], clock).ladder)
    await engine.open(clock.now)
    assert await engine.collect([asked], clock.now) == {asked.id}
    outcome = (await engine.outcomes([asked.id]))[asked.id]
    assert isinstance(outcome, Errored)
    assert outcome.code == "no"
    await go_on(engine, clock, HOUR)
