"""A provider under the real engine, by a clock that moves as fast as its batches end."""

import asyncio
import time
import uuid
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Self

from langgraph.store.base import BaseStore
from langgraph.store.memory import InMemoryStore

from batch_bridge._core.json.messages import encode
from batch_bridge._core.models import Closed, Outcome, Request
from batch_bridge._core.policy.flush_policy import FlushPolicy
from batch_bridge._core.provider import Provider
from batch_bridge._engine import Engine, Tick
from batch_bridge._ledger.ledger import Ledger

START = datetime(2026, 10, 1, tzinfo=UTC)
PATIENCE = 30.0
"""Seconds after which requests that are not settled never will be."""
BREATH = 0.005


def requests(items: Iterable[Any]) -> list[Request]:
    """Return items as the requests of as many threads, with new ids."""
    return [Request(uuid.uuid4().hex, f"thread-{i}", encode(item)) for i, item in enumerate(items)]


class Drive:
    """An engine over a ledger in memory.

    Args:
        provider: Who answers; stays the caller's to close.
        store: What a process before this one has left, if there was one.
        policy: When the queue is sent; `tick` sends all of it in any case.
        ledger: One that dies on the way, perhaps.
    """

    def __init__(
        self,
        provider: Provider,
        *,
        store: BaseStore | None = None,
        policy: FlushPolicy | None = None,
        ledger: type[Ledger] = Ledger,
    ) -> None:
        self.provider = provider
        self.store = store or InMemoryStore()
        self.policy = policy or FlushPolicy()
        self.now = START
        self.ledger = ledger(self.store, "bridge")
        self.engine = Engine("bridge", provider, self.policy, self.ledger)

    async def start(self, asked: Iterable[Request] = ()) -> Self:
        """Open the engine and collect requests."""
        await self.engine.open(self.now)
        await self.engine.collect(asked, self.now)
        return self

    async def tick(self, *, drain: bool = True) -> Tick:
        """Do what is due, and move the clock to when something is again."""
        tick = await self.engine.tick(self.now, drain=drain)
        self.now = max(self.now + timedelta(seconds=1), tick.wake_at or self.now)
        return tick

    async def settle(self, asked: Sequence[Request]) -> list[Outcome]:
        """Tick until everything is settled, and return the outcomes in the order asked.

        Raises:
            TimeoutError: It is not, after half a minute.
        """
        deadline = time.monotonic() + PATIENCE
        while True:
            await self.tick()
            outcomes = await self.engine.outcomes([each.id for each in asked])
            if len(outcomes) == len(asked) and not self.engine.batches_in_flight:
                return [outcomes[each.id] for each in asked]
            if time.monotonic() > deadline:
                raise TimeoutError(f"{len(asked) - len(outcomes)} of {len(asked)} requests are not settled in time")
            await asyncio.sleep(BREATH)

    async def again(self, asked: Iterable[Request] = ()) -> "Drive":
        """Return the engine of the process that comes after this one."""
        drive = Drive(self.provider, store=self.store, policy=self.policy)
        drive.now = self.now
        return await drive.start(asked)

    async def closed(self) -> list[Closed]:
        """Return the batches that were settled."""
        return await self.ledger.closed_batches()


async def ask(provider: Provider, asked: Sequence[Request]) -> list[Outcome]:
    """Send requests through an engine of their own, and return their outcomes."""
    drive = await Drive(provider).start(asked)
    return await drive.settle(asked)
