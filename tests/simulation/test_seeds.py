"""Histories that have found a bug, by its name. Each failed before it was mended."""

import pytest

from simulation.simulate import run
from simulation.world import Fault, Plan

SEEDS = {
    "a batch that a process began as it died left its members in the ledger for ever": Plan(
        "runner", 11, (Fault("provider", 1, "die"),)
    ),
}


@pytest.mark.parametrize("name", SEEDS)
def test_it_stays_mended(name: str) -> None:
    ran = run(SEEDS[name])
    if ran.error is not None:
        raise ran.error
