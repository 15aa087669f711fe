"""What is paid twice because a lane was left is counted once, whichever process dies meanwhile; what is paid once is not."""

import pytest
from fakes import at, ended
from ladder_world import Clock, Lane, World, request

from batch_bridge._core.models import Errored, InProgress, Succeeded
from batch_bridge.errors import ProviderUnavailable, SubmissionUnknown


def constant(seconds):
    return lambda _: seconds


def lanes(clock, flex, realtime):
    """Return two lanes that cannot stop, and what an answer takes there."""
    return [
        Lane("flex", clock, constant(flex), stops=False),
        Lane("realtime", clock, constant(realtime), stops=False),
    ]


async def opened(clock, *given):
    world = World(given, clock)
    await world.open()
    return world


async def go_on(world, until):
    """Tick until nothing is due before a time."""
    while world.clock.seconds < until:
        tick = await world.engine.tick(world.clock.now)
        due = until if tick.wake_at is None else (tick.wake_at - at(0)).total_seconds()
        world.clock.seconds = min(max(due, world.clock.seconds + 0.001), until)


async def counted(world):
    return sum(each.paid_twice for each in await world.engine.closed_batches())


async def test_what_was_delivered_before_the_process_died_is_counted():
    clock = Clock()
    world = await opened(clock, *lanes(clock, 2000, 20))
    await world.run([(0, request(1, 900))])
    await world.open()
    await world.drain()
    assert sum(lane.paid.total() for lane in world.lanes.values()) == 2
    assert await counted(world) == 1


async def test_what_the_next_lane_answers_too_is_counted_after_a_restart():
    clock = Clock()
    world = await opened(clock, *lanes(clock, 880, 200))
    await world.engine.collect([request(1, 900)], clock.now)
    await go_on(world, 881)
    (second,) = world.engine.flights
    assert (second.batch.terms.lane, second.batch.left) == ("realtime", "cancelled")
    await world.open()
    await go_on(world, 2000)
    assert sum(lane.paid.total() for lane in world.lanes.values()) == 2
    assert await counted(world) == 1


async def test_what_the_lane_that_was_left_answers_first_is_counted_once_after_a_restart():
    """That lane still has others to answer, and both lanes answer this one: they are two, and one of them is too many."""
    clock = Clock()
    world = await opened(clock, *lanes(clock, 880, 200))
    await world.engine.collect([request(1, 900)], clock.now)
    await go_on(world, 845)
    first, second = sorted(world.engine.flights, key=lambda flight: flight.batch.terms.lane != "")
    assert first.batch.left == "overdue"
    answers = [(request(1, 900).id, Succeeded({"lane": "flex", "n": 1}))]
    await world.engine._settler.leaver.keep(first, answers, clock.now)
    assert first.batch.gave == second.batch.elsewhere == (answers[0][0],)
    await world.open()
    await go_on(world, 2000)
    assert sum(lane.paid.total() for lane in world.lanes.values()) == 2
    assert await counted(world) == 1


async def test_what_the_lane_that_was_left_answers_first_is_paid_once_if_the_next_one_stops_in_time():
    clock = Clock()
    batch, window = Lane("batch", clock, constant(26 * 3600), stops=False), Lane("window:2h", clock, constant(7000))
    world = World([batch, window], clock, max_age=0)
    await world.open()
    await world.run([(0, request(1, 27 * 3600))])
    await world.drain()
    assert {lane for _, lane in world.answered.values()} == {"batch"}
    assert (len(window.sent), batch.paid.total(), window.paid.total()) == (1, 1, 0)
    assert await counted(world) == 0
    accounts = await world.engine.accounts()
    assert [account.lane for account in accounts for _ in account.each()] == ["batch"], "one lane is on the receipt"


@pytest.mark.parametrize("dies_again", [False, True])
@pytest.mark.parametrize("stops", [False, True])
async def test_what_is_answered_while_the_next_call_has_only_begun_is_counted_if_both_are_paid(stops, dies_again):
    """The process dies between leaving a lane and the next lane's call, and perhaps once more when that has begun."""
    clock = Clock()
    flex, realtime = (
        Lane("flex", clock, constant(880), stops=False),
        Lane("realtime", clock, constant(200), stops=stops),
    )
    world = await opened(clock, flex, realtime)
    asked = request(1, 900)
    await world.engine.collect([asked], clock.now)
    await go_on(world, 800)
    world.engine.paused = True  # what has left its lane is not sent
    await go_on(world, 850)
    (left,) = world.engine.flights
    assert (left.batch.left, realtime.sent) == ("overdue", {})
    await world.open()
    world.engine.paused = False
    await world.engine.collect([asked], clock.now)
    await go_on(world, 860)
    assert len(realtime.sent) == 1
    if dies_again:
        await world.open()
        await world.engine.collect([asked], clock.now)
    await go_on(world, 3000)
    assert isinstance((await world.engine.outcomes([asked.id]))[asked.id], Succeeded)
    assert flex.paid.total() + realtime.paid.total() - 1 == await counted(world) == (not stops)
    assert not world.engine.batches_in_flight


class Doubled(Lane):
    """A lane that ends requests with two lines each, of which the first one counts."""

    async def poll(self, handle, requests):
        reply = await super().poll(handle, requests)
        if isinstance(reply, InProgress):
            return reply
        pairs = [pair async for pair in reply.outcomes]
        return ended([*((each, Errored("no", code="bad")) for each, _ in pairs), *pairs])


@pytest.mark.parametrize("chunk", [1, 1000])
async def test_a_second_line_of_the_lane_that_was_left_is_no_answer(chunk):
    clock = Clock()
    flex, realtime = Doubled("flex", clock, constant(880), stops=False), Lane("realtime", clock, constant(200))
    world = await opened(clock, flex, realtime)
    world.engine._state.ledger.table.chunk = chunk
    await world.run([(0, request(1, 900))])
    await world.drain()
    assert {lane for _, lane in world.answered.values()} == {"realtime"}
    assert await counted(world) == 0


class Doubtful(Lane):
    """A lane whose create calls come through, but have no answer; they can be looked up from some time on."""

    finds_from = 900.0

    async def submit(self, key, requests, prepared):
        await super().submit(key, requests, prepared)
        raise SubmissionUnknown("no answer")

    async def find(self, key, prepared):
        if self.clock.seconds < self.finds_from:
            raise ProviderUnavailable("down")
        return [{**prepared, "id": each} for each in self.sent]


@pytest.mark.parametrize(("dies", "is_delivered"), [(False, False), (True, False), (True, True)])
async def test_what_is_answered_while_the_next_lanes_call_is_in_doubt_is_counted(dies, is_delivered):
    clock = Clock()
    flex = Lane("flex", clock, constant(880), stops=False)
    realtime = Doubtful("realtime", clock, constant(200), stops=False)
    world = await opened(clock, flex, realtime)
    asked = request(1, 900)
    await world.engine.collect([asked], clock.now)
    await go_on(world, 890)
    assert isinstance((await world.engine.outcomes([asked.id]))[asked.id], Succeeded)
    if is_delivered:
        await world.engine.forget([asked.id])
    if dies:
        await world.open()
    await go_on(world, 3000)
    assert (flex.paid.total(), realtime.paid.total()) == (1, 1)
    assert await counted(world) == 1
    assert not world.engine.batches_in_flight


class Shut(Lane):
    """A lane that turns create calls away up to some time."""

    async def submit(self, key, requests, prepared):
        if self.clock.seconds < 950:
            raise ProviderUnavailable("full")
        return await super().submit(key, requests, prepared)


@pytest.mark.parametrize("is_cancelled", [False, True])
async def test_what_nobody_waits_for_any_more_is_not_sent(is_cancelled):
    clock = Clock()
    flex, realtime = Lane("flex", clock, constant(880), stops=False), Shut("realtime", clock, constant(200))
    world = await opened(clock, flex, realtime)
    asked = request(1, 900)
    await world.engine.collect([asked], clock.now)
    await go_on(world, 860)
    assert world.engine.unsent == 1
    if is_cancelled:
        await world.engine.cancel([asked.id], clock.now)
    await go_on(world, 3000)
    assert not realtime.sent
    assert await counted(world) == 0
    assert not world.engine.batches_in_flight


@pytest.mark.parametrize("is_delivered", [False, True])
async def test_what_is_cancelled_after_it_has_moved_is_paid_once(is_delivered):
    clock = Clock()
    flex, realtime = lanes(clock, 880, 200)
    realtime.room = 0
    world = await opened(clock, flex, realtime)
    asked = request(1, 900)
    await world.engine.collect([asked], clock.now)
    await go_on(world, 845)
    await world.engine.cancel([asked.id], clock.now)
    if is_delivered:
        await world.engine.forget([asked.id])
    await go_on(world, 2000)
    assert (flex.paid.total(), realtime.paid.total()) == (1, 0)
    assert await counted(world) == 0


class Failing(Lane):
    async def poll(self, handle, requests):
        return ended({each.id: Errored("no", code="bad") for each in self.sent[handle["id"]].requests})


@pytest.mark.parametrize("is_delivered", [False, True])
async def test_what_fails_in_the_next_lane_is_paid_once(is_delivered):
    clock = Clock()
    flex, _ = lanes(clock, 880, 1)
    world = await opened(clock, flex, Failing("realtime", clock, constant(1)))
    asked = request(1, 900)
    await world.engine.collect([asked], clock.now)
    await go_on(world, 860)
    assert isinstance((await world.engine.outcomes([asked.id]))[asked.id], Errored)
    if is_delivered:
        await world.engine.forget([asked.id])
    await go_on(world, 2000)
    assert flex.paid.total() == 1
    assert await counted(world) == 0


async def test_what_nobody_asks_for_again_after_a_restart_keeps_the_answer_of_the_lane_that_was_left():
    clock = Clock()
    flex, realtime = lanes(clock, 880, 200)
    realtime.room = 0
    world = await opened(clock, flex, realtime)
    asked = request(1, 900)
    await world.engine.collect([asked], clock.now)
    await go_on(world, 845)
    await world.open()
    await go_on(world, 900)
    assert await world.engine.collect([asked], clock.now) == {asked.id}
    assert await counted(world) == 0
