"""How a durable Batcher ends in the middle of its work: nothing is paid twice, and nobody is kept waiting."""

import contextlib
import sqlite3
import threading
import time

import pytest
from helpers import TIMEOUT

from batch_bridge import Batcher
from batch_bridge.errors import BatcherClosedError


class Api:
    """A batch API that answers what is not `held`. While `gate` is shut, it leaves those who send a batch waiting."""

    def __init__(self, *held):
        self.held = set(held)
        self.sent = []
        self.entered = threading.Event()
        self.gate = threading.Event()
        self.gate.set()

    def submit(self, items):
        self.entered.set()
        assert self.gate.wait(2 * TIMEOUT)
        self.sent += items
        return items

    def poll(self, handle):
        return None if self.held.intersection(handle) else [f"<{item}>" for item in handle]

    def batcher(self, path, **options):
        return Batcher(submit_func=self.submit, poll_func=self.poll, poll_interval=0.05, path=path, **options)


class Told(threading.Thread):
    """A call on a thread of its own, and what it raised."""

    def __init__(self, call, *arguments, **options):
        super().__init__(daemon=True)
        self._call = lambda: call(*arguments, **options)
        self._error = None
        self.start()

    def run(self):
        try:
            self._call()
        except Exception as error:
            self._error = error

    def error(self):
        """Return what the call raised; one that does not end is a failed test."""
        self.join(TIMEOUT)
        assert not self.is_alive(), "this call does not end"
        return self._error


class Watched(threading.Event):
    """An event that tells when somebody begins to wait for it."""

    def __init__(self):
        super().__init__()
        self.awaited = threading.Event()

    def wait(self, timeout=None):
        self.awaited.set()
        return super().wait(timeout)


def until(condition):
    deadline = time.monotonic() + TIMEOUT
    while not condition():
        assert time.monotonic() < deadline, "this never comes"
        time.sleep(0.001)


def test_a_map_that_is_cut_off_by_close_pays_nothing_twice_though_some_of_it_was_answered(tmp_path):
    api = Api("c")
    path = tmp_path / "batcher.db"
    first = api.batcher(path, max_batch_size=2)
    asking = Told(first.map, list("abcd"))
    until(lambda: len(first._worker._backlog.waiters) == 2 and len(api.sent) == 4)
    first.close(wait=False)
    assert isinstance(asking.error(), BatcherClosedError)
    api.held.clear()
    with api.batcher(path, max_batch_size=2) as second:
        assert second.map(list("abcd")) == ["<a>", "<b>", "<c>", "<d>"]
    assert sorted(api.sent) == list("abcd")


def test_close_lets_a_submission_under_way_end_and_the_next_process_finds_its_batch(tmp_path):
    api = Api()
    api.gate.clear()
    path = tmp_path / "batcher.db"
    first = api.batcher(path)
    asking = Told(first.map, ["a", "b"])
    assert api.entered.wait(TIMEOUT)
    closing = Told(first.close, wait=False)
    until(first._worker.thread.stop.is_set)
    api.gate.set()
    assert closing.error() is None
    assert isinstance(asking.error(), BatcherClosedError)
    with api.batcher(path) as second:
        assert second.map(["a", "b"]) == ["<a>", "<b>"]
    assert api.sent == ["a", "b"]


def test_close_tells_its_callers_at_once_though_a_submission_is_under_way(tmp_path):
    api = Api()
    api.gate.clear()
    batcher = api.batcher(tmp_path / "batcher.db")
    asking = Told(batcher.map, ["a"])
    assert api.entered.wait(TIMEOUT)
    closing = Told(batcher.close, wait=False)
    try:
        assert isinstance(asking.error(), BatcherClosedError)
        assert closing.is_alive()
    finally:
        api.gate.set()
    assert closing.error() is None


def test_close_ends_with_the_error_of_a_store_that_breaks_while_it_waits(tmp_path):
    api = Api("a")
    path = tmp_path / "batcher.db"
    batcher = api.batcher(path)
    batcher._worker._backlog.idle = idle = Watched()
    asking = Told(batcher.map, ["a"])
    until(lambda: api.sent)
    closing = Told(batcher.close)
    assert idle.awaited.wait(TIMEOUT)
    with contextlib.closing(sqlite3.connect(path)) as other:
        other.execute("DROP TABLE store")
        other.commit()
    api.held.clear()
    error = asking.error()
    assert "store" in str(error)
    assert closing.error() is error
    with pytest.raises(type(error)):
        batcher.submit("b")
