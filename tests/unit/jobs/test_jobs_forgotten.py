"""What a file of jobs holds, and what a look reads, does not grow with the jobs that were in it."""

import pytest
from fakes import MOMENTS, Crash, FakeStore, at
from langgraph.store.base import GetOp, SearchOp
from test_jobs_session import ITEMS, World

from batch_bridge import Limits


class Reading(FakeStore):
    """Counts the rows that are read, by their kind."""

    def __init__(self, **options):
        super().__init__(**options)
        self.read_rows = 0

    async def abatch(self, ops):
        ops = list(ops)
        results = await super().abatch(ops)
        for op, result in zip(ops, results, strict=True):
            if isinstance(op, SearchOp):
                self.read_rows += len(result)
            elif isinstance(op, GetOp):
                self.read_rows += result is not None
        return results


async def finished(world, handle):
    await world.submit(handle)
    await world.ended(handle)


async def forget(world, handle):
    await (await world.session()).forget(handle, at(world.now))


def held(world):
    return {kind: len(rows) for kind, rows in world.store.read().items() if rows}


async def test_a_forgotten_job_leaves_no_row():
    world = World()
    for number in range(5):
        await finished(world, f"job_{number}")
        await forget(world, f"job_{number}")
    assert held(world) == {}


async def test_a_forgotten_job_is_no_longer_known_to_have_been_told_of():
    world = World()
    for number in range(3):
        await finished(world, f"job_{number}")
        await (await world.session()).notify("jobs.db")
    rows = ("batch_bridge_notices",)
    assert {item.key for item in world.store.rows.search(rows)} == {"jobs", "job:job_0", "job:job_1", "job:job_2"}
    for number in range(3):
        await forget(world, f"job_{number}")
        await forget(world, f"job_{number}")
    assert {item.key for item in world.store.rows.search(rows)} == {"jobs"}


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("limits", [Limits(), Limits(creations_per_hour=2)], ids=["removed", "aged"])
async def test_a_job_whose_process_died_as_it_was_forgotten_is_removed_by_the_next(moment, limits):
    calls, is_over = 0, False
    while not is_over:
        calls, world = calls + 1, World(limits=limits)
        await finished(world, "job_a")
        session = await world.session()
        await session.notify("jobs.db")
        world.fuse.arm(calls, moment)
        try:
            await session.forget("job_a", at(world.now))
            is_over = True
        except Crash:
            pass
        world.fuse.revive()
        for handle in await (await world.session()).handles():
            await forget(world, handle)
        world.now += 4000
        await finished(world, "job_b")
        await forget(world, "job_b")
        assert held(world).keys() <= ({"closed", "money", "young"} if limits.creations_per_hour else set()), calls
        assert {each.key for each in world.store.rows.search(("batch_bridge_notices",))} == {"jobs"}
    assert calls > 6  # else little was tried


async def test_a_look_at_a_job_reads_no_other_jobs_batches():
    world = World(limits=Limits(requests=1))
    world.store = Reading(fuse=world.fuse)
    await finished(world, "job_a")
    session = await world.session()
    world.store.read_rows = 0
    alone = await session.status("job_a")
    reads = world.store.read_rows
    for number in range(10):
        await finished(world, f"job_{number}")
    session = await world.session()
    world.store.read_rows = 0
    assert (await session.status("job_a")).batches == alone.batches
    assert world.store.read_rows == reads
    assert len(alone.batches) == len(ITEMS)


async def test_creations_of_the_last_hour_are_still_counted_once_their_job_is_forgotten():
    world = World(limits=Limits(creations_per_hour=2))
    for handle in ("job_a", "job_b"):
        await finished(world, handle)
        await forget(world, handle)
    await world.submit("job_c")
    assert (await world.status("job_c")).queued == len(ITEMS)  # two were created within the hour
    world.now += 4000
    assert (await world.ended("job_c")).outcomes == {"succeeded": len(ITEMS)}
    await forget(world, "job_c")
    world.now += 4000
    await finished(world, "job_d")
    await forget(world, "job_d")
    assert held(world) == {"closed": 1, "money": 1, "young": 1}  # its own


@pytest.mark.parametrize("moment", MOMENTS)
async def test_a_job_that_is_still_there_keeps_the_summaries_of_its_batches(moment):
    """The process died before it had written that it forgets it; another job is forgotten an hour later."""
    stayed, is_over, calls = 0, False, 0
    while not is_over:
        calls, world = calls + 1, World(limits=Limits(creations_per_hour=5))
        await finished(world, "job_a")
        session = await world.session()
        world.fuse.arm(calls, moment)
        try:
            await session.forget("job_a", at(world.now))
            is_over = True
        except Crash:
            pass
        world.fuse.revive()
        handles = await (await world.session()).handles()
        world.now += 4000
        await finished(world, "job_b")
        await forget(world, "job_b")
        if "job_a" in handles:
            stayed += 1
            assert len((await world.status("job_a")).batches) == 1, calls
    assert stayed > 1
