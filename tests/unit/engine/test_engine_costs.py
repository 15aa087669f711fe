"""The cost of a tick follows what is new, never all that waits. Counted in operations of the store, not in time."""

from collections import Counter
from datetime import timedelta

import pytest
from fakes import T0, FakeProvider, FakeStore, at, request

from batch_bridge._core.models import InProgress
from batch_bridge._core.policy.flush_policy import FlushPolicy
from batch_bridge._engine import Engine, EngineSettings
from batch_bridge._ledger.ledger import Ledger

WAITING = 5_000
OPENING = Counter(
    {"list namespaces": 3, "list tries": 1, "list batches": 1, "list members": 1, "list money": 1, "list closed": 1}
)
"""Three of them look whether rows of an older version are left."""
REQUESTS = [request(n) for n in range(WAITING)]


class Place:
    def __init__(self, policy):
        self.store = FakeStore()
        self.provider = FakeProvider()
        self.policy = policy
        self.engine = self.start()

    def start(self):
        return Engine(
            "bridge",
            self.provider,
            self.policy,
            Ledger(self.store, "bridge"),
            EngineSettings(poll_interval=timedelta(seconds=64)),
        )


@pytest.fixture
async def waiting():
    """Five thousand requests that wait, and nothing new."""
    place = Place(FlushPolicy(max_requests=100_000, max_age=3600))
    await place.engine.open(T0)
    await place.engine.collect(REQUESTS, T0)
    place.store.take()
    return place


@pytest.fixture
async def flying():
    """Five thousand requests in one batch, and nothing new."""
    place = Place(FlushPolicy(max_requests=100_000, max_age=None))
    place.provider.then("poll", *[InProgress()] * 100)
    await place.engine.open(T0)
    await place.engine.collect(REQUESTS, T0)
    await place.engine.tick(T0, drain=True)
    place.store.take()
    place.provider.take()
    return place


async def test_a_tick_while_all_wait_makes_no_call(waiting):
    for second in range(100):
        await waiting.engine.tick(at(second))
    assert waiting.engine.queued == WAITING
    assert waiting.store.take() == []
    assert waiting.provider.take() == []


async def test_what_waits_already_is_collected_again_without_a_call(waiting):
    assert await waiting.engine.collect(REQUESTS, at(1)) == set()
    assert waiting.store.take() == []


async def test_one_new_request_costs_one_request(waiting):
    await waiting.engine.collect([*REQUESTS[:3], request(-1)], at(1))
    await waiting.engine.tick(at(1))
    assert waiting.store.take() == ["get outcomes", "put requests"]


async def test_a_poll_that_finds_nothing_touches_no_row(flying):
    for second in range(1, 10):
        await flying.engine.tick(at(second * 64))
    assert flying.store.take() == []
    assert flying.provider.take() == ["poll"] * 9


async def test_a_batch_that_is_not_due_is_left_alone(flying):
    tick = await flying.engine.tick(at(1))
    flying.provider.take()
    for _ in range(5):
        assert (await flying.engine.tick(at(1))).wake_at == tick.wake_at
    assert flying.provider.take() == []


async def test_what_is_in_flight_is_collected_again_without_a_call(flying):
    assert await flying.engine.collect(REQUESTS, at(1)) == set()
    assert flying.store.take() == []


async def test_a_request_costs_the_same_all_its_life_long_whatever_the_batch():
    place = Place(FlushPolicy(max_requests=100_000, max_age=None))
    await place.engine.open(T0)
    await place.engine.collect(REQUESTS, T0)
    for second in range(3):
        await place.engine.tick(at(second), drain=True)
    assert Counter(place.store.take()) == {
        "list namespaces": 3,  # whether rows of an older version are left
        "list tries": 1,
        "list batches": 1,
        "list money": 1,
        "list closed": 1,
        "put money": 2,  # when the batch is begun, and when it is closed
        "list members": 1,
        "get outcomes": WAITING,
        "put requests": WAITING,
        "put members": 3,  # when it is begun, prepared and confirmed
        "put batches": 3,
        "get requests": WAITING,
        "put outcomes": WAITING,
        "delete requests": WAITING,
        "put closed": 1,
        "delete batches": 1,
        "delete members": 1,
    }


async def test_opening_reads_what_is_in_flight_and_not_what_waits(waiting):
    reopened = waiting.start()
    await reopened.open(at(1))
    await reopened.tick(at(1))
    assert Counter(waiting.store.take()) == OPENING
    assert reopened.queued == 0


async def test_opening_reads_each_open_batch_once(flying):
    await flying.start().open(at(1))
    assert Counter(flying.store.take()) == OPENING
