"""The quota controller: tables of what may go, and what is learned."""

from datetime import timedelta

import pytest
from fakes import at

from batch_bridge._core.models import Limits, Usage
from batch_bridge._core.policy.batching import Waiting
from batch_bridge._engine.waiting.quota import STRIKES, QuotaController

SAID = "Enqueued token limit reached for gpt-4o in organization org-1. Limit: 1,000 enqueued tokens. Try again later."


ANY = Limits()


def controller():
    return QuotaController(timedelta(seconds=1), timedelta(seconds=64))


def wait(number, group="a", size=40):
    return Waiting(str(number), group, size, at(number))


def admitted(made, waiting, limits, *, flights=(), owed=(), now=0, batch=ANY):
    heads = {}
    for each in waiting:
        heads.setdefault(each.group, each)
    admission = made.admission(limits, batch, heads, flights=flights, owed=set(owed), now=at(now))
    if admission is None:
        return None
    out, closed = [], set()
    for each in waiting:  # as the queue does: a group is closed by the first that is turned away
        if each.group in closed:
            continue
        if admission(each):
            out.append(each.id)
        else:
            closed.add(each.group)
    for group, head in heads.items():
        assert (group in admission.shut) <= (head.id not in out), "shut, and let through"
    return "".join(out)


def test_nothing_limits():
    assert admitted(controller(), [wait(0)], Limits(requests=1, bytes=1)) is None


@pytest.mark.parametrize(
    ("flights", "expected"),
    [
        ([], "0123"),
        ([("a", 40)], "012"),
        ([("b", 4000)], "0123"),
        ([("a", 140)], ""),
        ([("a", 4000)], ""),
    ],
)
def test_tokens_of_a_group(flights, expected):
    waiting = [wait(n) for n in range(9)]
    assert admitted(controller(), waiting, Limits(enqueued_tokens=40), flights=flights) == expected


def test_one_that_is_too_large_goes_alone_once_nothing_else_is_there():
    waiting = [wait(0, size=4000), wait(1)]
    limits = Limits(enqueued_tokens=40)
    assert admitted(controller(), waiting, limits, flights=[("a", 4)]) == ""
    assert admitted(controller(), waiting, limits) == "0"


def test_no_group_stands_in_anothers_way():
    waiting = [wait(0), wait(1, "b"), wait(2), wait(3, "b")]
    assert admitted(controller(), waiting, Limits(enqueued_tokens=20), flights=[("a", 80)]) == "13"


@pytest.mark.parametrize(
    ("batches", "flights", "expected"),
    [(1, 0, "01"), (2, 0, "0123"), (2, 1, "01"), (2, 2, ""), (2, 3, ""), (9, 0, "012345")],
)
def test_batches_in_flight(batches, flights, expected):
    waiting = [wait(n) for n in range(6)]
    limits, at_work = Limits(batches=batches), [("z", 1)] * flights
    assert admitted(controller(), waiting, limits, flights=at_work, batch=Limits(requests=2)) == expected


def test_the_next_slot_is_for_the_group_that_waits_with_fewer_at_work():
    waiting = [wait(0), wait(1), wait(2, "b")]
    at_work = [("a", 40), ("a", 40)]
    assert admitted(controller(), waiting, Limits(batches=3), flights=at_work) == "01"
    assert admitted(controller(), waiting, Limits(batches=3), flights=at_work, owed="ab") == "2"


def test_creations_in_an_hour():
    made, limits = controller(), Limits(creations_per_hour=2)
    waiting = [wait(n) for n in range(4)]
    batch = Limits(requests=1)
    assert admitted(made, waiting, limits, batch=batch) == "01"
    made.created(at(10))
    assert admitted(made, waiting, limits, batch=batch, now=10) == "0"
    made.created(at(20))
    assert admitted(made, waiting, limits, batch=batch, now=30) == ""
    assert made.wake_at(limits, "a", at(30)) == at(3610)
    assert admitted(made, waiting, limits, batch=batch, now=3610) == "0"


def test_a_limit_that_was_told_is_kept_to_at_once():
    made = controller()
    made.refused("a", 40_000, 0, said=SAID, limits=Limits(), now=at(0))
    waiting = [wait(n, size=400) for n in range(10)] + [wait(20, size=4)]
    assert admitted(made, waiting, Limits()) == "0123456789"
    assert admitted(made, waiting, Limits(), flights=[("a", 3604)]) == ""


def test_a_limit_that_was_not_told_is_guessed_and_tried_again():
    made = controller()
    made.refused("a", 400, 0, said="too much", limits=Limits(), now=at(0))
    waiting = [wait(n) for n in range(10)]
    assert admitted(made, waiting, Limits(), now=0) == "", "left alone for a while"
    assert made.wake_at(Limits(), "a", at(0)) == at(1)
    assert admitted(made, waiting, Limits(), now=1) == "01234"
    made.refused("a", 200, 0, said="too much", limits=Limits(), now=at(1))
    assert made.wake_at(Limits(), "a", at(1)) == at(3), "longer each time"
    assert admitted(made, waiting, Limits(), now=3) == "01"
    made.ended("a", 80, None, whole=False)
    assert admitted(made, [wait(n, size=4) for n in range(99)], Limits(), now=3) == "".join(map(str, range(27)))


def test_a_batch_that_should_have_fitted_was_counted_too_low():
    made = controller()
    made.refused("a", 4000, 0, said=SAID, limits=Limits(), now=at(0))
    assert made.wake_at(Limits(), "a", at(0)) == at(1)
    assert admitted(made, [wait(n, size=400) for n in range(10)], Limits(), now=1) == "01234567"


def test_usage_corrects_what_a_token_weighs_both_ways():
    made, waiting, limits = controller(), [wait(n) for n in range(9)], Limits(enqueued_tokens=40)
    made.ended("a", 400, Usage("m", 200, 1), whole=True)
    assert admitted(made, waiting, limits) == "0", "2 bytes a token, and a little caution"
    made.ended("a", 400, Usage("m", 20, 1), whole=True)
    assert admitted(made, waiting, limits) == "0", "the dearest of the last batches counts"
    for _ in range(7):
        made.ended("a", 400, Usage("m", 50, 1), whole=True)
    assert admitted(made, waiting, limits) == "0123456", "8 bytes a token"
    made.ended("a", 400, Usage("m", 200, 1), whole=False)
    assert admitted(made, waiting, limits) == "0123456", "what was answered in part tells nothing"


def test_requests_that_were_counted_tell_what_a_token_weighs_until_there_is_a_bill():
    made, waiting, limits = controller(), [wait(n) for n in range(9)], Limits(enqueued_tokens=40)
    assert made.wants_sample("a", limits)
    assert not made.wants_sample("a", Limits())
    made.sampled("a", 40, 4)
    made.sampled("a", 40, 6)
    assert admitted(made, waiting, limits) == "0123456", "8 bytes a token"
    assert made.wants_sample("a", limits)
    made.sampled("a", 20_000, 2500)
    assert not made.wants_sample("a", limits), "that will do"
    made.ended("a", 400, Usage("m", 200, 1), whole=True)
    assert not made.wants_sample("a", limits)
    assert admitted(made, waiting, limits) == "0"


def test_a_refusal_that_neither_explains_is_remembered():
    made = controller()
    made.ended("a", 800, Usage("m", 100, 1), whole=True)
    made.refused("a", 4000, 0, said=SAID, limits=Limits(), now=at(0))
    made.ended("a", 800, Usage("m", 100, 1), whole=True)
    waiting = [wait(n, size=400) for n in range(20)]
    assert admitted(made, waiting, Limits(enqueued_tokens=1000)) == "0123456789101112131415", "8 * 0.95 * 0.8 * 1.1"


def test_a_group_that_is_refused_for_ever_is_not_requeued_for_ever():
    made = controller()
    for n in range(STRIKES):
        assert made.requeues("a", at(n))
        made.refused("a", 400, 0, said="no", limits=Limits(), now=at(n))
    assert not made.requeues("a", at(STRIKES))
    assert made.requeues("b", at(STRIKES))
    assert made.requeues("a", at(86_400)), "another day"
    made.ended("a", 1, None, whole=False)
    assert made.requeues("a", at(STRIKES))


def test_a_request_that_is_larger_than_the_limit_that_was_told_never_fits():
    made = controller()
    assert made.may_fit("a", 4000, SAID)
    assert not made.may_fit("a", 4004, SAID)
    assert made.may_fit("a", 40_000_000, "too much")


def test_what_others_have_used_up_is_given_back_in_time():
    made, waiting = controller(), [wait(n, size=400) for n in range(20)]
    for n in range(10):
        made.refused("a", 2000, 0, said=SAID, limits=Limits(), now=at(n))
    few = len(admitted(made, waiting, Limits(), now=1000))
    for _ in range(40):
        made.ended("a", 400, None, whole=False)
    assert few < 5
    assert admitted(made, waiting, Limits(), now=1000) == "0123456789"


def test_requests_of_other_deadlines_are_batches_of_their_own():
    waiting = [wait(n)._replace(kind=timedelta(seconds=1 + n % 2)) for n in range(4)]
    assert admitted(controller(), waiting, Limits(batches=1)) == "0"
    assert admitted(controller(), waiting, Limits(batches=2)) == "0123"


def test_a_group_without_tokens_keeps_no_slot_free():
    waiting = [wait(0, "b"), wait(1), wait(2)]
    at_work = [("b", 160), ("a", 4), ("a", 4)]
    limits = Limits(batches=4, enqueued_tokens=40)
    assert admitted(controller(), waiting, limits, flights=at_work, owed="ab") == "12"
