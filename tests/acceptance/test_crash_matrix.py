"""The crash matrix: the process ends at every one of its steps, and nothing is lost and nothing is paid twice.

A step is the moment before and after each write to the ledger and of a checkpoint, each commit, each call to the
provider, each run and resume of a thread. The processes are real and really end; so is the server, over HTTP.
"""

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from batch_bridge.testing import BatchServer

JOB = Path(__file__).with_name("crash_job.py")
DIED = 77


class Job:
    """A process that forks a child for each order, so that a crash costs no start-up."""

    def __init__(self, base_url: str) -> None:
        self._base_url = base_url
        self._process = subprocess.Popen(
            [sys.executable, str(JOB)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def run(self, folder: Path, die_at: int = 0) -> int:
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


@pytest.fixture(scope="module")
def job(server):
    job = Job(server.base_url)
    yield job
    job.close()


@pytest.fixture(scope="module")
def undisturbed(job, tmp_path_factory):
    """Return the results and the steps of a job that nothing happens to."""
    folder = tmp_path_factory.mktemp("undisturbed")
    assert job.run(folder) == 0
    return json.loads((folder / "results").read_text())


def _results(folder: Path):
    return json.loads((folder / "results").read_text())["results"]


def test_a_process_that_ends_at_any_step_loses_nothing_and_pays_nothing_twice(server, job, undisturbed, tmp_path):
    died_at = set()
    cut = 0
    for die_at in range(1, len(undisturbed["steps"]) + 1):
        folder = tmp_path / f"step-{die_at}"
        status = job.run(folder, die_at)
        if status == 0:  # fewer polls or commits this time
            continue
        assert status == DIED
        cut += 1
        died_at.add((folder / "died-at").read_text())
        assert job.run(folder) == 0, f"the job did not go on after it died {(folder / 'died-at').read_text()}"
        assert _results(folder) == undisturbed["results"]
        assert server.stats.paid_twice == 0, f"paid twice after it died {(folder / 'died-at').read_text()}"
    assert cut >= 0.8 * len(undisturbed["steps"])
    for verb in ("prepare", "submit", "poll", "ledger write", "checkpoint", "run or resume"):
        assert {f"before {verb}", f"after {verb}"} <= died_at
    assert "before commit" in died_at


def test_a_process_that_ends_again_and_again_loses_nothing_and_pays_nothing_twice(server, job, undisturbed, tmp_path):
    seed = int(os.environ.get("CRASH_SEED", random.randrange(2**32)))
    print(f"CRASH_SEED={seed}")
    dice = random.Random(seed)
    for each in range(10):
        folder = tmp_path / f"again-{each}"
        for _ in range(30):
            status = job.run(folder, dice.randrange(1, 60))
            assert status in (0, DIED)
            if status == 0:
                break
        else:
            assert job.run(folder) == 0
        assert _results(folder) == undisturbed["results"]
    assert server.stats.paid_twice == 0


@pytest.mark.parametrize("late", [0.3])
def test_a_batch_that_becomes_visible_late_is_not_paid_twice(server, job, undisturbed, tmp_path, late):
    server.configure(visible_after=late)
    try:
        for die_at, step in enumerate(undisturbed["steps"], start=1):
            if step in ("before submit", "after submit", "before find", "after find", "after fence"):
                folder = tmp_path / f"late-{die_at}"
                if job.run(folder, die_at) == DIED:
                    assert job.run(folder) == 0
                assert _results(folder) == undisturbed["results"]
        assert server.stats.paid_twice == 0
    finally:
        server.configure(visible_after=0)
