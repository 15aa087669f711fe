"""Who writes a prompt's beginning into the provider's cache, and who waits for that."""

from datetime import timedelta

import pytest
from fakes import at

from batch_bridge._core.models import CachedPrefix
from batch_bridge._core.policy.batching import Waiting
from batch_bridge._core.policy.priming import plan


def wait(number, prefix="", key="", lasts=300):
    held = CachedPrefix(prefix, timedelta(seconds=lasts)) if prefix else None
    return Waiting(str(number), "a", 40, at(number), key, prefix=held)


def divided(due, *, writing=(), written=None, now=100, shared=False):
    planned = plan(due, writing=set(writing), written=written or {}, now=at(now), shared=shared)
    return tuple("".join(each.id for each in part) for part in (planned.first, planned.rest, planned.held))


@pytest.mark.parametrize(
    ("prefixes", "expected"),
    [
        ([], ("", "", "")),
        (["", "", ""], ("", "012", "")),
        (["p"], ("", "0", "")),
        (["p", "q", "r"], ("", "012", "")),
        (["p", "p", "p"], ("0", "", "12")),
        (["p", "q", "p", "q"], ("01", "", "23")),
        (["", "p", "q", "p", ""], ("1", "024", "3")),
    ],
)
def test_the_first_of_several_goes_and_the_others_wait(prefixes, expected):
    assert divided([wait(place, each) for place, each in enumerate(prefixes)]) == expected


def test_who_begins_like_a_batch_on_its_way_waits_also_alone():
    assert divided([wait(0, "p"), wait(1, "q")], writing="p") == ("", "1", "0")


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        (100, ("", "012", "")),
        (399, ("", "012", "")),
        (400, ("0", "", "12")),
        (99, ("0", "", "12")),  # the clock was set back
    ],
)
def test_what_was_written_is_there_until_its_time_is_over(now, expected):
    assert divided([wait(place, "p") for place in range(3)], written={"p": at(100)}, now=now) == expected


def test_what_was_written_counts_although_it_is_written_again():
    assert divided([wait(0, "p")], writing="p", written={"p": at(100)}) == ("", "0", "")


def test_requests_that_share_a_line_are_one():
    due = [wait(0, "p", "same"), wait(1, "p", "same"), wait(2, "q", "x"), wait(3, "q", "y"), wait(4, "q", "x")]
    assert divided(due, shared=True) == ("24", "01", "3")
    assert divided(due) == ("02", "", "134")
