"""`watch` in a terminal: it shows what is seen until all has ended."""

import io
from dataclasses import replace

import pytest
from rich.console import Console

from batch_bridge._status import extra as _extra
from batch_bridge._status.live import show
from batch_bridge._status.models import Batch, Owner, Status, Threads
from batch_bridge.errors import MissingPackageError

RUNNING = Status(
    file="run.db",
    kind="runner",
    state="parked",
    at=100.0,
    as_of=99.0,
    owner=Owner(alive=True, pid=7, host="here", since=40.0, at=99.0),
    runs=(),
    threads=Threads(3, 1, 0, 2, 0),
    waves=(),
    batches=(Batch("bb-1", "bridge", "in_flight", "batch_1", "g", 2, submitted_at=70.0, done=1),),
    batches_ended=0,
    queued=0,
    in_flight=2,
    oldest_waiter=30.0,
    outcomes={},
    failures=(),
)
DONE = replace(RUNNING, state="done", owner=Owner(alive=False, pid=7, closed=True, at=100.0), batches=())


def shown(*seen, interrupted=False):
    looks, waited = iter(seen), []

    def wait(seconds):
        waited.append(seconds)
        if interrupted:
            raise KeyboardInterrupt

    out = io.StringIO()
    last = show(lambda: next(looks), Console(file=out, force_terminal=True, width=120, height=40), wait)
    return last, waited, out.getvalue()


def test_it_looks_again_each_second_until_all_has_ended():
    last, waited, text = shown(RUNNING, RUNNING, DONE)
    assert (last, waited) == (DONE, [1.0, 1.0])
    assert "alive: process 7 on here has it open for 1m" in text
    assert "1/2, sent 30s ago" in text


def test_what_has_ended_is_shown_once_and_ctrl_c_ends_it():
    assert shown(DONE)[1] == []
    assert shown(RUNNING, interrupted=True)[0] == RUNNING


def test_it_stays_while_its_owner_may_begin_something_new():
    idle = replace(DONE, owner=RUNNING.owner)
    assert len(shown(idle, idle, DONE)[1]) == 2


def test_a_page_without_its_packages_says_what_to_install(monkeypatch):
    monkeypatch.setattr(_extra, "find_spec", lambda name: None if name == "jinja2" else name)
    with pytest.raises(MissingPackageError, match=r"'jinja2'.*pip install 'langgraph-batch-bridge\[web\]'"):
        _extra.require_web()
