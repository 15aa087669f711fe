"""A small soak of each host, and that the soak sees what grows: `make soak` is the same with 200,000 requests."""

import subprocess
import sys
from pathlib import Path

import pytest
import sampling

SCRIPT = Path(__file__).parents[3] / "benchmarks" / "soak.py"
BATCHES = sampling.many(200, 100)
SIZES = {"batcher": 25, "durable": 25, "runner": 10, "wrapped": 10, "server": 10}
"""Requests in a batch."""


@pytest.mark.sampled(most=2)
@pytest.mark.parametrize("host", SIZES)
def test_nothing_that_a_host_holds_grows(host):
    size = ["--requests", str(SIZES[host] * BATCHES), "--batches", str(BATCHES)]
    command = [sys.executable, str(SCRIPT), "--hosts", host, *size]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=280)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def judge():
    sys.path.insert(0, str(SCRIPT.parent))
    try:
        import soak
    finally:
        sys.path.remove(str(SCRIPT.parent))
    return soak.judge


def samples(**held):
    """Return a hundred samples of a thousand requests each; of what is held there is `held(number)`."""
    return [
        {"requests": number * 1000} | {name.replace("_", " "): of(number) for name, of in held.items()}
        for number in range(100)
    ]


@pytest.mark.parametrize(
    "held",
    [
        {"memory": lambda number: 80e6 + number * 100_000 + (number % 7) * 1e6},
        {"threads": lambda number: 5 + number // 10},
        {"descriptors": lambda number: 12 + number // 8},
        {"rows_closed": lambda number: number * 10},
        {"blocks": lambda number: 400_000 + number * 80 + (number % 5) * 50},
    ],
    ids=lambda held: next(iter(held)),
)
def test_what_grows_is_named(judge, held):
    _, grown = judge("batcher", samples(**held))
    (line,) = grown
    assert f"{next(iter(held)).replace('_', ' ')} GROWS" in line


def test_what_comes_and_goes_does_not_grow(judge):
    _, grown = judge(
        "batcher",
        samples(
            memory=lambda number: 80e6 + min(number, 40) * 1e6 + (number * 7919 % 13) * 2e5,
            threads=lambda number: 5 + number % 2,
            rows_users=lambda number: 100 * (number % 3),
            rows_outcomes=lambda number: 1000 + 50 * (number % 6),
        ),
    )
    assert grown == []
