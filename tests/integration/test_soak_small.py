"""A small soak: what a Batcher holds does not grow with the batches that have passed through it."""

import os
import threading

from batch_bridge import Batcher, _desk

BATCHES, SIZE = 60, 20


def held(batcher):
    """Return what is held: rows, waiters, threads, file descriptors."""
    desk, ledger = batcher._desk, batcher._desk._driver.engine._state.ledger
    rows = sum(len(rows) for rows in ledger._store._namespaces.values())
    asked = len(ledger._requests) + len(ledger._outcomes) + len(desk._waiters)
    return rows, asked, threading.active_count(), len(os.listdir("/dev/fd"))


def test_a_batcher_holds_the_same_after_many_batches(monkeypatch):
    monkeypatch.setattr(_desk, "_MOST_CLOSED", 10)
    with Batcher(submit_func=list, poll_func=list, max_batch_size=SIZE, poll_interval=0.01) as batcher:
        measured = []
        for _ in range(3):
            for _ in range(BATCHES // 3):
                batcher.map(range(SIZE))
            measured.append(held(batcher))
    # outcomes of the last batch are let go of after its callers were told
    _, first, last = measured
    assert all(later <= earlier + slack for earlier, later, slack in zip(first, last, (3, SIZE, 4, 2), strict=True))
