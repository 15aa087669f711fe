"""What the engine does when it hears that a batch has ended: it looks at that one, at once, and believes nothing."""

from datetime import timedelta

import pytest
from fakes import T0, FakeProvider, FakeStore, request

from batch_bridge._core.models import InProgress
from batch_bridge._core.policy.flush_policy import FlushPolicy
from batch_bridge._engine import Engine, EngineSettings
from batch_bridge._engine.settlement import heard as _heard
from batch_bridge._ledger.ledger import Ledger

SECOND = timedelta(seconds=1)


class Polled(FakeProvider):
    """Notes which batches are looked at."""

    def __init__(self):
        super().__init__()
        self.looks, self.hurried = [], []

    async def poll(self, handle, requests):
        self.looks.append(handle)
        return InProgress(0, 1)

    def hurry(self, handle):
        self.hurried.append(handle)


@pytest.fixture
async def engine():
    """An engine with two batches, that were looked at a moment ago."""
    provider = Polled()
    policy = FlushPolicy(max_requests=1)
    engine = Engine(
        "bridge", provider, policy, Ledger(FakeStore(), "bridge"), EngineSettings(poll_interval=timedelta(hours=2))
    )
    engine.provider = provider
    await engine.open(T0)
    await engine.collect([request(1), request(2)], T0)
    await engine.tick(T0)
    await engine.tick(T0)
    await engine.tick(T0 + SECOND)
    assert len(engine.flights) == 2
    provider.looks.clear()
    return engine


def handles(engine):
    return [flight.batch.handle for flight in engine.flights]


def name_of(handle):
    return next(_heard._names(handle))


async def test_only_the_batch_that_is_named_is_looked_at_and_once(engine):
    first, _ = handles(engine)
    engine.hear([name_of(first)], T0 + SECOND)
    await engine.tick(T0 + SECOND)
    await engine.tick(T0 + SECOND)
    assert engine.provider.looks == [first]
    assert engine.provider.hurried == [first]


async def test_without_a_name_all_are_looked_at(engine):
    engine.hear(None, T0 + SECOND)
    await engine.tick(T0 + SECOND)
    assert sorted(engine.provider.looks, key=str) == sorted(handles(engine), key=str)


async def test_what_is_heard_during_a_look_is_looked_at_after_it(engine):
    first, second = handles(engine)
    provider, under_way = engine.provider, engine.provider.poll

    async def poll(handle, requests):
        if len(provider.looks) == 0:
            engine.hear(None, T0 + SECOND)
            engine.hear([name_of(first)], T0 + SECOND)
        return await under_way(handle, requests)

    provider.poll = poll
    engine.hear([name_of(first)], T0 + SECOND)
    await engine.tick(T0 + SECOND)
    assert provider.looks == [first]
    await engine.tick(T0 + SECOND)
    assert sorted(provider.looks, key=str) == sorted([first, first, second], key=str)


async def test_what_is_not_found_is_remembered_for_a_minute_and_bounded(engine):
    engine.hear(["nobody's"], T0)
    engine.hear([f"foreign {each}" for each in range(2_000)], T0 + SECOND)
    await engine.tick(T0 + SECOND)
    assert engine.provider.looks == []
    assert len(engine._heard._until) == 1_000
    await engine.tick(T0 + timedelta(seconds=62))
    assert not engine._heard._until
    engine.hear(["another"], T0 + SECOND)
    await engine.tick(T0 - timedelta(hours=1))
    assert not engine._heard._until, "a clock that was set back remembers nothing for ever"


async def test_a_batch_that_goes_on_is_looked_at_again_as_if_it_were_new(engine):
    first, _ = handles(engine)
    for flight in engine.flights:
        flight.pause = timedelta(hours=2)
    engine.hear([name_of(first)], T0 + SECOND)
    await engine.tick(T0 + SECOND)
    due = next(flight.due for flight in engine.flights if flight.batch.handle == first)
    assert due - T0 <= timedelta(minutes=3)


@pytest.mark.parametrize("handle", ["batch_1", {"id": "batch_1"}, [{"batch": {"id": "batch_1"}}, 7, None]])
def test_a_name_is_found_in_any_handle(handle):
    assert "batch_1" in set(_heard._names(handle))
