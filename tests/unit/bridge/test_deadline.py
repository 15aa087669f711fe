"""A deadline and what happens then are one argument; a plain duration is one too."""

from datetime import timedelta

import pytest

from batch_bridge import Bridge, Deadline

HOUR = timedelta(hours=1)


def bridge(**options):
    return Bridge(submit=list, poll=list, **options)


@pytest.mark.parametrize("given", ["1h", 3600, HOUR, Deadline(within="1h"), Deadline(within=HOUR, then="pay_again")])
def test_a_duration_and_a_deadline_say_the_same(given):
    assert bridge(deadline=given).deadline == HOUR
    assert bridge(deadline=given).flush.max_age == HOUR / 2


def test_deadlines_of_one_meaning_are_equal():
    assert Deadline(within="60m") == Deadline(within=3600) != Deadline(within="1h", then="pay_again")


def test_a_policy_alone_is_for_requests_with_deadlines_of_their_own():
    assert bridge(deadline=Deadline(then="pay_again")).deadline is None


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (lambda: Deadline(withn="1h"), TypeError, "unexpected keyword argument 'withn'"),
        (lambda: Deadline("1h"), TypeError, "positional"),
        (lambda: Deadline(within="soon"), TypeError, "within='soon' is not a duration; pass a timedelta"),
        (lambda: Deadline(within=0), ValueError, "within=0 has passed at once; give a positive one"),
        (lambda: Deadline(within=1, then="wait"), ValueError, r"then='wait'\) is unknown; pass \"wait_for_cancel\" or"),
        (lambda: bridge(deadline={"within": 3}), TypeError, "deadline={'within': 3} is not a duration"),
        (lambda: bridge(deadline=-1), ValueError, "deadline=-1 has passed at once"),
        (lambda: bridge(on_deadline="pay_again"), TypeError, "on_deadline"),
    ],
)
def test_what_is_no_deadline_is_an_error_that_says_what_is(make, error, text):
    with pytest.raises(error, match=text):
        make()
