"""What is asked, or given up, while the engine is in the middle of a tick."""

import asyncio
from collections import Counter

from fakes import FakeProvider, at, request
from langgraph.store.memory import InMemoryStore

from batch_bridge._core.policy.flush_policy import FlushPolicy
from batch_bridge._engine import Engine
from batch_bridge._ledger.make import budgeted

REQUESTS = [request(number) for number in range(10)]


class Slow(FakeProvider):
    """Its uploads wait until they are released."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = asyncio.Event()
        self.uploading = 0

    async def prepare(self, key, requests):
        self.uploading += 1
        await self.gate.wait()
        return await super().prepare(key, requests)


async def flushing():
    """Return a provider, its engine and a tick that sends ten batches, of which the first four are being uploaded."""
    provider = Slow()
    engine = Engine("bridge", provider, FlushPolicy(max_requests=1, max_age=0), budgeted(InMemoryStore(), "bridge"))
    await engine.open(at(0))
    await engine.collect(REQUESTS, at(0))
    tick = asyncio.ensure_future(engine.tick(at(0)))
    while provider.uploading < 4:
        await asyncio.sleep(0)
    return provider, engine, tick


async def run_to_the_end(engine):
    now = at(0)
    settled = []
    while True:
        tick = await engine.tick(now)
        settled += tick.settled
        if tick.wake_at is None:
            return settled
        now = max(now, tick.wake_at)


async def test_what_is_asked_again_while_its_batch_waits_to_be_sent_is_sent_once():
    provider, engine, tick = await flushing()
    assert await engine.collect(REQUESTS, at(1)) == set()
    assert engine.queued + engine.in_flight == 10
    provider.gate.set()
    await tick
    settled = await run_to_the_end(engine)
    assert Counter(settled) == Counter({each.id: 1 for each in REQUESTS})
    assert provider.executed == Counter({each.id: 1 for each in REQUESTS})


async def test_what_is_given_up_while_its_batch_waits_to_be_sent_is_not_sent():
    provider, engine, tick = await flushing()
    await engine.drop([each.id for each in REQUESTS])
    provider.gate.set()
    await tick
    settled = await run_to_the_end(engine)
    assert len(settled) == sum(provider.executed.values()) == 4, "those whose upload had begun"


async def test_a_tick_that_is_cancelled_leaves_what_it_has_not_begun_in_the_queue():
    provider, engine, tick = await flushing()
    tick.cancel()
    await asyncio.wait([tick])
    assert engine.queued + engine.in_flight == 10
    provider.gate.set()
    settled = await run_to_the_end(engine)
    assert Counter(settled) == Counter({each.id: 1 for each in REQUESTS})
    assert provider.executed == Counter({each.id: 1 for each in REQUESTS})
