"""A part of the histories, by seed, and what the simulator promises of itself."""

import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import sampling

from simulation.plans import shrink
from simulation.simulate import HOSTS, plan_of, run
from simulation.world import Fault, Plan

CHUNK = 20
ALL = sampling.many(300, 100)
"""Histories in one run of the tests, of all hosts together."""


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    logger = logging.getLogger("batch_bridge")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    yield
    logger.setLevel(level)


@pytest.mark.parametrize("part", range(ALL // CHUNK // len(HOSTS)))
@pytest.mark.parametrize("host", HOSTS)
def test_histories_end_well(host: str, part: int) -> None:
    for seed in range(sampling.seed * ALL + part * CHUNK, sampling.seed * ALL + (part + 1) * CHUNK):
        ran = run(plan_of(host, seed))
        if ran.error is not None:
            ran.error.add_note(f"{ran.plan}; again: make simulate ARGS='--hosts {host} --seed {seed} --show'")
            raise ran.error


def test_all_of_them_are_run() -> None:
    assert ALL // CHUNK // len(HOSTS) * CHUNK * len(HOSTS) == ALL


@pytest.mark.parametrize("host", HOSTS)
def test_the_same_plan_gives_the_same_history(host: str) -> None:
    for seed in range(3):
        one, two = run(plan_of(host, seed)), run(plan_of(host, seed))
        assert one.trace == two.trace
        assert (one.steps, one.fired) == (two.steps, two.fired)


def test_other_seeds_give_other_histories() -> None:
    assert run(plan_of("runner", 1)).trace != run(plan_of("runner", 2)).trace


def test_a_plan_is_shrunk_to_the_faults_that_matter() -> None:
    needed = {Fault("store", 3, "lose"), Fault("provider", 1, "die")}
    faults = (Fault("saver", 9, "fail"), *needed, Fault("step", 7, "die"), Fault("store", 8, "slow", 40.0))
    small = shrink(Plan("runner", 0, faults), lambda plan: needed <= set(plan.faults))
    assert set(small.faults) == needed


def test_the_command_runs_without_pytest() -> None:
    command = [sys.executable, "-m", "simulation", "--histories", "5", "--jobs", "1"]
    env = {**os.environ, "PYTHONHASHSEED": "0"}
    done = subprocess.run(command, cwd=Path(__file__).parents[1], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "5 histories, 0 failed" in done.stdout
