"""Outcomes as JSON and as errors."""

import json

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch_bridge._core import outcomes as _outcome
from batch_bridge._core.models import Cancelled, Errored, Expired, Succeeded
from batch_bridge.errors import LedgerError, RequestCancelled, RequestExpired, RequestFailed

OUTCOMES = st.one_of(
    st.builds(Succeeded, st.none() | st.text() | st.lists(st.integers()) | st.just({"kind": "errored"})),
    st.builds(
        Errored,
        st.text(),
        st.text(),
        st.none() | st.integers(100, 599),
        retryable=st.booleans(),
        body=st.none() | st.text() | st.just({"error": {"message": "no"}}),
        provider_request_id=st.none() | st.text(),
    ),
    st.builds(Expired, st.text()),
    st.builds(Cancelled, st.text()),
)


@given(OUTCOMES)
def test_an_outcome_survives(outcome):
    assert _outcome.from_json(json.loads(json.dumps(_outcome.to_json(outcome)))) == outcome


@pytest.mark.parametrize(
    ("outcome", "kind"),
    [
        (Succeeded(1), "succeeded"),
        (Errored("no"), "errored"),
        (Expired("late"), "expired"),
        (Cancelled("off"), "cancelled"),
    ],
)
def test_the_four_kinds_have_the_fields_own_names(outcome, kind):
    assert _outcome.kind(outcome) == _outcome.to_json(outcome)["kind"] == kind


@pytest.mark.parametrize("outcome", [Errored("caf\udce9", "caf\udce9"), Expired("caf\udce9"), Cancelled("caf\udce9")])
def test_what_an_exception_said_can_be_stored_whatever_it_said(outcome):
    stored = _outcome.from_json(orjson.loads(orjson.dumps(_outcome.to_json(outcome))))
    assert stored.message == "caf?"


@pytest.mark.parametrize(
    "row",
    [
        {},
        {"kind": "paused"},
        {"kind": "succeeded"},
        {"kind": "errored", "message": 1, "code": "x"},
        {"kind": "expired"},
        {"kind": "cancelled", "message": None},
    ],
)
def test_a_row_that_is_none_of_ours_is_refused_with_what_to_do(row):
    with pytest.raises(LedgerError, match="newer one\\? Upgrade"):
        _outcome.from_json(row)


def test_a_row_of_an_older_version_may_lack_what_came_later():
    assert _outcome.from_json({"kind": "errored", "message": "m", "code": "c"}) == Errored("m", "c")


@pytest.mark.parametrize(
    ("outcome", "kind", "code", "status", "retryable"),
    [
        (Errored("no", "rate_limited", 429, retryable=True), RequestFailed, "rate_limited", 429, True),
        (Errored("no"), RequestFailed, "error", None, False),
        (Expired("late"), RequestExpired, "expired", None, True),
        (Cancelled("off"), RequestCancelled, "cancelled", None, True),
    ],
)
def test_a_failure_is_raised_as_its_own_kind_and_says_all_that_is_known(outcome, kind, code, status, retryable):
    error = _outcome.to_error("r1", outcome)
    assert type(error) is kind
    assert (str(error), error.request_id) == (outcome.message, "r1")
    assert (error.code, error.status_code, error.retryable) == (code, status, retryable)
