"""Which notices were told: once, a bounded number of times where processes die of it, and not for ever remembered."""

from datetime import UTC, datetime, timedelta

import pytest
from fakes import Crash, FakeStore, Fuse

from batch_bridge._core import clock as _clock
from batch_bridge._host.notify import KEPT, Board, Notice, of_trouble
from batch_bridge.events import DeadLetter, ResultsExpiring, Stalled

NOW = datetime(2026, 1, 1, tzinfo=UTC)


class Service:
    """Takes notices, as a `Notifier` does; `works` says whether it can be reached, and `dies` whether we live on."""

    def __init__(self):
        self.taken, self.works, self.dies = [], True, False

    async def send(self, notice):
        if self.works:
            self.taken.append(notice)
        if self.dies:
            raise Crash
        return self.works


class World:
    def __init__(self):
        self.fuse = Fuse()
        self.store = FakeStore(fuse=self.fuse)
        self.service = Service()

    def board(self):
        return Board([self.service], self.store)

    def keys(self):
        return {item.key for item in self.store.rows.search(("batch_bridge_notices",), limit=1_000)}

    async def tell(self, key, what="ended"):
        await self.board().tell(Notice(key, what, "title", "body"))


async def test_a_process_that_dies_while_it_sends_sends_again_and_says_so_three_times_at_most():
    world = World()
    world.service.dies = True
    for _ in range(6):
        try:
            await world.tell("run:r")
        except Crash:
            pass
    bodies = [notice.body for notice in world.service.taken]
    assert bodies[0] == "body"
    assert len(bodies) == 3
    assert all("may have come before" in each for each in bodies[1:])
    world.service.dies = False
    await world.tell("run:r", "stopped")  # it is another thing by now
    assert len(world.service.taken) == 4


@pytest.mark.parametrize("call", range(1, 5))
@pytest.mark.parametrize("moment", ["before", "after"])
async def test_wherever_a_process_dies_a_notice_comes_and_twice_at_most(call, moment):
    world = World()
    world.fuse.arm(call, moment)
    try:
        await world.tell("run:r")
    except Crash:
        pass
    world.fuse.revive()
    for _ in range(3):
        await world.tell("run:r")
    assert 1 <= len(world.service.taken) <= 2


async def test_a_service_that_cannot_be_reached_is_tried_by_each_process():
    world = World()
    world.service.works = False
    for _ in range(5):
        await world.tell("run:r")
    world.service.works = True
    await world.tell("run:r")
    await world.tell("run:r")
    assert [notice.body for notice in world.service.taken] == ["body"]


async def test_what_was_told_long_ago_is_forgotten_but_for_jobs_and_what_begins():
    world = World()
    with _clock.ticking(lambda: NOW):
        board = world.board()
        assert await board.begin("batches:b", ["batch:b:old", "job:j"])
        await board.tell(Notice("run:old", "ended", "title", "body"))
    with _clock.ticking(lambda: NOW + KEPT / 2):
        await world.tell("run:newer")
        assert world.keys() == {"batches:b", "batch:b:old", "job:j", "run:old", "run:newer"}
    with _clock.ticking(lambda: NOW + KEPT + timedelta(minutes=1)):
        await world.tell("run:new")
        assert world.keys() == {"batches:b", "job:j", "run:newer", "run:new"}
        assert not await world.board().begin("batches:b", ["other"]), "its batches are told of still"


async def test_rows_do_not_grow_with_what_was_told_over_the_years():
    world = World()
    for month in range(36):
        with _clock.ticking(lambda at=NOW + month * timedelta(days=30): at):
            for number in range(5):
                await world.tell(f"batch:b:{month}.{number}")
    assert len(world.service.taken) == 180
    assert len(world.keys()) <= 15


def test_the_notices_of_trouble_name_the_thing_and_no_error():
    problem = "the prompt"
    stall = {"bridge": "b", "seconds": 3600, "problem": problem}
    notices = [
        of_trouble(each, "run.db")
        for each in (
            Stalled(**stall),
            Stalled(**stall, cause="refused"),
            Stalled(**stall, cause="slow", batch="bb-1"),
            Stalled(**stall, cause="past_window", batch="bb-1"),
            ResultsExpiring(bridge="b", batch="bb-1", handle="h", requests=5, seconds_left=7200, problem=problem),
            DeadLetter(bridge="b", thread="t", requests=("x", "y"), reason=problem),
        )
    ]
    assert len({notice.key for notice in notices}) == 5, "the first two are one thing: the bridge does not get on"
    assert [notice.title for notice in notices[2:]] == [
        "a batch of 'b' is slower than its like",
        "a batch of 'b' is past the window of its provider",
        "results of a batch of 'b' are deleted in 2 hours",
        "2 outcomes of 'b' cannot be delivered",
    ]
    assert problem not in str(notices)
