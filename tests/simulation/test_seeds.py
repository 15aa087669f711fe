"""Histories that have found a bug, by its name. Each failed before it was mended."""

import pytest

from simulation.simulate import run
from simulation.world import Fault, Plan

SEEDS = {
    "a batch that a process began as it died left its members in the ledger for ever": Plan(
        "runner", 11, (Fault("provider", 1, "die"),)
    ),
    "a Batcher broke where a batch ended while somebody was told which of its requests had": Plan(
        "batcher",
        319,
        (
            Fault("step", 69, "die"),
            Fault("provider", 17, "die"),
            Fault("store", 7, "half"),
            Fault("store", 8, "half"),
            Fault("store", 37, "lose"),
        ),
    ),
    "a run ended with a batch open whose outcomes an earlier process had written": Plan(
        "runner", 935, (Fault("saver", 8, "slow", 5.0), Fault("store", 54, "die after"), Fault("provider", 12, "lose"))
    ),
    "a run ended with a batch open that an earlier process had closed": Plan(
        "runner",
        935,
        (Fault("saver", 8, "slow", 5.0), Fault("store", 55, "die after"), Fault("provider", 11, "outage", 40.0)),
    ),
    "a server that was gone for minutes left a bridge without a next tick": Plan(
        "server", 16, (Fault("server", 1, "outage", 400.0),)
    ),
    "a process that died between an answer and the item that it answers left the item for ever": Plan(
        "server", 18, (Fault("step", 671, "die"),)
    ),
    "a store that was gone for a minute left a bridge without a next tick": Plan(
        "server", 109, (Fault("store", 19, "outage", 40.0),)
    ),
    "a thread had failed because the ledger was gone as it began": Plan(
        "runners", 100584, (Fault("saver", 6, "slow", 40.0), Fault("store", 31, "outage", 40.0))
    ),
    "a run that was released while its claim was looked up ended its bridge as if it had been taken over": Plan(
        "runners", 100763, ()
    ),
    "and so did one whose checkpointer was slow": Plan(
        "runners",
        100940,
        (
            Fault("saver", 2, "fail"),
            Fault("saver", 7, "fail"),
            Fault("saver", 18, "slow", 400.0),
            Fault("provider", 11, "twice", 0.5),
            Fault("saver", 3, "slow", 5.0),
            Fault("saver", 6, "fail"),
            Fault("saver", 4, "slow", 40.0),
            Fault("store", 17, "fail"),
        ),
    ),
    "a job whose process died as it was forgotten could not be forgotten any more": Plan(
        "jobs", 100970, (Fault("step", 561, "die"),)
    ),
    "a job of many lives could not be forgotten any more": Plan(
        "jobs",
        100421,
        (Fault("step", 244, "die"), Fault("step", 36, "die"), Fault("step", 489, "die"), Fault("store", 104, "fail")),
    ),
    "a node parked while one of its waits still had the checkpointer forget an old answer": Plan(
        "runner",
        100161,
        (
            Fault("store", 12, "outage", 0.5),
            Fault("step", 43, "die"),
            Fault("saver", 11, "slow", 400.0),
            Fault("step", 186, "die"),
        ),
    ),
    "a claim that was renewed while its run was released stayed in the store": Plan(
        "runners", 101290, (Fault("provider", 5, "slow", 5.0),)
    ),
    "a claim was lost because one call of its store hung": Plan(
        "runners",
        501432,
        (Fault("saver", 18, "slow", 400.0), Fault("store", 9, "slow", 5.0), Fault("store", 57, "slow", 40.0)),
    ),
    "a script that waited for its file beside one whose store was slow was not patient enough": Plan(
        "jobs", 101917, (Fault("store", 19, "slow", 400.0),)
    ),
    "a write that LangGraph does not wait for where a task has failed was taken for a leak": Plan(
        "runners",
        300128,
        (Fault("saver", 13, "slow", 40.0), Fault("saver", 8, "fail"), Fault("provider", 3, "pause", 0.5)),
    ),
}


@pytest.mark.parametrize("name", SEEDS)
def test_it_stays_mended(name: str) -> None:
    ran = run(SEEDS[name])
    if ran.error is not None:
        raise ran.error
