"""The decision about a request's lane: where it starts, when it is looked at again, and when it leaves."""

from datetime import timedelta

import pytest
from fakes import at
from hypothesis import given
from hypothesis import strategies as st

from batch_bridge._core.policy.ladder import Leave, Rung, Stay, choose, learned, leaves_at, look

MINUTE, HOUR = 60, 3600


def rung(name, price, takes, stops=0, pools=0):
    return Rung(name, price, timedelta(seconds=takes), timedelta(seconds=stops), timedelta(seconds=pools))


BATCH = rung("batch", 0.5, 24 * HOUR, 10 * MINUTE, 30 * MINUTE)
WINDOW = rung("window:2h", 0.7, 2 * HOUR, MINUTE)
FLEX = rung("flex", 0.5, 15 * MINUTE)
REALTIME = rung("realtime", 1.0, MINUTE)
ALL = [BATCH, WINDOW, FLEX, REALTIME]


@pytest.mark.parametrize(
    ("hours", "name", "meets"),
    [
        (None, "batch", True),
        (48, "batch", True),
        (24, "batch", True),  # the day's lane meets the day, though it waits for others first
        (23, "flex", True),
        (0.25, "flex", True),
        (0.1, "realtime", True),
        (0.01, "realtime", False),
        (-1, "realtime", False),
    ],
)
def test_a_request_starts_in_the_cheapest_lane_that_meets_its_deadline(hours, name, meets):
    choice = choose(ALL, None if hours is None else timedelta(hours=hours))
    assert (choice.rung.name, choice.meets) == (name, meets)


def test_without_a_cheap_quick_lane_the_window_is_next():
    assert choose([BATCH, WINDOW, REALTIME], timedelta(hours=5)).rung is WINDOW


def test_a_batch_is_left_at_the_last_chance_of_what_is_cheap_once_it_runs_late():
    due_at = at(26 * HOUR)
    others = [WINDOW, REALTIME]
    first = look(BATCH, others, since=at(0), due_at=due_at, now=at(0), is_refused=False)
    assert first == Stay(at(24 * HOUR - 10 * MINUTE))
    still = look(BATCH, others, since=at(0), due_at=due_at, now=at(24 * HOUR - 10 * MINUTE), is_refused=False)
    assert still == Stay(at(26 * HOUR - 11 * MINUTE)), "its promise has not run out"
    late = look(BATCH, others, since=at(-HOUR), due_at=due_at, now=at(24 * HOUR - 10 * MINUTE), is_refused=False)
    assert late == Leave(at(24 * HOUR))


def test_a_lane_without_capacity_is_left_at_the_next_last_chance():
    due_at = at(2 * HOUR + 10 * MINUTE)
    waiting = look(FLEX, [WINDOW, REALTIME], since=at(0), due_at=due_at, now=at(10 * MINUTE), is_refused=False)
    refused = look(FLEX, [WINDOW, REALTIME], since=at(0), due_at=due_at, now=at(10 * MINUTE), is_refused=True)
    assert (waiting, refused) == (Stay(due_at - timedelta(minutes=1)), Leave(at(10 * MINUTE)))


def test_a_missed_chance_is_not_taken():
    due_at = at(3 * HOUR)
    seen = look(FLEX, [WINDOW, REALTIME], since=at(0), due_at=due_at, now=at(2 * HOUR), is_refused=True)
    assert seen == Stay(at(3 * HOUR - MINUTE))


def test_a_lane_that_costs_more_than_a_later_chance_is_passed_over():
    assert look(BATCH, [WINDOW, FLEX], since=at(0), due_at=at(9 * HOUR), now=at(0), is_refused=True) == Stay(
        at(9 * HOUR - 25 * MINUTE)
    )


def test_the_last_lane_is_never_left():
    assert look(REALTIME, [], since=at(0), due_at=at(60), now=at(999), is_refused=True) == Stay(None)


def test_what_waits_to_be_sent_leaves_sooner_where_there_is_no_room():
    due_at = at(2 * HOUR + 10 * MINUTE)
    assert leaves_at(FLEX, [WINDOW, REALTIME], since=at(0), due_at=due_at, is_refused=True) == at(10 * MINUTE)
    assert leaves_at(FLEX, [WINDOW, REALTIME], since=at(0), due_at=due_at, is_refused=False) == at(129 * MINUTE)
    assert leaves_at(REALTIME, [], since=at(0), due_at=due_at, is_refused=True) is None


def test_a_deadline_with_a_fallback_is_a_ladder_of_two():
    home, fallback = rung("", 0.0, 0), rung("fallback", 1.0, 0)
    assert choose([home, fallback], timedelta(0)).rung is home
    seen = look(home, [fallback], since=at(0), due_at=at(60), now=at(59), is_refused=True)
    assert (seen, look(home, [fallback], since=at(0), due_at=at(60), now=at(60), is_refused=False)) == (
        Stay(at(60)),
        Leave(at(60)),
    )


# -- what lanes took before ---------------------------------------------------------------------------------------


def test_a_lane_takes_what_it_took_and_keeps_its_promise():
    quick = learned(BATCH, [600.0] * 5, [])
    assert quick.takes == timedelta(seconds=765)
    assert (quick.promise, quick.price, quick.stops) == (BATCH.takes, BATCH.price, BATCH.stops)
    assert learned(BATCH, [600.0] * 4, []) is BATCH, "too little is known"


def test_what_was_broken_off_makes_a_lane_slower_if_anything():
    assert learned(FLEX, [600.0] * 5, [1.0, 2.0]).takes == learned(FLEX, [600.0] * 5, []).takes
    assert learned(FLEX, [600.0] * 5, [9000.0]).takes > learned(FLEX, [600.0] * 5, []).takes


def test_a_lane_that_was_slow_is_tried_again():
    slow = learned(FLEX, [9000.0] * 5, [])
    assert choose([slow, REALTIME], timedelta(minutes=20)).rung is slow


@given(
    st.lists(st.tuples(st.floats(0.1, 1), st.integers(1, 90_000), st.integers(0, 600)), min_size=2, max_size=6),
    st.integers(0, 90_000),
    st.booleans(),
)
def test_looking_ends_in_a_lane_that_meets_the_deadline_if_one_does(lanes, due, refused):
    here, *others = [rung(str(n), price, takes, stops) for n, (price, takes, stops) in enumerate(lanes)]
    now, looks = at(0), 0
    while True:
        seen = look(here, others, since=at(0), due_at=at(due), now=now, is_refused=refused)
        looks += 1
        assert looks <= len(lanes)
        if isinstance(seen, Leave):
            break
        assert seen.until is not None
        assert seen.until > now, "time goes on, and somebody looks again"
        now = seen.until
    left = at(due) - max(seen.at_latest, now)
    quickest = min(each.takes for each in others)
    assert left >= quickest or at(due) - at(0) < quickest + here.stops
