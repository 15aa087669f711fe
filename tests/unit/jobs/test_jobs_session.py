"""Jobs over fakes: each call of a file or a provider may be the last one of its process."""

import pytest
from fakes import MOMENTS, Crash, FakeProvider, FakeStore, Fuse, at

from batch_bridge import Bridge, Limits
from batch_bridge._core.models import InProgress
from batch_bridge._host.notify import Board
from batch_bridge._ledger.make import durable
from batch_bridge.errors import ProviderUnavailable, RunMismatchError, SubmissionUnknown, UnknownJobError, UsageError
from batch_bridge.jobs._job_rows import PART
from batch_bridge.jobs._one_job_provider import apart
from batch_bridge.jobs._session import JobsSession

ITEMS = [(None, {"n": number}) for number in range(5)]


class World:
    """A file and a provider that outlive the sessions."""

    def __init__(self, **options):
        self.fuse = Fuse()
        self.store = FakeStore(fuse=self.fuse)
        self.provider = FakeProvider(fuse=self.fuse, **options)
        self.now = 0.0

    async def session(self):
        self.now += 100
        ledger = durable(self.store, "jobs/test")
        engine = Bridge(self.provider).engine(ledger, "jobs/test", provider=apart(self.provider))
        session = JobsSession(ledger, engine, self.provider, Board([], self.store))
        await session.open(at(self.now))
        return session

    async def submit(self, handle="job_a", items=ITEMS):
        session = await self.session()
        await session.submit(handle, items, at(self.now))
        await session.look(at(self.now))

    async def status(self, handle="job_a"):
        session = await self.session()
        await session.look(at(self.now))
        return await session.status(handle)

    async def ended(self, handle="job_a", looks=8):
        for _ in range(looks):
            status = await self.status(handle)
            if status.ended:
                return status
        raise AssertionError(status)

    async def cancel(self, handle="job_a"):
        session = await self.session()
        await session.cancel(handle)
        await session.look(at(self.now))
        return await session.status(handle)

    async def results(self, handle="job_a"):
        session = await self.session()
        number, found = 0, []
        while (page := await session.results(handle, number)) is not None:
            found += page
            number += 1
        return found


async def test_submitted_looked_at_and_read_each_by_a_process_of_its_own():
    world = World()
    world.provider.then("poll", InProgress(2, 5))
    await world.submit()
    status = await world.status()
    assert (status.state, status.requests, status.queued, status.in_flight) == ("in_flight", 5, 0, 5)
    (batch,) = status.batches
    assert (batch.state, batch.requests, batch.done) == ("in_flight", 5, 2)
    assert await world.results() == []
    status = await world.ended()
    assert (status.state, dict(status.outcomes), status.queued, status.in_flight) == ("ended", {"succeeded": 5}, 0, 0)
    assert [(each.state, dict(each.outcomes)) for each in status.batches] == [("ended", {"succeeded": 5})]
    results = await world.results()
    assert [(each.index, each.answer, each.ok, each.error) for each in results] == [
        (index, {"n": index}, True, None) for index in range(5)
    ]
    assert await world.status() == status


async def test_a_job_is_split_over_the_limits_and_mixed_with_no_other():
    world = World(limits=Limits(requests=2))
    world.provider.then("prepare", *[ProviderUnavailable("later")] * 3)
    await world.submit("job_a")
    assert (await (await world.session()).status("job_a")).queued == 5
    await world.submit("job_b")  # sends what is left of the first, too
    assert sorted(len(each.requests) for each in world.provider.batches.values()) == [1, 1, 2, 2, 2, 2]
    for batch in world.provider.batches.values():
        assert len({each.thread for each in batch.requests}) == 1
    status = await world.ended("job_b")
    assert sorted(each.requests for each in status.batches) == [1, 2, 2]


async def test_the_same_handle_again_sends_nothing():
    world = World()
    await world.submit()
    await world.submit()
    await world.ended()
    await world.submit()
    assert set(world.provider.executed.values()) == {1}
    assert len(world.provider.batches) == 1


@pytest.mark.parametrize(("items", "index"), [([*ITEMS[:3], (None, 1), ITEMS[4]], 3), (ITEMS[:4], 4), ([], 0)])
async def test_the_same_handle_with_other_items_is_an_error(items, index):
    world = World()
    await world.submit()
    with pytest.raises(RunMismatchError) as raised:
        await world.submit(items=items)
    assert raised.value.index == index


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("calls", range(1, 24))
async def test_a_process_that_dies_in_submit_loses_nothing_and_pays_nothing_twice(calls, moment):
    world = World(limits=Limits(requests=3))
    world.fuse.arm(calls, moment)
    try:
        await world.submit()
    except Crash:
        world.fuse.revive()
        await world.submit()  # by its key
    world.fuse.revive()
    status = await world.ended()
    assert dict(status.outcomes) == {"succeeded": 5}
    assert sum(each.requests for each in status.batches) == 5
    assert [each.index for each in await world.results()] == list(range(5))
    assert list(world.provider.executed.values()) == [1] * 5


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("calls", range(1, 24))
async def test_a_process_that_dies_in_a_look_loses_nothing_and_pays_nothing_twice(calls, moment):
    world = World(limits=Limits(requests=3))
    await world.submit()
    world.fuse.arm(calls, moment)
    try:
        await world.ended()
    except Crash:
        world.fuse.revive()
    world.fuse.revive()
    status = await world.ended()
    assert dict(status.outcomes) == {"succeeded": 5}
    assert sorted(each.requests for each in status.batches) == [2, 3]
    assert list(world.provider.executed.values()) == [1] * 5


async def test_nobody_pays_for_a_submission_that_broke_off_and_is_not_repeated():
    world = World()
    world.fuse.arm(1, "after", "put queued")
    with pytest.raises(Crash):
        await world.submit("job_a")
    world.fuse.revive()
    await world.submit("job_b")
    await world.ended("job_b")
    assert sum(world.provider.executed.values()) == 5
    with pytest.raises(UnknownJobError, match="no job 'job_a'"):
        await world.status("job_a")
    assert set(world.store.read()) - {"outcomes", "closed", "money", "jobs", "parts"} == set()


async def test_a_create_call_that_nobody_saw_the_end_of_is_found_again():
    world = World()
    world.provider.then("submit", SubmissionUnknown("timed out"))
    await world.submit()
    assert (await world.ended()).outcomes == {"succeeded": 5}
    assert list(world.provider.executed.values()) == [1] * 5


async def test_a_cancel_stops_what_is_in_flight_and_keeps_its_neighbours():
    world = World(limits=Limits(requests=3))
    world.provider.then("poll", *[InProgress()] * 20)
    await world.submit("job_a")
    await world.submit("job_b")
    status = await world.cancel("job_a")
    assert status.state == "cancelling"
    states = {batch.requests[0].thread: batch.state for batch in world.provider.batches.values()}
    assert states == {"job_a": "cancelled", "job_b": "live"}
    world.provider.calls.clear()
    await world.status("job_a")
    assert not [verb for verb, _ in world.provider.calls if verb == "cancel"]  # told once


async def test_a_cancel_that_the_provider_was_not_there_for_is_told_again():
    world = World()
    world.provider.then("poll", *[InProgress()] * 5)
    world.provider.then("cancel", ProviderUnavailable("down"))
    await world.submit()
    status = await world.cancel()
    assert "could not be cancelled yet: down" in status.last_error
    await world.status()
    assert [batch.state for batch in world.provider.batches.values()] == ["cancelled"]


async def test_what_was_not_sent_when_a_job_is_cancelled_never_is():
    world = World()
    world.provider.then("prepare", *[ProviderUnavailable("later")] * 2)
    await world.submit()
    status = await world.cancel()
    assert (status.state, status.outcomes) == ("ended", {"cancelled": 5})
    assert world.provider.batches == {}
    assert {each.error.code for each in await world.results()} == {"cancelled"}


async def test_a_job_that_has_ended_is_not_cancelled():
    world = World()
    await world.submit()
    await world.ended()
    status = await world.cancel()
    assert (status.state, status.outcomes) == ("ended", {"succeeded": 5})


async def test_a_job_is_forgotten_once_it_has_ended():
    world = World()
    world.provider.then("poll", InProgress())
    await world.submit()
    session = await world.session()
    await session.look(at(world.now))
    with pytest.raises(UsageError, match="has not ended"):
        await session.forget("job_a", at(world.now))
    await world.ended()
    session = await world.session()
    assert await session.handles() == ["job_a"]
    await session.forget("job_a", at(world.now))
    await session.forget("job_a", at(world.now))
    assert await session.handles() == []
    assert not world.store.read()


async def test_a_long_job_is_kept_in_parts_with_its_names():
    world = World()
    items = [(f"q{number}", number) for number in range(PART + 2)]
    await world.submit(items=items)
    status = await world.ended()
    assert status.outcomes == {"succeeded": PART + 2}
    results = await world.results()
    assert [(each.name, each.answer) for each in results] == items
    world.store.take()
    await world.status()
    assert "get outcomes" not in world.store.take()  # what has ended is not read again


async def test_no_items_are_a_job_that_has_ended():
    world = World()
    await world.submit(items=[])
    assert (await world.status()).state == "ended"
