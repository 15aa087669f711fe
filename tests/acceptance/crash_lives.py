"""An engine that dies at any of its steps, and the one that comes after it, in one process and over real HTTP.

A step is the moment before and after each write to the ledger, each call to the provider of a lane, and each call of a
model. Who is dead takes no step any more: whatever it goes on to do raises, so that nothing is written and nothing is
sent.
"""

import asyncio
import functools
import inspect
import time
import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from langgraph.store.base import PutOp
from langgraph.store.memory import InMemoryStore
from openai import AsyncOpenAI

from batch_bridge._core.models import Closed, Outcome
from batch_bridge._core.policy.flush_policy import FlushPolicy
from batch_bridge._core.provider import Provider
from batch_bridge._engine import Engine, EngineSettings
from batch_bridge._engine.waiting.ladder import Ladder
from batch_bridge.providers._realtime.provider import Realtime
from batch_bridge.providers.openai import OpenAIBatch
from batch_bridge.providers.openai._realtime import OpenAICaller
from batch_bridge.providers.openai._windows.provider import OpenAIWindow
from batch_bridge.testing.conformance import Drive, requests

VERBS = ("prepare", "submit", "poll", "find", "fence", "cancel", "release")
PATIENCE = 30.0
"""Seconds after which what is not settled never will be."""


class Death(BaseException):
    """The process ends here."""


class Life:
    """Counts the steps of one process, and ends it at one of them. With no name it dies of nothing.

    Attributes:
        seen: The steps that it took.
        is_dead: It takes none any more.
    """

    def __init__(self, die_at: str = "") -> None:
        self.die_at = die_at
        self.seen: list[str] = []
        self.is_dead = False
        self._counts: Counter[str] = Counter()

    def step(self, name: str) -> None:
        if self.is_dead:
            raise Death(self.die_at)
        self._counts[name] += 1
        self.seen.append(f"{name} {self._counts[name]}")
        if self.seen[-1] == self.die_at:
            self.is_dead = True
            raise Death(self.die_at)


class World:
    """Where lives are led, one after the other. Use `patch` before the first provider is opened.

    Attributes:
        life: The one that is led.
    """

    def __init__(self) -> None:
        self.life = Life()

    def patch(self, setattr_: Callable[[Any, str, Any], None]) -> None:
        """Make a step of the moments around each verb of the lanes and each call of a model."""
        for owner in (OpenAIBatch, OpenAIWindow, Realtime):
            for verb in VERBS:
                setattr_(owner, verb, self._around(getattr(owner, verb), verb))
        setattr_(OpenAICaller, "answer", self._around(OpenAICaller.answer, "call"))

    def _around(self, inner: Callable[..., Any], name: str) -> Callable[..., Any]:
        assert inspect.iscoroutinefunction(inner)

        @functools.wraps(inner)
        async def outer(*args: Any, **kwargs: Any) -> Any:
            life = self.life
            life.step(f"before {name}")
            result = await inner(*args, **kwargs)
            life.step(f"after {name}")
            return result

        return outer


class Store(InMemoryStore):
    """A store whose writes are steps, by what is written. It outlives the processes."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self._world = world

    async def abatch(self, ops: Any) -> Any:
        ops, life = list(ops), self._world.life
        written = sorted({each.namespace[-1] for each in ops if isinstance(each, PutOp)})
        if life.is_dead:
            raise Death(life.die_at)
        if not written:
            return await super().abatch(ops)
        name = f"write of {' and '.join(written)}"
        life.step(f"before {name}")
        result = await super().abatch(ops)
        life.step(f"after {name}")
        return result


@dataclass
class Ended:
    """What became of requests.

    Attributes:
        outcomes: In the order in which they were asked.
        closed: The batches that were settled.
        steps: Of the last process.
        died: Whether the first process did.
        unheard: Calls of a model that it had begun.
    """

    outcomes: list[Outcome]
    closed: list[Closed]
    steps: list[str]
    died: bool
    unheard: int = 0


@dataclass(frozen=True)
class Lane:
    """What a process asks.

    Attributes:
        open: Makes its provider of a client.
        items: What is asked.
        ladder: Its lanes, where there are several.
        attempts: How often a request is sent in all.
    """

    open: Callable[[AsyncOpenAI], Provider]
    items: Sequence[Any]
    ladder: Callable[[Provider], Ladder] | None = None
    attempts: int = 1

    async def live(self, world: World, client: AsyncOpenAI, die_at: str) -> Ended:
        """Ask until all is settled: in a process that dies at a step, and in one that comes after it."""
        store, asked = Store(world), requests(self.items)
        client = client.with_options(api_key=uuid.uuid4().hex)
        ids = [each.id for each in asked]
        died, drive, unheard, until = False, None, 0, time.monotonic() + PATIENCE
        for life in (Life(die_at), Life()):
            world.life = life
            provider = self.open(client)
            now = drive.now if drive is not None else None
            drive = Drive(provider, store=store)
            drive.now = now or drive.now
            ladder = None if self.ladder is None else self.ladder(provider)
            drive.engine = Engine(
                "bridge",
                provider,
                FlushPolicy(),
                drive.ledger,
                EngineSettings(
                    attempts=self.attempts,
                    ladder=ladder,
                    poll_interval=timedelta(seconds=30) if ladder is None else timedelta(hours=8),
                ),
            )
            try:
                await drive.start(asked)
                outcomes = await drive.engine.outcomes(ids)
                while drive.engine.batches_in_flight or len(outcomes) < len(ids):
                    await drive.tick()
                    assert time.monotonic() < until, f"hangs after it died {die_at}"
                    await asyncio.sleep(0.002)
                    outcomes = await drive.engine.outcomes(ids)
                closed = await drive.closed()
            except BaseException:
                if not life.is_dead:
                    raise
                died, unheard = True, sum(each.startswith("before call") for each in life.seen)
                continue
            finally:
                world.life = world.life if not life.is_dead else _dead()
                for each in (provider, *(() if ladder is None else ladder.providers)):
                    await each.aclose()
            return Ended([outcomes[each] for each in ids], closed, life.seen, died, unheard)
        raise AssertionError("the second process died of nothing")


def _dead() -> Life:
    life = Life()
    life.is_dead = True
    return life
