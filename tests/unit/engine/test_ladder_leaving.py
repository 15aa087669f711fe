"""Who leaves a lane, and when: what was not created, what another lane refuses, and what has just ended."""

import pytest
from ladder_world import Clock, Lane, World, request

from batch_bridge import events
from batch_bridge._core.models import InProgress
from batch_bridge.errors import ProviderUnavailable, RequestRefused

HOUR = 3600


def constant(seconds):
    return lambda _: seconds


class Shut(Lane):
    """A lane whose create calls are turned away up to a time; it holds an input file for each that is prepared."""

    opens_at = float("inf")
    prepares = 0

    def __post_init__(self):
        super().__post_init__()
        self.files = set()

    async def prepare(self, key, requests):
        self.prepares += 1
        self.files.add(self.prepares)
        return {**await super().prepare(key, requests), "file": self.prepares}

    async def submit(self, key, requests, prepared):
        if self.clock.seconds < self.opens_at:
            raise ProviderUnavailable("full")
        return await super().submit(key, requests, prepared)

    async def fence(self, prepared):
        self.files.discard(prepared["file"])


@pytest.mark.parametrize("opens_at", [float("inf"), 26 * HOUR - 659])
async def test_what_could_not_be_created_moves_on_once_and_leaves_no_file(opens_at):
    clock = Clock()
    batch, realtime = Shut("batch", clock, constant(5 * HOUR)), Lane("realtime", clock, constant(4))
    batch.opens_at = opens_at
    world = World([batch, realtime], clock)
    await world.open()
    await world.run([(0, request(1, 26 * HOUR))])
    ((answered_at, lane),) = world.answered.values()
    assert lane == "realtime"
    assert answered_at <= 26 * HOUR
    assert (batch.prepares, batch.files) == (1, set()), "one upload, and it was deleted"
    assert not batch.sent, "nothing is created only to be stopped"


class Refusing(Lane):
    """A lane that refuses some requests by name; their `n` is given."""

    refused = frozenset()

    def measure(self, request):
        if request.item["n"] in self.refused:
            raise RequestRefused("not here", code="refused_here")
        return super().measure(request)


def moves(world):
    return [(each.left, each.lane) for each in world.events if isinstance(each, events.LaneChanged)]


async def test_a_batch_whose_requests_no_other_lane_takes_is_not_left():
    clock = Clock()
    window = Refusing("window:2h", clock, constant(HOUR))
    window.refused = {1}
    world = World([Lane("batch", clock, constant(5 * HOUR)), window], clock)
    await world.open()
    await world.run([(0, request(1, 4 * HOUR))])
    assert {lane for _, lane in world.answered.values()} == {"batch"}, "late, but answered"
    assert (world.lanes["batch"].paid.total(), moves(world)) == (1, [])


async def test_requests_that_other_lanes_take_do_not_wait_for_one_that_none_does():
    clock = Clock()
    flex = Refusing("flex", clock, constant(60))
    flex.refused = {1}
    world = World([Lane("batch", clock, constant(40 * HOUR)), flex], clock)
    await world.open()
    await world.run([(0, request(n, 26 * HOUR)) for n in range(3)])
    lanes = {int(each, 16): lane for each, (_, lane) in world.answered.items()}
    assert lanes == {0: "flex", 1: "batch", 2: "flex"}
    assert world.lanes["batch"].paid.total() == 1


async def test_a_lane_that_refuses_a_request_has_no_last_chance_for_it():
    clock = Clock()
    window = Refusing("window:2h", clock, constant(1.5 * HOUR))
    window.refused = {1}
    batch = Lane("batch", clock, constant(HOUR))
    world = World([batch, window, Lane("realtime", clock, constant(4))], clock, max_age=0)
    await world.open()
    await world.run([(number * 2 * HOUR, request(100 + number, 30 * HOUR)) for number in range(6)])
    since, batch.takes = clock.seconds, constant(3.5 * HOUR)
    world.answered.clear()
    await world.run([(since, request(1, 4 * HOUR))])
    ((answered_at, lane),) = world.answered.values()
    assert (lane, answered_at) == ("batch", since + 3.5 * HOUR), "in time, though slower than usual"


async def test_a_process_that_takes_over_knows_which_lanes_refuse_a_request():
    clock = Clock()
    window = Refusing("window:2h", clock, constant(HOUR))
    window.refused = {1}
    world = World([Lane("batch", clock, constant(5 * HOUR)), window], clock, max_age=0)
    await world.open()
    await world.engine.collect([request(1, 4 * HOUR)], clock.now)
    await world.engine.tick(clock.now)
    await world.open()
    await world.run([(0, request(1, 4 * HOUR))])
    assert {lane for _, lane in world.answered.values()} == {"batch"}


class Reading(Lane):
    """A lane whose answers take some time to arrive once a batch has ended; each look says so meanwhile."""

    arrives = 0.0

    async def poll(self, handle, requests):
        ends = self.sent[handle["id"]].ends
        if ends is not None and ends <= self.clock.seconds < ends + self.arrives:
            return InProgress(looking=True)
        return await super().poll(handle, requests)


@pytest.mark.parametrize("policy", ["wait_for_cancel", "pay_again"])
async def test_a_batch_whose_answers_are_on_their_way_is_not_left(policy):
    clock = Clock()
    last_chance = 26 * HOUR - 60
    leaves_at = last_chance if policy == "wait_for_cancel" else last_chance - 600
    batch = Reading("batch", clock, constant(leaves_at - 2 - 1800), stops=False)
    batch.arrives = 20
    realtime = Lane("realtime", clock, constant(4))
    world = World([batch, realtime], clock, policy=policy)
    await world.open()
    await world.run([(0, request(number, 26 * HOUR)) for number in range(3)])
    await world.drain()
    assert {lane for _, lane in world.answered.values()} == {"batch"}
    assert not realtime.sent


async def test_a_look_that_does_not_end_holds_up_nobody_for_long():
    clock = Clock()
    batch = Reading("batch", clock, constant(HOUR))
    batch.arrives = float("inf")
    world = World([batch, Lane("realtime", clock, constant(4))], clock)
    await world.open()
    await world.run([(0, request(1, 26 * HOUR))])
    ((answered_at, lane),) = world.answered.values()
    assert (lane, answered_at) == ("realtime", 26 * HOUR - 60 + 30 + 4)
