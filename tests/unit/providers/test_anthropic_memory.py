"""What the provider remembers between two calls."""

from datetime import timedelta

import pytest

from batch_bridge import Ended, InProgress
from batch_bridge.errors import ProviderUnavailable, SubmissionUnknown
from batch_bridge.providers._shared.poll_history import LATE_RESULTS
from batch_bridge.providers.anthropic._batch import AnthropicBatchObject
from batch_bridge.providers.anthropic._batch_names import Memory

PATIENCE = timedelta(minutes=10)


class Clock:
    now = 1_000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def memory(clock):
    return Memory(clock)


def left(memory, key="bb-key"):
    """Seconds that a doubt has yet to last; `None` if it is over."""
    try:
        memory.wait_out(key, PATIENCE)
    except ProviderUnavailable as error:
        return error.retry_after
    return None


def test_a_doubt_lasts_from_the_first_look(memory, clock):
    assert left(memory) == 600
    clock.now += 100
    assert left(memory) == 500
    assert left(memory, "bb-other") == 600
    clock.now += 500
    assert left(memory) is None
    assert left(memory, "bb-other") == 100


def test_a_doubt_that_is_over_does_not_shorten_the_next(memory, clock):
    left(memory)
    clock.now += 600
    assert left(memory) is None
    assert left(memory) == 600


def test_another_create_call_begins_the_doubt_anew(memory, clock):
    left(memory)
    clock.now += 599
    memory.sent("bb-key")
    assert left(memory) == 600


def test_without_patience_the_doubt_stays(memory):
    with pytest.raises(SubmissionUnknown):
        memory.wait_out("bb-key", None)


def batch(status="ended", *, has_results=True, is_archived=False):
    return AnthropicBatchObject(
        "msgbatch_1", status, 0.0, 2, 0, was_cancelled=False, has_results=has_results, is_archived=is_archived
    )


@pytest.mark.parametrize(
    ("seen", "ended"),
    [
        (batch(), True),
        (batch(has_results=False, is_archived=True), True),
        (batch(has_results=False), False),
        (batch("in_progress"), False),
        (batch("canceling"), False),
        (batch("paused"), False),
    ],
)
def test_when_a_batch_has_ended(memory, seen, ended):
    assert memory.has_ended(seen) is ended


def test_results_that_never_come_are_not_waited_for_for_ever(memory, clock):
    assert not memory.has_ended(batch(has_results=False))
    clock.now += LATE_RESULTS.total_seconds()
    assert memory.has_ended(batch(has_results=False))


def test_a_batch_that_was_seen_is_gone(memory, monkeypatch):
    monkeypatch.setattr("time.time", lambda: 5_000.0)
    assert isinstance(memory.not_found("msgbatch_1", 4_950.0), InProgress)
    memory.has_ended(batch("in_progress"))
    assert isinstance(memory.not_found("msgbatch_1", 4_950.0), Ended)
    memory.forget("msgbatch_1")
    assert isinstance(memory.not_found("msgbatch_1", 4_950.0), InProgress)
    assert isinstance(memory.not_found("msgbatch_1", 4_930.0), Ended)
