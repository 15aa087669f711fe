"""A process that has settled a batch, and dies before it has closed it: the next one need not ask the provider."""

import pytest
from fakes import Crash, FakeProvider, FakeStore, Fuse, at, ended, request

from batch_bridge import events
from batch_bridge._core.models import Cancelled, Errored, Expired, InProgress, Succeeded
from batch_bridge._core.policy.flush_policy import FlushPolicy
from batch_bridge._engine import Engine, EngineSettings
from batch_bridge._ledger.ledger import Ledger
from batch_bridge.errors import ProviderUnavailable, SubmissionRefused

REQUESTS = [request(number) for number in range(4)]
IDS = [each.id for each in REQUESTS]


class World:
    """What outlives a process."""

    def __init__(self):
        self.fuse = Fuse()
        self.store = FakeStore(fuse=self.fuse)
        self.provider = FakeProvider(fuse=self.fuse)
        self.told = []

    async def boot(self, now=0, **settings):
        ledger = Ledger(self.store, "bridge", chunk=2)
        engine = Engine("bridge", self.provider, FlushPolicy(), ledger, EngineSettings(**settings))
        engine.on_event = self.told.append
        await engine.open(at(now))
        return engine

    async def dies(self, moment, call, **settings):
        """Live until a call of the store, and leave a provider behind that cannot be asked any more."""
        engine = await self.boot(**settings)
        await engine.collect(REQUESTS, at(0))
        await engine.tick(at(0), drain=True)
        self.fuse.arm(1, moment, call)
        with pytest.raises(Crash):
            await engine.tick(at(1))
        self.fuse.revive()
        self.provider.then("poll", *[ProviderUnavailable("503")] * 99)
        self.provider.take()
        self.told.clear()

    def left(self):
        return {kind for kind, rows in self.store.read().items() if rows}

    @property
    def ended(self):
        return [each for each in self.told if isinstance(each, events.Settled) and each.ended]


@pytest.fixture
def world():
    return World()


@pytest.mark.parametrize(("moment", "call"), [("after", "put closed"), ("before", "delete batches")])
async def test_a_batch_that_was_closed_is_tidied_up_and_not_settled_again(world, moment, call):
    await world.dies(moment, call)
    before = await Ledger(world.store, "bridge").closed_batches()
    engine = await world.boot(2)
    assert world.left() == {"outcomes", "closed", "money"}
    assert (engine.batches_in_flight, engine.in_flight) == (0, 0)
    assert set((await engine.tick(at(2))).settled) == set(IDS)
    assert await engine.collect(REQUESTS, at(2)) == set(IDS)
    assert world.provider.take() == ["release"]
    assert await engine.closed_batches() == before
    (told,) = world.ended
    assert (told.requests, told.outcomes) == (tuple(IDS), {"succeeded": 4})


async def test_a_batch_that_was_closed_and_whose_requests_wait_again_is_tidied_up(world):
    world.provider.then("poll", ended({IDS[0]: Succeeded({}), IDS[1]: Expired("24 h")}, missing=Expired("24 h")))
    await world.dies("after", "put closed", attempts=2)
    engine = await world.boot(2, attempts=2)
    assert (await engine.tick(at(2))).settled == (IDS[0],)
    assert await engine.collect(REQUESTS, at(2)) == {IDS[0]}
    await engine.tick(at(2), drain=True)
    assert engine.in_flight == 3
    assert world.provider.take() == ["release", "prepare", "submit"]


async def test_a_later_batch_of_the_same_key_is_not_taken_for_the_one_that_was_closed(world):
    await world.dies("after", "put closed")
    (closed,) = await Ledger(world.store, "bridge").closed_batches()
    row = world.store.rows.get(("batch_bridge", "bridge", "batches"), closed.key).value
    world.store.rows.put(("batch_bridge", "bridge", "batches"), closed.key, {**row, "at": row["at"] + 60})
    engine = await world.boot(2)
    assert engine.batches_in_flight == 1


@pytest.mark.parametrize("is_refused", [False, True])
async def test_a_batch_whose_outcomes_are_all_written_is_closed_by_them(world, is_refused):
    if is_refused:
        world.provider.then("poll", ended({}, missing=Errored("no", code="refused")))
    await world.dies("before", "put closed")
    engine = await world.boot(2)
    assert await engine.collect(REQUESTS, at(2)) == set(IDS)
    assert engine.batches_in_flight == 0
    assert world.left() == {"outcomes", "closed", "money"}
    await engine.tick(at(2))
    assert world.provider.take() == ["release"]
    (closed,) = await engine.closed_batches()
    assert (closed.requests, closed.outcomes) == (4, {"errored" if is_refused else "succeeded": 4})
    assert sum(closed.failures.values()) == (4 if is_refused else 0)
    assert len(world.ended) == 1


async def test_a_batch_of_whose_outcomes_some_are_written_is_left_to_its_provider(world):
    await world.dies("after", "put outcomes")
    engine = await world.boot(2)
    assert len(await engine.collect(REQUESTS, at(2))) == 2
    await engine.tick(at(2))
    assert engine.batches_in_flight == 1


async def test_it_is_closed_once_its_provider_cannot_be_asked_where_nobody_asks_for_its_requests(world):
    await world.dies("before", "put closed")
    engine = await world.boot(2)
    assert set((await engine.tick(at(2))).settled) == set(IDS)
    assert engine.batches_in_flight == 0
    assert world.left() == {"outcomes", "closed", "money"}
    await engine.tick(at(3))
    assert world.provider.take() == ["poll", "release"]


async def test_a_batch_that_may_still_run_is_not_closed_by_the_ledger(world):
    early = InProgress(outcomes=tuple((each, Succeeded({})) for each in IDS[:3]))
    world.provider.then("poll", early, early)
    engine = await world.boot()
    await engine.collect(REQUESTS, at(0))
    await engine.tick(at(0), drain=True)
    await engine.tick(at(1))
    assert await engine.cancel([IDS[3]], at(1)) == {IDS[3]}
    world.provider.then("poll", *[ProviderUnavailable("503")] * 9)
    engine = await world.boot(2)
    await engine.collect(REQUESTS, at(2))
    await engine.tick(at(2))
    assert engine.batches_in_flight == 1
    assert isinstance((await engine.outcomes(IDS))[IDS[3]], Cancelled)


async def test_files_are_not_deleted_by_a_process_that_owns_the_bridge_no_more(world):
    await world.dies("after", "put closed")
    engine = await world.boot(2)

    async def refuse():
        raise ProviderUnavailable("not now")

    engine.before_submit = refuse
    await engine.tick(at(2))
    assert world.provider.take() == []
    engine.before_submit = None
    await engine.tick(at(3))
    assert world.provider.take() == ["release"]


async def test_a_batch_that_failed_before_it_was_sent_keeps_its_account(world):
    world.provider.then("submit", SubmissionRefused("400"))
    engine = await world.boot()
    await engine.collect(REQUESTS, at(0))
    world.fuse.arm(1, "after", "put closed")
    with pytest.raises(Crash):
        await engine.tick(at(0), drain=True)
    world.fuse.revive()
    engine = await world.boot(2)
    assert await engine.collect(REQUESTS, at(2)) == set(IDS)
    await engine.tick(at(2))
    assert world.left() == {"outcomes", "closed", "money"}


async def test_the_account_of_a_batch_that_was_never_begun_goes_with_it(world):
    engine = await world.boot()
    await engine.collect(REQUESTS, at(0))
    world.fuse.arm(1, "before", "put batches")
    with pytest.raises(Crash):
        await engine.tick(at(0), drain=True)
    world.fuse.revive()
    assert world.left() >= {"members", "money"}
    await world.boot(2)
    assert not world.left() & {"members", "money", "batches"}
