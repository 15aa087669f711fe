"""What does not get on, and results that a provider will delete: one line each, which says what to do."""

import pytest

from batch_bridge._core.policy.vendor_terms import terms_of
from batch_bridge._core.wording.words import span
from batch_bridge._status.models import Batch, Facts, Owner, Threads
from batch_bridge._status.stuck import stuck_lines, warning_lines

NOW = 2_000_000_000.0
HOUR = 3600.0
DAY = 24 * HOUR
ALIVE = Owner(alive=True, pid=7, host="here")
KILLED = Owner(alive=False, pid=7, host="here", at=NOW - 60)
CLOSED = Owner(alive=False, pid=7, host="here", at=NOW - 60, closed=True)


def facts(*batches, owner=ALIVE, kind="runner", history=(), parked=5, unfinished=True):
    threads = Threads(10, 5, 0, parked, 0)
    return Facts(kind, owner, threads, (), None, 0, batches, tuple(history), NOW, unfinished)


def flying(age=HOUR, provider="OpenAIBatch", **more):
    terms, at = terms_of(provider), NOW - age
    times = {
        "window_until": None if terms.window is None else at + terms.window,
        "expires_at": None if terms.keeps is None else at + terms.keeps,
    }
    return Batch("bb-1", "bridge", "in_flight", "batch_1", "g", 100, submitted_at=at, **times | more)


def ended(took):
    return Batch("bb-0", "bridge", "ended", "batch_0", "g", 100, submitted_at=NOW - took, ended_at=NOW)


def test_threads_of_a_process_that_was_killed_are_stuck_and_those_left_on_purpose_are_not():
    (line,) = stuck_lines(facts(owner=KILLED))
    assert line.startswith("its process 7 on here is gone, and 5 of its threads have not ended: run the same command")
    assert not stuck_lines(facts(owner=CLOSED))
    assert not stuck_lines(facts(owner=ALIVE))
    assert not stuck_lines(facts(owner=Owner(alive=None, pid=7))), "what cannot be seen is not accused"
    assert not stuck_lines(facts(owner=KILLED, unfinished=False, parked=0))
    assert not stuck_lines(facts(owner=Owner(), kind="jobs")), "nobody drives jobs between two calls"


def test_a_batch_past_its_window_is_stuck():
    assert not stuck_lines(facts(flying(23.9 * HOUR)))
    (line,) = stuck_lines(facts(flying(26 * HOUR)))
    assert line.startswith("batch bb-1 (batch_1) is past its window by 2h: look it up at the provider")
    assert not stuck_lines(facts(flying(26 * HOUR, "AzureOpenAIBatch"))), "Azure goes on with it"


def test_a_provider_that_refuses_every_call_for_ten_minutes_is_told():
    bad = {"failures": 9, "problem": "401"}
    assert not stuck_lines(facts(flying(bad_since=NOW - 599, **bad)))
    (line,) = stuck_lines(facts(flying(bad_since=NOW - 600, **bad)))
    assert "bridge 'bridge', batch bb-1 (batch_1): the provider has refused every call for 10m: see" in line
    assert line.endswith("It said: 401")
    (line,) = stuck_lines(facts(*[flying(bad_since=NOW - 600, **bad)] * 3))
    assert "batch bb-1 (batch_1) and 2 more: the provider has refused" in line, "one line a bridge"


def test_a_batch_that_has_not_moved_for_longer_than_its_like_took_is_stuck_once_there_are_enough_of_them():
    history = [ended(60.0 + place) for place in range(20)]
    assert not stuck_lines(facts(flying(since=NOW - 79), history=history))
    (line,) = stuck_lines(facts(flying(since=NOW - 80), history=history))
    assert "has not moved for 1m 20s" in line
    assert not stuck_lines(facts(flying(since=NOW - 80), history=history[1:])), "nineteen are no measure"


@pytest.mark.parametrize(
    ("provider", "quiet", "loud", "gone"),
    [
        ("OpenAIBatch", 11 * DAY, 14 * DAY, 30 * DAY),
        ("AnthropicBatch", 11 * DAY, 14 * DAY, 29 * DAY),
        ("AzureOpenAIBatch", 5 * DAY, 7 * DAY, 14 * DAY),
        ("GeminiBatch", 19 * HOUR, 20 * HOUR, 48 * HOUR),
    ],
)
def test_results_that_nobody_collects_are_told_of_well_before_they_are_deleted(provider, quiet, loud, gone):
    assert not list(warning_lines(facts(flying(quiet, provider), owner=CLOSED)))
    (line,) = warning_lines(facts(flying(loud, provider), owner=CLOSED))
    assert f"its provider deletes them in {span(gone - loud)}" in line
    (line,) = warning_lines(facts(flying(gone, provider), owner=CLOSED))
    assert "may have deleted its results" in line
    assert not list(warning_lines(facts(flying(loud, provider)))), "its owner looks at it"
    assert list(warning_lines(facts(flying(loud, provider, failures=3)))), "and cannot see it"


def test_what_is_known_of_no_provider_accuses_nobody():
    assert not stuck_lines(facts(flying(400 * DAY, "Pair")))
    assert not list(warning_lines(facts(flying(400 * DAY, "Pair"), owner=CLOSED)))


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0s"), (59.4, "59s"), (60, "1m"), (3661, "1h 1m"), (3600, "1h"), (90_000, "1d 1h"), (-5, "0s")],
)
def test_durations_in_words(seconds, words):
    assert span(seconds) == words
