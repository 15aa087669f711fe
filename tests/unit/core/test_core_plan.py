"""How a flush becomes batches."""

from itertools import pairwise

import pytest
from fakes import at
from hypothesis import given
from hypothesis import strategies as st

from batch_bridge._core.models import Limits
from batch_bridge._core.policy.batching import Waiting, batch_key, cap, split

LIMITS = st.builds(Limits, requests=st.none() | st.integers(1, 5), bytes=st.none() | st.integers(1, 20))


@st.composite
def queues(draw):
    shapes = draw(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 25)), max_size=30))
    return [Waiting(f"{i}", group, size, at(i)) for i, (group, size) in enumerate(shapes)]


@given(queues(), LIMITS)
def test_every_request_is_in_exactly_one_batch(waiting, limits):
    batches = list(split(waiting, limits))
    assert sorted((each for batch in batches for each in batch), key=lambda each: each.queued_at) == waiting


@given(queues(), LIMITS)
def test_a_batch_mixes_no_groups_keeps_the_order_and_the_limits(waiting, limits):
    for batch in split(waiting, limits):
        assert len({each.group for each in batch}) == 1
        assert list(batch) == sorted(batch, key=lambda each: each.queued_at)
        assert limits.requests is None or len(batch) <= limits.requests
        assert limits.bytes is None or len(batch) == 1 or sum(each.bytes for each in batch) <= limits.bytes


@given(queues(), LIMITS)
def test_no_batch_is_cut_before_it_is_full(waiting, limits):
    batches = list(split(waiting, limits))
    for batch, following in pairwise(batches):
        if batch[0].group == following[0].group:
            together = sum(each.bytes for each in batch) + following[0].bytes
            full = limits.requests is not None and len(batch) == limits.requests
            assert full or (limits.bytes is not None and together > limits.bytes)


@pytest.mark.parametrize(
    ("limits", "policy", "capped"),
    [
        (Limits(), (5, None), Limits(5, None)),
        (Limits(3, 100), (5, None), Limits(3, 100)),
        (Limits(9, 100), (5, 50), Limits(5, 50)),
        (Limits(None, 10), (5, 50), Limits(5, 10)),
    ],
)
def test_the_smaller_limit_counts(limits, policy, capped):
    assert cap(limits, *policy) == capped


def requests(*ids, second=0):
    return [Waiting(each, "g", 1, at(second)) for each in ids]


def test_ticks_that_race_make_the_same_key():
    assert batch_key("bridge", requests("1", "2")) == batch_key("bridge", iter(requests("1", "2")))


def test_requests_that_are_asked_again_under_their_old_ids_make_another_key():
    assert batch_key("bridge", requests("1", "2")) != batch_key("bridge", requests("1", "2", second=1e-6))


def test_another_bridge_member_or_order_makes_another_key():
    keys = [
        batch_key("bridge", requests("1", "2")),
        batch_key("bridge", requests("2", "1")),
        batch_key("bridge", requests("12")),
        batch_key("bridge", requests("1")),
        batch_key("bridge", requests()),
        batch_key("bridg", requests("e1", "2")),
        batch_key("other", requests("1", "2")),
    ]
    assert len(set(keys)) == len(keys)
    assert all(len(key) == 35 and key.startswith("bb-") for key in keys)
