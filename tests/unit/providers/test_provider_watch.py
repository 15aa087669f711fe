"""What providers remember of their batches between two polls."""

import logging

import pytest

from batch_bridge import Ended, InProgress
from batch_bridge.providers._shared.poll_history import LATE_RESULTS, PollHistory


@pytest.fixture
def watch():
    return PollHistory()


def test_a_new_batch_may_not_be_visible_at_once(watch, monkeypatch):
    monkeypatch.setattr("time.time", lambda: 5_000.0)
    assert isinstance(watch.not_found("b", 4_950.0), InProgress)
    assert isinstance(watch.not_found("b", 4_930.0), Ended)
    watch.saw("b", "in_progress", is_known=True)
    assert isinstance(watch.not_found("b", 4_950.0), Ended)
    watch.forget("b")
    assert isinstance(watch.not_found("b", 4_950.0), InProgress)


def test_what_is_late_is_waited_for_some_minutes():
    now = [1_000.0]
    watch = PollHistory(clock=lambda: now[0])
    assert watch.waits("b")
    now[0] += LATE_RESULTS.total_seconds() - 1
    assert watch.waits("b")
    now[0] += 1
    assert not watch.waits("b")
    assert watch.waits("c")
    watch.forget("b")
    assert watch.waits("b")


def test_an_unknown_status_is_told_once(watch, caplog):
    with caplog.at_level(logging.WARNING):
        for batch_id, status in (("b", "dreaming"), ("b", "dreaming"), ("b", "asleep"), ("c", "dreaming")):
            watch.saw(batch_id, status, is_known=False)
        watch.saw("d", "in_progress", is_known=True)
    assert [record.message.partition(";")[0] for record in caplog.records] == [
        "batch b: its status 'dreaming' is unknown",
        "batch b: its status 'asleep' is unknown",
        "batch c: its status 'dreaming' is unknown",
    ]


def test_errors_speak_as_the_api_does():
    gone = PollHistory(title="", account="workspace").not_found("batches/1", 0.0)
    assert isinstance(gone, Ended)
    assert gone.missing.message.startswith("batches/1 no longer exists")
    assert "another workspace" in gone.missing.message
