"""The crash matrix: the process ends at every one of its steps, and nothing is lost and nothing is paid twice.

A step is the moment before and after each write to the ledger and of a checkpoint, each commit, each call to the
provider, each run and resume of a thread. The processes are real and really end; so is the server, over HTTP.
"""

import json
import os
import queue
import random
import subprocess
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import sampling
import warm
from crash_steps import drawn

from batch_bridge.testing import BatchServer

JOB = Path(__file__).with_name("crash_job.py")
DIED = 77


class Job:
    """A process that forks a child for each order, so that a crash costs no start-up."""

    def __init__(self, base_url: str) -> None:
        self._base_url = base_url
        self._process = warm.start([JOB], stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def run(self, folder: Path, die_at: int | str = 0) -> int:
        """Run the job in a folder until it ends or dies, and return its exit status."""
        folder.mkdir(exist_ok=True)
        order = {"folder": str(folder), "base_url": self._base_url, "api_key": folder.name, "die_at": die_at}
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())["status"]

    def close(self) -> None:
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait(timeout=30)


@pytest.fixture(scope="module")
def server():
    with BatchServer(latency=0) as server:
        yield server


class Jobs:
    """Some jobs side by side: they mostly wait."""

    def __init__(self, base_url: str, count: int = 4) -> None:
        self._free: queue.Queue[Job] = queue.Queue()
        self._all = [Job(base_url) for _ in range(count)]
        for job in self._all:
            self._free.put(job)

    def run(self, folder: Path, die_at: int | str = 0) -> int:
        job = self._free.get()
        try:
            return job.run(folder, die_at)
        finally:
            self._free.put(job)

    def each(self, function: Callable, cases: Iterable) -> list:
        with ThreadPoolExecutor(len(self._all)) as pool:
            return list(pool.map(function, cases))

    def close(self) -> None:
        for job in self._all:
            job.close()


@pytest.fixture(scope="module")
def job(server):
    jobs = Jobs(server.base_url)
    yield jobs
    jobs.close()


@pytest.fixture(scope="module")
def undisturbed(job, tmp_path_factory):
    """Return the results and the steps of a job that nothing happens to."""
    folder = tmp_path_factory.mktemp("undisturbed")
    assert job.run(folder) == 0
    return json.loads((folder / "results").read_text())


def _results(folder: Path):
    return json.loads((folder / "results").read_text())["results"]


def test_a_process_that_ends_at_any_step_loses_nothing_and_pays_nothing_twice(server, job, undisturbed, tmp_path):
    def die_and_go_on(die_at: str) -> str:
        folder = tmp_path / die_at.replace(" ", "-")
        status = job.run(folder, die_at)
        if status == 0:  # fewer polls or commits this time
            return ""
        assert status == DIED
        step = (folder / "died-at").read_text()
        assert job.run(folder) == 0, f"the job did not go on after it died {step}"
        assert _results(folder) == undisturbed["results"], f"other answers after it died {step}"
        assert server.stats.paid_twice == 0, f"paid twice, at the latest after it died {step}"
        return step

    steps = drawn(undisturbed["steps"], 2)
    died = [step for step in job.each(die_and_go_on, steps) if step]
    print(f"died at {len(died)} steps of {len(steps)}")
    assert len(died) >= 0.8 * len(steps)
    for verb in ("prepare", "submit", "poll", "release", "ledger write", "checkpoint", "run or resume"):
        assert {f"before {verb}", f"after {verb}"} <= set(died)
    assert "before commit" in died


def test_a_process_that_ends_again_and_again_loses_nothing_and_pays_nothing_twice(server, job, undisturbed, tmp_path):
    seed = int(os.environ.get("CRASH_SEED", random.randrange(2**32)))
    print(f"CRASH_SEED={seed}")

    def die_often(case: int) -> None:
        draws = random.Random(seed + case)
        folder = tmp_path / f"again-{case}"
        for _ in range(30):
            status = job.run(folder, draws.randrange(1, 60))
            assert status in (0, DIED)
            if status == 0:
                break
        else:
            assert job.run(folder) == 0
        assert _results(folder) == undisturbed["results"]

    job.each(die_often, range(sampling.many(10, 2)))
    assert server.stats.paid_twice == 0


def test_a_batch_that_becomes_visible_late_is_not_paid_twice(server, job, undisturbed, tmp_path):
    def die_around_submit(die_at: str) -> None:
        folder = tmp_path / f"late-{die_at.replace(' ', '-')}"
        if job.run(folder, die_at) == DIED:
            assert job.run(folder) == 0
        assert _results(folder) == undisturbed["results"]

    around = [step for step in drawn(undisturbed["steps"], 1) if "prepare" in step or "submit" in step]
    assert around
    server.configure(visible_after=0.3)
    try:
        job.each(die_around_submit, around)
        assert server.stats.paid_twice == 0
    finally:
        server.configure(visible_after=0)
