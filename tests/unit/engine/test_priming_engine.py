"""Requests wait in the queue until a batch has written how they begin into the provider's cache."""

from collections import Counter
from datetime import timedelta

import pytest
from fakes import T0, FakeProvider, FakeStore, ended, request

from batch_bridge._core.models import (
    CachedPrefix,
    Errored,
    Expired,
    InProgress,
    Limits,
    Measure,
    Request,
    SubmittedBatch,
    Succeeded,
)
from batch_bridge._core.policy.flush_policy import FlushPolicy
from batch_bridge._engine import Engine, EngineSettings
from batch_bridge._engine.waiting.ladder import Ladder
from batch_bridge._ledger.ledger import Ledger
from batch_bridge._ledger.queue import StoredQueue

WORKS = InProgress()
FIVE_MINUTES = timedelta(minutes=5)


def measure(asked: Request) -> Measure:
    prefix = asked.item.get("prefix")
    return Measure("m", 1, prefix=CachedPrefix(prefix, FIVE_MINUTES) if prefix else None)


def asks(count, prefix="p", start=0):
    return [request(start + number, prefix=prefix) for number in range(count)]


class Life:
    """One bridge, and the processes that drive it one after another."""

    def __init__(self, policy=None, *, ladder=None, limits=None, kept=False):
        self.provider = FakeProvider(measure=measure, limits=limits)
        self.policy, self.ladder, self.kept = policy or FlushPolicy(max_age=0), ladder, kept
        self.store, self.now = FakeStore(), T0
        self.begin()

    def begin(self):
        queue = {"queue": StoredQueue} if self.kept else {}
        self.engine = Engine(
            "bridge",
            self.provider,
            self.policy,
            Ledger(self.store, "bridge", **queue),
            EngineSettings(poll_interval=timedelta(seconds=64), ladder=self.ladder),
        )

    async def ask(self, asked):
        if not self.engine.is_open:
            await self.engine.open(self.now)
        await self.engine.collect(asked, self.now)

    async def tick(self, **options):
        return await self.engine.tick(self.now, **options)

    async def end(self):
        for _ in range(60):
            tick = await self.tick()
            if tick.wake_at is None:
                return
            self.now = max(tick.wake_at, self.now)
        raise AssertionError("this never ends")

    @property
    def sizes(self):
        return [len(batch.requests) for batch in self.provider.batches.values()]

    def executed_once(self, count):
        return self.provider.executed == Counter(dict.fromkeys(self.provider.executed, 1)) and (
            self.provider.executed.total() == count
        )


async def test_one_of_each_prefix_goes_first_and_the_rest_when_it_has_ended():
    life = Life()
    await life.ask([*asks(25), *asks(25, "q", 25), request(50)])
    life.provider.then("poll", WORKS, WORKS)
    await life.tick()
    assert life.sizes == [2, 1], "one of each prefix; who has none does not wait"
    assert life.engine.queued == 48
    await life.end()
    assert life.sizes == [2, 1, 48]
    assert life.executed_once(51)


async def test_who_comes_later_finds_the_prefix_for_as_long_as_it_is_kept():
    life = Life()
    await life.ask(asks(3))
    await life.end()
    await life.ask(asks(3, start=3))
    await life.end()
    assert life.sizes == [1, 2, 3]
    life.now += FIVE_MINUTES
    await life.ask(asks(3, start=6))
    await life.end()
    assert life.sizes == [1, 2, 3, 1, 2]


@pytest.mark.parametrize("count", [1, 2])
async def test_what_is_due_meanwhile_waits_too(count):
    life = Life()
    await life.ask(asks(2))
    life.provider.then("poll", WORKS)
    await life.tick()
    await life.ask(asks(count, start=2))
    await life.tick()
    assert life.sizes == [1]
    await life.end()
    assert life.sizes == [1, 1 + count]


async def test_the_first_fails_and_the_rest_is_sent_all_the_same():
    life = Life()
    asked = asks(4)
    await life.ask(asked)
    life.provider.then("poll", ended({asked[0].id: Errored("no", "bad")}))
    await life.end()
    assert life.sizes == [1, 3]
    assert life.executed_once(3)
    await life.ask(asks(2, start=4))
    await life.end()
    assert life.sizes == [1, 3, 1, 1], "nothing was written"


async def test_the_first_is_cancelled_and_the_rest_waits_for_nobody():
    life = Life()
    asked = asks(4)
    await life.ask(asked)
    life.provider.then("poll", *[WORKS] * 40)
    await life.tick()
    await life.engine.cancel([asked[0].id], life.now)
    await life.tick()
    assert life.sizes == [1, 3]


async def test_those_that_wait_can_be_cancelled_and_dropped():
    life = Life()
    asked = asks(4)
    await life.ask(asked)
    life.provider.then("poll", WORKS)
    await life.tick()
    assert await life.engine.cancel([asked[1].id], life.now) == {asked[1].id}
    await life.engine.drop([asked[2].id])
    await life.end()
    assert life.sizes == [1, 1]


@pytest.mark.parametrize("limits", [None, Limits(batches=2, enqueued_tokens=10_000)])
async def test_a_queue_that_is_full_by_count_sends_what_it_held_in_whole(limits):
    life = Life(FlushPolicy(max_requests=4, max_age=None), limits=limits)
    await life.ask(asks(4))
    life.provider.then("poll", WORKS)
    await life.tick()
    await life.ask([request(9)])
    await life.tick()
    assert life.sizes == [1]
    await life.end()
    assert sorted(life.sizes) == [1, 4]


async def test_all_wait_and_nothing_turns_in_circles():
    life = Life(FlushPolicy(max_age=None))
    await life.ask(asks(3))
    life.provider.then("poll", WORKS, WORKS)
    tick = await life.tick(drain=True)
    assert tick.wake_at > life.now or life.engine.batches_in_flight
    life.now = tick.wake_at
    tick = await life.tick(drain=True)
    assert tick.wake_at > life.now
    assert life.engine.rests, "only the provider can move anything"
    await life.end()
    assert life.sizes == [1, 2]


@pytest.mark.parametrize("kept", [False, True])
async def test_a_process_after_this_one_knows_which_prefix_is_being_written(kept):
    life = Life(FlushPolicy(max_requests=3, max_age=None), kept=kept)
    asked = asks(6)
    await life.ask(asked)
    life.provider.then("poll", *[WORKS] * 3)
    await life.tick()
    assert life.sizes == [1]
    life.begin()
    await life.ask([] if kept else asked)
    await life.tick()
    assert life.sizes == [1]
    assert life.engine.queued == 5
    await life.end()
    assert life.sizes[0] == 1
    assert life.executed_once(6)


async def test_a_first_batch_of_which_nobody_knows_whether_it_was_created_is_not_sent_twice():
    life = Life()
    asked = asks(4)
    await life.ask(asked)
    life.provider.then("poll", *[WORKS] * 2)
    await life.tick()
    life.begin()
    (entry,) = await life.engine._state.ledger.open_batches(tidy=True)
    assert isinstance(entry, SubmittedBatch)
    assert entry.terms.prefixes == ("p",)
    await life.ask(asked)
    await life.end()
    assert life.executed_once(4)


async def test_who_has_a_deadline_waits_for_half_of_its_time():
    ladder = Ladder.of_fallback(timedelta(hours=2), "wait_for_cancel", None)
    life = Life(ladder=ladder)
    asked = asks(3)
    await life.ask(asked)
    life.provider.then("poll", *[WORKS] * 500)
    await life.tick()
    assert life.sizes == [1]
    life.now += timedelta(minutes=59)
    await life.tick()
    assert life.sizes == [1]
    life.now += timedelta(minutes=1)
    assert life.engine.to_flush(life.now) == ()
    await life.tick()
    assert life.sizes == [1, 2]


async def test_who_is_late_while_it_waits_ends_as_late():
    ladder = Ladder.of_fallback(timedelta(hours=2), "wait_for_cancel", None)
    life = Life(ladder=ladder)
    asked = asks(3)
    await life.ask(asked)
    life.provider.then("poll", *[WORKS] * 500)
    await life.tick()
    life.engine.paused = True
    life.now += timedelta(hours=3)
    await life.tick()
    life.engine.paused = False
    await life.tick()
    outcomes = await life.engine.outcomes([each.id for each in asked[1:]])
    assert [type(each) for each in outcomes.values()] == [Expired, Expired]


async def test_without_a_prefix_nothing_changes():
    life = Life()
    await life.ask([request(number) for number in range(5)])
    await life.end()
    assert life.sizes == [5]
    assert isinstance((await life.engine.outcomes([request(0).id]))[request(0).id], Succeeded)
