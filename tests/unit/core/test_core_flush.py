"""The flush policy: when a queue is sent, and how much of it."""

from datetime import timedelta

import pytest
from fakes import at
from hypothesis import given
from hypothesis import strategies as st

from batch_bridge._core.policy.flush_policy import FlushPolicy, QueueSummary

ROUND = FlushPolicy(max_requests=10, max_bytes=100, max_age=60)


QUIET = FlushPolicy(max_requests=10, max_age=60, max_idle=2)


def queue(requests=0, size=0, *, oldest=0.0, newest=None, now=0.0):
    return QueueSummary(
        requests=requests,
        bytes=size,
        oldest=at(oldest) if requests else None,
        last_flushed=at(0),
        now=at(now),
        newest=at(oldest if newest is None else newest) if requests else None,
    )


@pytest.mark.parametrize(
    ("policy", "waiting", "taken"),
    [
        pytest.param(ROUND, queue(), 0, id="nothing waits"),
        pytest.param(ROUND, queue(9, 99, now=59), 0, id="just below every limit"),
        pytest.param(ROUND, queue(10, 10), 10, id="full by count"),
        pytest.param(ROUND, queue(25, 25), 20, id="over-full by count: whole batches, the rest waits on"),
        pytest.param(ROUND, queue(3, 100), 3, id="full by bytes: all"),
        pytest.param(ROUND, queue(13, 100), 13, id="full by both: all"),
        pytest.param(ROUND, queue(3, 3, now=60), 3, id="too old: all"),
        pytest.param(ROUND, queue(13, 13, now=60), 13, id="full by count and too old: all"),
        pytest.param(ROUND, queue(3, 3, oldest=0, now=-3600), 0, id="the clock was set back: late, never wrong"),
        pytest.param(FlushPolicy(max_age=0), queue(1), 1, id="no patience at all"),
        pytest.param(FlushPolicy(max_age=None), queue(3, now=10**6), 0, id="age does not flush"),
        pytest.param(QUIET, queue(3, newest=50, now=51), 0, id="others have just come"),
        pytest.param(QUIET, queue(13, newest=50, now=52), 13, id="quiet for long enough: all"),
        pytest.param(QUIET, queue(3, newest=59, now=60), 3, id="too old, though never quiet"),
        pytest.param(FlushPolicy(max_age=None, max_idle=0), queue(1), 1, id="never waits for others"),
        pytest.param(FlushPolicy(when=lambda q: q.requests == 3), queue(3), 3, id="the predicate says yes"),
        pytest.param(FlushPolicy(when=lambda q: q.requests == 3), queue(2), 0, id="the predicate says no"),
        pytest.param(FlushPolicy(when=lambda q: True), queue(), 0, id="the predicate is not asked about nothing"),
    ],
)
def test_whichever_limit_is_met_first_flushes(policy, waiting, taken):
    assert policy.take(waiting) == taken


@pytest.mark.parametrize(
    ("policy", "waiting", "due"),
    [
        pytest.param(ROUND, queue(), None, id="nothing waits"),
        pytest.param(ROUND, queue(1, oldest=5, now=7), 65, id="when the oldest is too old"),
        pytest.param(ROUND, queue(10, now=7), 7, id="full: now"),
        pytest.param(ROUND, queue(1, 100, now=7), 7, id="full by bytes: now"),
        pytest.param(ROUND, queue(1, now=99), 60, id="overdue: in the past"),
        pytest.param(FlushPolicy(max_age=None), queue(1), None, id="no limit is near"),
        pytest.param(QUIET, queue(2, oldest=5, newest=7, now=8), 9, id="when it has been quiet for long"),
        pytest.param(QUIET, queue(2, oldest=5, newest=64, now=64), 65, id="age comes before quiet"),
        pytest.param(FlushPolicy(max_age=None, max_idle=2), queue(1, newest=7), 9, id="quiet alone"),
        pytest.param(FlushPolicy(max_age=None, when=lambda q: True), queue(1), None, id="a predicate has no time"),
    ],
)
def test_the_due_time_follows_from_the_summary(policy, waiting, due):
    assert policy.due_at(waiting) == (None if due is None else at(due))


def test_draining_takes_all_that_waits():
    assert FlushPolicy(max_age=None).take(queue(3), drain=True) == 3
    assert FlushPolicy(max_age=None).take(queue(), drain=True) == 0


@given(
    policy=st.builds(
        FlushPolicy,
        max_requests=st.integers(1, 20),
        max_bytes=st.none() | st.integers(1, 100),
        max_age=st.none() | st.integers(0, 100),
        max_idle=st.none() | st.integers(0, 100),
    ),
    waiting=st.builds(
        queue,
        st.integers(0, 50),
        st.integers(0, 200),
        oldest=st.integers(-50, 50),
        newest=st.integers(50, 100),
        now=st.integers(-50, 150),
    ),
)
def test_what_is_due_is_taken_and_leaves_nothing_due(policy, waiting):
    due, taken = policy.due_at(waiting), policy.take(waiting)
    assert (due is not None and due <= waiting.now) == (taken > 0)
    left = waiting.requests - taken
    assert 0 <= left < policy.max_requests or not taken


def test_an_age_in_seconds_is_a_timedelta_inside():
    assert FlushPolicy(max_age=1.5) == FlushPolicy(max_age=timedelta(seconds=1.5))


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({"max_requests": 0}, r"max_requests=0.* from 1"),
        ({"max_requests": True}, "max_requests=True"),
        ({"max_requests": 2.5}, r"max_requests=2\.5"),
        ({"max_bytes": 0}, r"max_bytes=0.*at least 1, or None"),
        ({"max_age": -1}, "max_age=.*in the past"),
        ({"max_age": timedelta(seconds=-1)}, "max_age=.*in the past"),
        ({"max_idle": -1}, "max_idle=.*in the past"),
        ({"when": "always"}, "when='always'.*not callable"),
    ],
)
def test_a_limit_that_makes_no_sense_is_refused_and_named(limits, message):
    with pytest.raises(ValueError, match=message):
        FlushPolicy(**limits)
