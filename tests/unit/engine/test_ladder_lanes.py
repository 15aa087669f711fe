"""Requests with deadlines in lanes whose time and room change: answered once, in time if any lane could, and cheaply."""

import math
import random
from datetime import timedelta

import sampling
from fakes import at
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ladder_world import PRICES, Clock, Lane, World, request

from batch_bridge import events

HOUR, DAY = 3600, 86_400


def constant(seconds):
    return lambda _: seconds


def lanes(clock, *, batch=5 * HOUR, window=1.5 * HOUR, flex=240, realtime=4, closed=()):
    """Return the four lanes; `closed` are the spans of time in which flex has no capacity."""
    is_open = lambda now: not any(since <= now < until for since, until in closed)  # noqa: E731
    return [
        Lane("batch", clock, constant(batch)),
        Lane("window:2h", clock, constant(window)),
        Lane("flex", clock, constant(flex), is_open, stops=False),
        Lane("realtime", clock, constant(realtime), stops=False),
    ]


def missed(world, arrivals):
    """Return the requests that were answered after their deadline."""
    return [each.id for since, each in arrivals if world.answered[each.id][0] > since + each.deadline.total_seconds()]


async def answered(world, arrivals):
    await world.open()
    await world.run(arrivals)
    await world.drain()
    return world


def drawn(seed, count, shortest=120, longest=DAY, over=DAY):
    draws = random.Random(seed)
    times = sorted(draws.uniform(0, over) for _ in range(count))
    return [
        (time, request(number, math.exp(draws.uniform(math.log(shortest), math.log(longest)))))
        for number, time in enumerate(times)
    ]


def cheapest(arrivals, takes, closed):
    """Return what it costs where each request goes to the cheapest lane that answers it in time, all being known."""

    def open_at(now):
        until = [end for since, end in closed if since <= now < end]
        return max(until, default=now)

    total = 0.0
    for since, each in arrivals:
        due = since + each.deadline.total_seconds()
        prices = [
            PRICES[name]
            for name, seconds in takes.items()
            if (open_at(since) if name == "flex" else since) + seconds <= due
        ]
        total += min(prices, default=PRICES["realtime"])
    return total


TAKES = {"batch": 5 * HOUR, "window:2h": 1.5 * HOUR, "flex": 240, "realtime": 4}


async def test_a_thousand_requests_meet_their_deadlines_at_nearly_the_lowest_price():
    clock = Clock()
    closed = [(6 * HOUR, 6.5 * HOUR), (15 * HOUR, 15.5 * HOUR)]
    arrivals = drawn(7, 1_000)
    world = await answered(World(lanes(clock, closed=closed), clock), arrivals)
    assert not missed(world, arrivals)
    best = cheapest(arrivals, TAKES, closed)
    assert best <= world.cost <= best * 1.05


async def test_without_flex_the_window_and_the_batch_share_them():
    clock = Clock()
    arrivals = drawn(3, 200, longest=2 * DAY)
    world = World([lane for lane in lanes(clock) if lane.name != "flex"], clock)
    await answered(world, arrivals)
    assert not missed(world, arrivals)
    assert {lane for _, lane in world.answered.values()} == {"batch", "window:2h", "realtime"}


async def test_one_that_no_lane_can_answer_goes_to_the_last_lane_and_is_told():
    clock = Clock()
    arrivals = [(0, request(1, 10)), (0, request(2, 30 * HOUR))]
    world = await answered(World(lanes(clock), clock), arrivals)
    told = [each for each in world.events if isinstance(each, events.DeadlineTooShort)]
    assert [(each.requests, each.lane) for each in told] == [((arrivals[0][1].id,), "realtime")]
    assert {number: lane for number, (_, lane) in enumerate(world.answered.values())} == {0: "realtime", 1: "batch"}


async def test_a_full_flex_tier_is_left_at_the_windows_last_chance():
    clock = Clock()
    arrivals = [(0, request(1, 3 * HOUR))]
    world = await answered(World(lanes(clock, closed=[(0, DAY)]), clock), arrivals)
    (moved,) = [each for each in world.events if isinstance(each, events.LaneChanged)]
    assert (moved.left, moved.lane) == ("flex", "window:2h")
    assert world.answered == {arrivals[0][1].id: (HOUR - 5 + 1.5 * HOUR, "window:2h")}
    assert world.cost == PRICES["window:2h"]


async def test_a_late_batch_is_stopped_in_time_and_nothing_is_paid_twice():
    clock = Clock()
    arrivals = [(0, request(number, 26 * HOUR)) for number in range(9)]
    world = await answered(World(lanes(clock, batch=99 * HOUR), clock), arrivals)
    assert not missed(world, arrivals)
    assert world.lanes["flex"].paid.total() == 9
    assert world.cost == 9 * PRICES["flex"]


async def test_what_was_paid_in_a_lane_that_was_left_is_kept_and_counted():
    clock = Clock()
    flex = Lane("flex", clock, constant(880), stops=False)
    realtime = Lane("realtime", clock, constant(200), stops=False)
    world = World([flex, realtime], clock)
    arrivals = [(0, request(1, 900))]
    await answered(world, arrivals)
    assert world.answered[arrivals[0][1].id] == (880, "flex"), "it came before the other one"
    assert (flex.paid.total(), realtime.paid.total()) == (1, 1)
    assert sum(each.paid_twice for each in await world.engine.closed_batches()) == 1


async def test_paying_again_does_not_wait_for_a_lane_to_stop():
    clock = Clock()
    arrivals = [(0, request(1, 26 * HOUR))]
    world = await answered(World(lanes(clock, batch=99 * HOUR), clock, policy="pay_again"), arrivals)
    assert not missed(world, arrivals)
    assert world.answered[arrivals[0][1].id][1] == "flex"


# -- lanes that change --------------------------------------------------------------------------------------------


def by_time(spans, usual):
    """Return what counts at a time, of values that hold for three hours each."""
    return lambda now: spans[min(int(now // (3 * HOUR)), len(spans) - 1)] if spans else usual


SLOWER = st.lists(st.sampled_from([0.2, 1.0, 3.0, 1e6]), max_size=8)


@settings(
    max_examples=sampling.many(60, 12), deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=False
)
@given(
    seed=st.integers(0, 10_000),
    batch=SLOWER,
    window=SLOWER,
    flex=SLOWER,
    room=st.lists(st.booleans(), max_size=8),
    policy=st.sampled_from(["wait_for_cancel", "pay_again"]),
    names=st.sampled_from(
        [("batch",), ("flex",), ("batch", "window:2h"), ("window:2h", "flex"), ("batch", "flex"), ()]
    ),
)
async def test_whatever_the_lanes_do_each_is_answered_once_and_in_time_by_the_quick_one(  # noqa: PLR0917
    seed, batch, window, flex, room, policy, names
):
    clock = Clock()
    scale = {"batch": (5 * HOUR, batch), "window:2h": (1.5 * HOUR, window), "flex": (240, flex)}
    made = [
        Lane(
            name,
            clock,
            lambda now, usual=usual, spans=spans: usual * by_time(spans, 1.0)(now),
            by_time(room, True) if name == "flex" else constant(True),
            stops=name != "flex",
        )
        for name, (usual, spans) in scale.items()
        if name in names
    ]
    made.append(Lane("realtime", clock, constant(20), stops=False))
    world = World(made, clock, policy=policy)
    arrivals = drawn(seed, 40)
    await world.open()
    await world.run(arrivals)
    assert not missed(world, arrivals), "realtime answers within what it promises"
    assert world.answered.keys() == {each.id for _, each in arrivals}
    queued = [each for event in world.events if isinstance(event, events.Settled) for each in event.requests]
    assert len(queued) == len(set(queued)), "a request is answered once"


async def test_a_process_after_this_one_goes_on_in_the_same_lanes():
    clock = Clock()
    arrivals = [(0, request(1, 3 * HOUR)), (0, request(2, 30 * HOUR)), (0, request(3, 3 * HOUR))]
    world = World(lanes(clock, closed=[(0, DAY)]), clock)
    await world.open()
    asked = [each for _, each in arrivals]
    world.requests = {each.id: each for each in asked}
    await world.engine.collect(asked, clock.now)
    await world.engine.tick(clock.now, drain=True)
    before = {each.batch.key: (each.batch.terms.lane, each.late_at) for each in world.engine.flights}
    clock.seconds = 60
    await world.open()
    assert {each.batch.key: (each.batch.terms.lane, each.late_at) for each in world.engine.flights} == before
    assert sorted(lane for lane, _ in before.values()) == ["", "flex", "flex"]
    await world.run([(60, each) for each in asked])
    assert {lane for _, lane in world.answered.values()} == {"window:2h", "batch"}
    assert at(0) + timedelta(hours=3) >= at(max(when for when, lane in world.answered.values() if lane != "batch"))
