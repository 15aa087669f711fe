"""How long a durable Batcher keeps what it has answered, in its file and in memory."""

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from batch_bridge import Batcher
from batch_bridge._core import clock as _clock
from batch_bridge.batcher._inside import Inside
from batch_bridge.errors import BatcherClosedError


@pytest.fixture
def clock(monkeypatch):
    """Time that passes when it is told to."""

    class Clock:
        passed = timedelta(0)

        def __call__(self):
            return datetime.now(UTC) + self.passed

    clock = Clock()
    monkeypatch.setattr(_clock, "now", clock)
    return clock


class Asked:
    """A pair of functions that takes down what it was sent."""

    def __init__(self):
        self.items = []

    def submit(self, items):
        self.items += items
        return items

    def poll(self, handle):
        return [f"{item}!" for item in handle]


def batcher(path, asked, **options):
    return Batcher(submit_func=asked.submit, poll_func=asked.poll, path=path, poll_interval=0.01, **options)


def rows(path):
    """Return how many rows there are, by their kind."""
    connection = sqlite3.connect(path)
    counted = connection.execute("SELECT prefix FROM store").fetchall()
    connection.close()
    kinds = [prefix.split(".")[2] for (prefix,) in counted if "." in prefix]
    return {kind: kinds.count(kind) for kind in kinds}


def test_what_was_answered_goes_after_the_retention_from_the_file_and_from_memory(tmp_path, clock):
    path, asked = tmp_path / "b.db", Asked()
    with batcher(path, asked, retention=timedelta(days=1)) as batching:
        for day in range(6):
            batching.map([f"{day} {number}" for number in range(10)])
            clock.passed += timedelta(days=1.1)
        batching.map(["the last"])
        held = rows(path)
        assert held["outcomes"] <= 21
        assert held["closed"] <= 4
        assert held["told"] <= 3
        assert len(batching._callers._names) <= 21
    assert "outcomes" not in rows(path)  # a clean close
    assert len(asked.items) == 61


def test_no_more_are_kept_than_there_is_room_for(tmp_path):
    path, asked = tmp_path / "b.db", Asked()
    with batcher(path, asked, _inside=Inside(most_retained=20)) as batching:
        for turn in range(6):
            batching.map([f"{turn} {number}" for number in range(10)])
        assert rows(path)["outcomes"] <= 30
        assert len(batching._callers._names) <= 30


def test_an_equal_item_is_a_new_request_before_and_after_the_first_is_forgotten(tmp_path, clock):
    path, asked = tmp_path / "b.db", Asked()
    with batcher(path, asked, retention=timedelta(days=1)) as batching:
        for _ in range(4):
            assert batching.map(["same", "same"]) == ["same!", "same!"]
            clock.passed += timedelta(days=0.7)
    assert len(asked.items) == 8


def test_the_process_after_a_crash_gets_what_is_young_and_lets_go_of_what_is_old(tmp_path, clock):
    path, asked = tmp_path / "b.db", Asked()
    one = batcher(path, asked)
    one.map(["old"])
    clock.passed += timedelta(days=4)
    one.map(["young"])
    one.close(wait=False)
    clock.passed += timedelta(days=4)
    with batcher(path, asked) as other:
        assert other.map(["young"]) == ["young!"]
        assert other.map(["something"]) == ["something!"]  # by now it has tidied up
        assert other.map(["old"]) == ["old!"]
    assert asked.items == ["old", "young", "something", "old"]


def test_what_nobody_asks_for_again_after_a_crash_goes_too(tmp_path, clock):
    path, asked = tmp_path / "b.db", Asked()
    asked.poll = lambda _: None
    with batcher(path, asked, max_batch_size=1) as one, ThreadPoolExecutor() as pool:
        lost = pool.submit(one.submit, "lost")
        while not rows(path).get("batches"):
            assert not lost.done()
        one.close(wait=False)
        with pytest.raises(BatcherClosedError):
            lost.result()
    asked.poll = Asked().poll
    with batcher(path, asked) as later:
        later.map(["something"])
        while rows(path).get("batches"):
            later.map(["something"])
        asked.items.clear()
        clock.passed += timedelta(days=8)
        for _ in range(3):
            later.map(["something"])
    assert "lost" not in asked.items
    assert not rows(path).get("outcomes")


@pytest.mark.parametrize("given", [None, 0, -1, "a week"])
def test_a_retention_is_a_positive_duration(given):
    with pytest.raises((TypeError, ValueError), match="retention"):
        Batcher(submit_func=list, poll_func=list, retention=given)
