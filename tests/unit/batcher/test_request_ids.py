"""A kept queue, through a process that ends at any of its writes and calls; and names that are given back."""

import asyncio

import pytest
from fakes import T0, at
from hypothesis import given
from hypothesis import strategies as st

from batch_bridge._core.models import Ended, Errored, InProgress, Limits, Measure, Request, SubmittedBatch, Succeeded
from batch_bridge._core.policy.batching import Waiting
from batch_bridge._core.policy.flush_policy import FlushPolicy
from batch_bridge._engine import Engine
from batch_bridge._ledger.in_memory import MemoryRows
from batch_bridge._ledger.make import durable
from batch_bridge.batcher._request_ids import DurableNames, FreshNames, ReturnedNames


class Died(BaseException):
    """The process has ended."""


class Fuse:
    """Ends the process at its n-th step."""

    def __init__(self, steps):
        self.steps = steps

    def burn(self):
        self.steps -= 1
        if self.steps == 0:
            raise Died


class Burning:
    """Rows whose every write may be the last one: before it, or after it."""

    def __init__(self, rows, fuse):
        self.rows, self.fuse = rows, fuse

    async def abatch(self, ops):
        ops = list(ops)
        self.fuse.burn()
        results = await self.rows.abatch(ops)
        self.fuse.burn()
        return results


class Api:
    """The far side: it keeps what was created, and lives on when the process dies."""

    limits = Limits()

    def __init__(self):
        self.created = {}
        self.fuse = Fuse(0)

    def measure(self, request):
        return Measure("", 1)

    async def prepare(self, key, requests):
        return None

    async def submit(self, key, requests, prepared):
        self.fuse.burn()
        assert key not in self.created
        self.created[key] = [request.id for request in requests]
        self.fuse.burn()
        return key

    async def poll(self, handle, requests):
        self.fuse.burn()

        async def outcomes():
            for request_id in self.created[handle]:
                yield request_id, Succeeded(f"<{request_id}>")

        return Ended(outcomes(), missing=Errored("missing"))

    async def find(self, key, prepared):
        return [key] if key in self.created else []

    async def fence(self, prepared):
        pass

    async def release(self, handle):
        pass

    @property
    def paid(self):
        return sorted(request_id for batch in self.created.values() for request_id in batch)


REQUESTS = [Request(f"{number:032x}", "", "item") for number in range(3)]
IDS = [request.id for request in REQUESTS]


async def live(rows, api, requests, *, until):
    """One process: open, collect, and tick until everything has an outcome."""
    engine = Engine("bridge", api, FlushPolicy(max_age=0), durable(rows, "bridge"))
    await engine.open(T0)
    if requests:
        await engine.collect(requests, T0)
    for second in range(1, until):
        await engine.tick(at(second * 60))
    return await engine.outcomes(IDS)


@pytest.mark.parametrize("asks_again", [True, False])
async def test_a_process_that_dies_at_any_step_loses_nothing_and_pays_once(asks_again):
    steps = 0
    while True:
        steps += 1
        rows, api = MemoryRows(), Api()
        api.fuse = Fuse(steps)
        try:
            await live(Burning(rows, api.fuse), api, REQUESTS, until=4)
        except Died:
            pass
        else:
            break
        api.fuse = Fuse(0)
        kept = api.paid or await durable(rows, "bridge").queue()
        outcomes = await live(rows, api, REQUESTS if asks_again or not kept else [], until=6)
        if asks_again or kept:
            assert sorted(outcomes) == IDS, steps
            assert api.paid == IDS, steps
        assert await durable(rows, "bridge").queue() == []
    assert steps > 12


async def test_what_was_queued_when_the_process_ended_is_sent_by_the_next_one():
    rows, api = MemoryRows(), Api()
    policy = FlushPolicy(max_age=None)
    first = Engine("bridge", api, policy, durable(rows, "bridge"))
    await first.open(T0)
    await first.collect(REQUESTS, T0)
    await first.tick(at(1))
    assert api.paid == []
    second = Engine("bridge", api, policy, durable(rows, "bridge"))
    await second.open(at(2))
    assert list(second.waiting) == IDS
    await second.collect(REQUESTS, at(2))
    await second.tick(at(3), drain=True)
    assert api.paid == IDS


async def test_the_queue_is_kept_in_its_order_until_a_batch_is_confirmed_or_settled():
    ledger = durable(MemoryRows(), "bridge")
    waiting = [Waiting(request_id, "g", 7, at(9 - place), "k") for place, request_id in enumerate(IDS)]
    await ledger.queued(waiting)
    assert await ledger.queue() == waiting[::-1]
    await ledger.confirm(SubmittedBatch("key", (IDS[0],), "g", T0, None))
    assert [each.id for each in await ledger.queue()] == [IDS[2], IDS[1]]
    await ledger.settle({IDS[1]: Succeeded(1)})
    await ledger.drop([IDS[2]])
    assert await ledger.queue() == []


async def test_a_row_that_outlived_its_outcome_does_not_wait():
    ledger = durable(MemoryRows(), "bridge")
    await ledger.settle({IDS[0]: Succeeded(1)})
    await ledger.queued([Waiting(IDS[0], "g", 7, T0)])
    assert await ledger.queue() == []


async def test_the_engine_tells_what_is_sent():
    class Slow(Api):
        async def poll(self, handle, requests):
            return InProgress()

    engine = Engine("bridge", Slow(), FlushPolicy(max_age=0), durable(MemoryRows(), "bridge"))
    await engine.open(T0)
    await engine.collect(REQUESTS[:1], T0)
    assert (engine.is_sent(IDS[0]), engine.unsent) == (False, 0)
    await engine.tick(at(1))
    assert (engine.is_sent(IDS[0]), engine.is_sent(IDS[1]), engine.unsent) == (True, False, 0)


# -- names ---------------------------------------------------------------------------------------------------------


def test_names_that_are_given_back_are_given_out_again_smallest_first():
    names = ReturnedNames("b")
    first, second, third = (names.name("a") for _ in range(3))
    assert len({first, second, third, names.name("b")}) == 4
    names.give_back(third)
    names.give_back(first)
    names.give_back(first)
    assert [names.name("a") for _ in range(2)] == [first, third]
    assert names.name("a") not in {first, second, third}


@given(st.lists(st.tuples(st.sampled_from("ab"), st.booleans()), max_size=30))
def test_no_two_requests_have_one_name_at_a_time(steps):
    names, held = ReturnedNames("b"), []
    for item, gives_back in steps:
        if gives_back and held:
            names.give_back(held.pop(0))
        else:
            held.append(names.name(item))
            assert len(set(held)) == len(held)


def test_the_same_items_have_the_same_names_in_the_next_process():
    for kind in (DurableNames, ReturnedNames):
        runs = [[names.name(item) for item in ("a", {"b": [1]}, "a")] for names in (kind("x"), kind("x"))]
        assert runs[0] == runs[1]
        assert len(set(runs[0])) == 3
        assert kind("y").name("a") not in runs[0]
    assert DurableNames("x").name("a") == ReturnedNames("x").name("a")
    assert FreshNames().name("a") != FreshNames().name("a")


def test_threads_get_names_of_their_own():
    names = ReturnedNames("b")

    async def main():
        return await asyncio.gather(*(asyncio.to_thread(names.name, "a") for _ in range(50)))

    assert len(set(asyncio.run(main()))) == 50
