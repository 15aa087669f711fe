"""Which requests are sent again: a table."""

import pytest
from fakes import at

from batch_bridge._core.models import Attempt, Cancelled, Errored, Expired, Succeeded
from batch_bridge._core.policy.resubmission import (
    ALONE,
    DEADLINE,
    MOST_REFUSALS,
    TOKEN_LIMIT,
    Resubmission,
    final,
    is_sent_again,
)

EXPIRED = Expired("24 h")
CANCELLED = Cancelled("stopped")
RATE = Errored("429", code="rate_limit", status_code=429, retryable=True)
SERVER = Errored("500", code="server_error", status_code=500, retryable=True)
FULL = Errored("full", code=TOKEN_LIMIT, retryable=True)
NO = Errored("400", code="invalid", status_code=400)
PERMANENT = [NO, *(Errored(str(status), status_code=status) for status in (401, 403, 404))]
DOUBTFUL = [
    Errored("", code=code, retryable=True)
    for code in ("missing_result", "realtime_interrupted", "submission_unknown", "ledger_row_lost")
]


def attempts(*codes):
    return tuple(Attempt(f"b{n}", "errored", code, at(n)) for n, code in enumerate(codes))


@pytest.mark.parametrize("outcome", [EXPIRED, RATE, SERVER])
@pytest.mark.parametrize(
    ("before", "limit", "expected"),
    [
        ((), 1, False),
        ((), 2, True),
        ((), 3, True),
        (("429",), 2, False),
        (("429",), 3, True),
        (("429", "500"), 3, False),
        ((TOKEN_LIMIT,) * 9, 2, True),
        ((DEADLINE,), 2, True),
    ],
)
def test_what_may_pass_is_sent_again_up_to_the_limit(outcome, before, limit, expected):
    assert is_sent_again(outcome, attempts(*before), limit=limit) is expected


@pytest.mark.parametrize("outcome", [Succeeded(1), CANCELLED, *PERMANENT, *DOUBTFUL])
def test_the_rest_stands_at_once(outcome):
    assert not is_sent_again(outcome, (), limit=9)


@pytest.mark.parametrize(("outcome", "expected"), [(EXPIRED, True), (CANCELLED, True), (RATE, True)])
@pytest.mark.parametrize("limit", [1, 3])
def test_what_is_late_goes_on_whatever_the_limit(outcome, expected, limit):
    assert is_sent_again(outcome, attempts("429", "429", "429"), limit=limit, late=True) is expected


@pytest.mark.parametrize("outcome", [Succeeded(1), *PERMANENT, *DOUBTFUL])
def test_what_is_late_and_stands(outcome):
    assert not is_sent_again(outcome, (), limit=3, late=True)


@pytest.mark.parametrize(
    ("limit", "requeues", "before", "expected"),
    [(3, True, 20, True), (2, True, 20, True), (1, True, 0, False), (3, False, 0, False)],
)
def test_what_found_no_room_does_not_count(limit, requeues, before, expected):
    assert is_sent_again(FULL, attempts(*[TOKEN_LIMIT] * before), limit=limit, requeues=requeues) is expected


@pytest.mark.parametrize(
    ("alone", "said", "code"), [(False, "no", TOKEN_LIMIT), (True, "yes", ALONE), (True, "no", None)]
)
def test_a_request_that_is_refused_alone_comes_back_while_it_may_fit(alone, said, code):
    again = Resubmission("b1", 3, late=False, requeues=True, may_fit=lambda said: said == "yes", now=at(9), alone=alone)
    attempt = again.judge("x", Errored(said, code=TOKEN_LIMIT, retryable=True), attempts(*[ALONE] * 5))
    assert (attempt and attempt.code) == code
    assert again.refusal is not None


def test_a_request_that_is_refused_alone_comes_back_so_often_and_not_for_ever():
    assert is_sent_again(FULL, attempts(*[ALONE] * (MOST_REFUSALS - 2)), limit=3, requeues=True)
    assert not is_sent_again(FULL, attempts(*[ALONE] * (MOST_REFUSALS - 1)), limit=3, requeues=True)


def test_a_batch_that_is_read_twice_is_one_try():
    again = Resubmission("b1", 2, late=False, requeues=True, may_fit=lambda said: True, now=at(9))
    earlier = (Attempt("b1", "errored", "429", at(5)),)
    assert again.judge("x", RATE, earlier) == Attempt("b1", "errored", "rate_limit", at(9))
    assert again.outcomes == {"x": RATE}
    assert again.judge("y", RATE, (Attempt("b0", "errored", "429", at(5)),)) is None
    assert "y" not in again.outcomes


def test_an_outcome_that_stands_tells_what_was_tried_before():
    before = Attempt("b0", "expired", "expired", at(1))
    outcome = final(RATE, (before, Attempt("b1", "errored", "429", at(2))), "b1")
    assert outcome.attempts == (before,)
    assert final(Succeeded(1), (before,), "b1") == Succeeded(1)
