from types import SimpleNamespace

import pytest

from batch_bridge._core.models import Cancelled, Errored, Expired, InProgress, Usage
from batch_bridge.providers.openai._batch import read_batch


def batch(**fields):
    counts = SimpleNamespace(total=4, completed=2, failed=1)
    return read_batch(SimpleNamespace(**{"id": "batch_1", "status": "completed", "request_counts": counts, **fields}))


@pytest.mark.parametrize(
    ("status", "ended"),
    [
        ("validating", False),
        ("in_progress", False),
        ("finalizing", False),
        ("cancelling", False),
        ("COMPLETED", True),
        ("completed", True),
        ("failed", True),
        ("expired", True),
        ("cancelled", True),
        ("paused", False),
        (None, False),
    ],
)
def test_which_statuses_are_ends(status, ended):
    seen = batch(status=status)
    assert (seen.end is not None) == ended
    assert seen.is_known == (status not in ("paused", None))


def test_progress_counts_what_is_answered_well_or_badly():
    assert batch().progress() == InProgress(3, 4)
    assert batch(request_counts=None).progress() == InProgress(None, None)


def test_requests_that_an_ended_batch_does_not_name():
    assert isinstance(batch(status="expired").missing(), Expired)
    assert isinstance(batch(status="cancelled").missing(), Cancelled)
    missing = batch(status="completed").missing()
    assert (missing.code, missing.retryable) == ("missing_result", True)


def problem(code, message, line=None):
    return SimpleNamespace(code=code, message=message, line=line, param=None)


def test_a_failed_batch_tells_its_first_problems():
    data = [problem("invalid_request", f"bad {i}", i) for i in range(1, 6)]
    missing = batch(status="failed", errors=SimpleNamespace(data=data)).missing()
    assert missing == Errored(
        "batch batch_1 failed, so none of its requests ran: line 1: bad 1; line 2: bad 2; line 3: bad 3; and 2 more",
        code="invalid_request",
    )


@pytest.mark.parametrize("errors", [None, SimpleNamespace(data=None), SimpleNamespace(data=[])])
def test_a_batch_may_fail_without_a_reason(errors):
    missing = batch(status="failed", errors=errors).missing()
    assert (missing.code, missing.retryable) == ("batch_failed", False)
    assert "no reason was given" in missing.message


def test_too_many_enqueued_tokens_is_worth_another_try():
    data = [problem("token_limit_exceeded", "Enqueued token limit reached.")]
    assert batch(status="failed", errors=SimpleNamespace(data=data)).missing().retryable


def test_usage_names_the_model_that_was_billed():
    details = SimpleNamespace(cached_tokens=3)
    usage = SimpleNamespace(input_tokens=10, output_tokens=5, input_tokens_details=details)
    assert batch(usage=usage, model="m-2024").usage == Usage("m-2024", 10, 5, 3)
    assert batch().usage is None
    plain = SimpleNamespace(id="batch_1", usage=SimpleNamespace(input_tokens=1, output_tokens=2))
    assert read_batch(plain, model="m").usage == Usage("m", 1, 2)


@pytest.mark.parametrize("answer", ["<html>", None, SimpleNamespace(), SimpleNamespace(id=7)])
def test_an_answer_that_is_no_batch(answer):
    assert read_batch(answer) is None
