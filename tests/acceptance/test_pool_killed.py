"""Pools of real processes on a real PostgreSQL, which are killed, stopped and replaced: each answer is paid once."""

import contextlib
import os
import queue
import signal
import subprocess
import threading
import time
from pathlib import Path

import pytest
import sampling
import warm
from postgres import cluster

from batch_bridge.testing import BatchServer

PROGRAM = Path(__file__).with_name("pool_app.py")
IMPORTS = (*warm.LIBRARIES, "batch_bridge.pool")
THREADS = sampling.many(600, 40)
LONG = sampling.many(1200, 400)
"""Seconds that are waited for anything: a busy machine is slow."""


@pytest.fixture(scope="module")
def postgres():
    with cluster() as made:
        yield made


class Worker:
    """A worker, and what it says."""

    def __init__(self, dsn, url, skew=0):
        self.process = warm.start(
            [PROGRAM, "worker", dsn, url],
            imports=IMPORTS,
            stdout=subprocess.PIPE,
            env={**os.environ, "SKEW": str(skew)},
        )
        self.said = queue.Queue()
        self.ticking_since = None
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        for line in self.process.stdout:
            word, _, at = line.strip().partition(" ")
            self.ticking_since = float(at) if word == "ticks" else None
            self.said.put(word)

    def until(self, word):
        while self.said.get(timeout=LONG) != word:
            pass

    def signal(self, number):
        self.process.send_signal(number)


class World:
    """A database, a Batch API server, workers, and one run."""

    def __init__(self, postgres, server, name):
        self.postgres, self.server = postgres, server
        self.dsn = postgres.create(name)
        self.workers = []
        self.runs = []

    def work(self, skew=0):
        self.workers.append(Worker(self.dsn, self.server.base_url, skew))
        return self.workers[-1]

    def start(self):
        command = [PROGRAM, "run", self.dsn, self.server.base_url, "run", str(THREADS)]
        self.runs.append(warm.start(command, imports=IMPORTS, stdout=subprocess.PIPE))

    def ticker(self, *, but=None):
        """Return the worker that ticks, once there is one."""
        return self.wait(
            lambda: next(
                (
                    each
                    for each in self.workers
                    if each.ticking_since and each is not but and each.process.poll() is None
                ),
                None,
            )
        )

    def wait(self, condition):
        until = time.monotonic() + LONG
        while not (found := condition()):
            assert time.monotonic() < until
            time.sleep(0.02)
        return found

    def until_batches(self, count):
        self.wait(lambda: self.server.stats.batches >= count)

    def check(self):
        for each in self.runs:
            said, _ = each.communicate(timeout=LONG)
            assert said.startswith(f"right {THREADS} of {THREADS}")
        self.start()  # a further process opens the store
        said, _ = self.runs[-1].communicate(timeout=LONG)
        assert said.startswith(f"right {THREADS} of {THREADS}")
        stats = self.server.stats
        assert (stats.paid, stats.paid_twice, stats.bodies_repeated) == (2 * THREADS, 0, 0)
        return stats

    def end(self):
        for each in (*self.runs, *(worker.process for worker in self.workers)):
            with contextlib.suppress(ProcessLookupError):
                each.kill()
            each.wait()


def nothing(world):
    world.start()


def kill_the_ticker(world):
    first = world.ticker()
    world.start()
    world.until_batches(1)
    at = time.time()
    first.signal(signal.SIGKILL)
    took = world.ticker(but=first).ticking_since - at
    print(f"the ticker was replaced {took:.2f} s after its death")
    assert took < 2.0


def kill_all(world):
    world.ticker()
    world.start()
    world.until_batches(1)
    for each in world.workers:
        each.signal(signal.SIGKILL)
    world.work()
    world.work()


def stop_the_ticker(world):
    first = world.ticker()
    world.start()
    world.until_batches(1)
    first.signal(signal.SIGSTOP)
    at = time.time()
    took = world.ticker(but=first).ticking_since - at
    print(f"the ticker was replaced {took:.2f} s after it was stopped")
    assert took < 20.0, "it is replaced once its lease is stale"
    time.sleep(max(0.0, at + 25.0 - time.time()))
    first.signal(signal.SIGCONT)


def restart_postgres(world):
    world.ticker()
    world.start()
    world.until_batches(1)
    world.postgres.kill()
    world.postgres.start()


def deploy(world):
    world.ticker()
    world.start()
    for old in list(world.workers[:2]):
        world.work().until("works")
        old.signal(signal.SIGTERM)
        old.process.wait(timeout=LONG)


def start_twice(world):
    world.start()
    world.start()


FAULTS = (nothing, kill_the_ticker, kill_all, stop_the_ticker, restart_postgres, deploy, start_twice)


@pytest.mark.sampled(most=2)
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("fault", FAULTS, ids=[each.__name__ for each in FAULTS])
def test_all_answers_are_own_and_each_is_paid_once(fault, postgres):
    with BatchServer(latency=2.0) as server:
        world = World(postgres, server, fault.__name__)
        try:
            for skew in (0, 30, -30):
                world.work(skew)
            fault(world)
            stats = world.check()
        finally:
            world.end()
    if fault in (nothing, start_twice):
        assert stats.batches == 2, "all of a wave go out in one batch"
    print(f"{fault.__name__}: {stats.batches} batches, {stats.paid} paid")
    assert 2 <= stats.batches <= 4
