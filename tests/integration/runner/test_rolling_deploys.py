"""Deploys that overlap, and processes that are killed, on a store that Runners share: paid exactly, and opened again."""

import signal
import subprocess

import pytest
from test_postgres import database  # noqa: F401  # a fixture
from test_two_runners import COUNT, place, start, wait_for  # noqa: F401  # one is a fixture
from two_runners import REFUSED, STOPPED

from batch_bridge.testing import BatchServer

ROUND = 2 * COUNT
"""Requests of a run."""
LATENCY = 1.5
"""Seconds of a batch: the overlaps are to end in each round, in a submission, and when the first has ended by itself."""


@pytest.fixture(scope="module")
def server():
    with BatchServer(latency=LATENCY) as server:
        yield server


def owning(place, server, run_id):  # noqa: F811
    """Start a process, and return once it owns the bridge; then it runs."""
    process = start(place, server, run_id, patience=60)
    assert process.stdout.readline() == "owns\n"
    go(process)
    return process


def go(process):
    process.stdin.write("go\n")
    process.stdin.flush()


def kill(process):
    process.kill()
    process.wait(timeout=10)


def check(place, server, *runs):  # noqa: F811
    """Each run is complete when it is requested once more, by any process: its ledger opens, and all is paid once."""
    for run_id in runs:
        wait_for(start(place, server, run_id))
    stats = server.stats
    assert (stats.paid, stats.paid_twice, stats.bodies_repeated) == (ROUND * len(runs), 0, 0)


@pytest.mark.sampled(most=1)
@pytest.mark.parametrize("ends", [signal.SIGTERM, signal.SIGKILL], ids=["stopped", "killed"])
@pytest.mark.parametrize("run", ["the same run", "another run"])
@pytest.mark.parametrize("overlap", [0, 0.5, 1, 1.5, 2, 3, 4, 5, 6, 8, 12])
def test_a_deploy_that_overlaps_pays_exactly(place, server, overlap, run, ends):  # noqa: F811
    first = owning(place, server, "a run")
    second = start(place, server, "a run" if run == "the same run" else run, patience=60)
    go(second)
    try:
        first.wait(timeout=overlap)
    except subprocess.TimeoutExpired:
        first.send_signal(ends)
        assert first.wait(timeout=30) in (-ends, STOPPED)  # it may be at its very end, where no loop takes the signal
    wait_for(second)
    check(place, server, *{"a run", "a run" if run == "the same run" else run})


def owning_and_waiting(place, server, run_id, other):  # noqa: F811
    """Start a process that owns the bridge, and one that waits for it; neither has begun its run."""
    first = start(place, server, run_id)
    assert first.stdout.readline() == "owns\n"
    second = start(place, server, other, patience=90)
    assert "waiting for it" in second.stdout.readline()
    return first, second


@pytest.mark.sampled(most=1)
def test_a_second_that_is_killed_while_it_waits_leaves_the_first_alone(place, server):  # noqa: F811
    first, second = owning_and_waiting(place, server, "a run", "a run")
    kill(second)
    wait_for(first)
    check(place, server, "a run")


@pytest.mark.sampled(most=1)
@pytest.mark.parametrize("other", ["a run", "another"])
def test_a_second_that_is_killed_once_it_owns_is_followed_by_a_third(place, server, other):  # noqa: F811
    first, second = owning_and_waiting(place, server, "a run", other)
    go(first)
    while not server.stats.batches and first.poll() is None:
        pass
    kill(first)
    assert second.stdout.readline() == "owns\n"
    go(second)
    while server.stats.batches < 2 and second.poll() is None:
        pass
    kill(second)
    check(place, server, *{"a run", other})


def test_two_on_the_runners_own_file_are_refused_as_ever(tmp_path, server):
    server.reset_stats()
    place = ("file", str(tmp_path / "run.db"))  # noqa: F811
    first = start(place, server, "a run")
    assert first.stdout.readline() == "owns\n"
    said = wait_for(start(place, server, "a run", patience=5), REFUSED)
    assert "another Runner has this file open" in said
    go(first)
    kill(first)
    check(place, server, "a run")
