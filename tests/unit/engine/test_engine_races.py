"""What is asked of an engine while its tick works, as a Batcher does whose callers do not wait."""

import asyncio

from fakes import FakeProvider, FakeStore, at, request

from batch_bridge._core.policy.flush_policy import FlushPolicy
from batch_bridge._engine import Engine
from batch_bridge._ledger.ledger import Ledger


class SlowStore(FakeStore):
    """Holds up the first call of a name until it is released."""

    held: str | None = None

    async def abatch(self, ops):
        ops = list(ops)
        if self.held is not None and f"{type(ops[0]).__name__} {ops[0].namespace[2]}" == self.held:
            self.held = None
            self.is_waiting.set()
            await self.go.wait()
        return await super().abatch(ops)


def engine(store, provider):
    return Engine("bridge", provider, FlushPolicy(), Ledger(store, "bridge"))


async def test_a_batch_may_end_while_who_asks_is_told_what_a_process_before_has_settled():
    store, provider = SlowStore(), FakeProvider()
    before = engine(store, provider)
    await before.open(at(0))
    await before.collect([request(1), request(2)], at(0))
    await before.tick(at(0), drain=True)  # sent, and not looked at
    after = engine(store, provider)
    await after.open(at(1))
    store.is_waiting, store.go, store.held = asyncio.Event(), asyncio.Event(), "GetOp outcomes"
    collecting = asyncio.create_task(after.collect([request(1)], at(1)))
    await store.is_waiting.wait()
    tick = await after.tick(at(1))
    store.go.set()
    assert await collecting | set(tick.settled) == {request(1).id, request(2).id}
    assert after.in_flight == 0
