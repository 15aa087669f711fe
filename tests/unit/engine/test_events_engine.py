"""What the engine tells, and when: once what it tells is durable."""

from dataclasses import replace
from datetime import timedelta
from typing import assert_never

from fakes import FakeProvider, FakeStore, at, ended, request

from batch_bridge import Limits, Usage, events
from batch_bridge._core.models import Errored, InProgress, Measure, Succeeded
from batch_bridge._core.policy.flush_policy import FlushPolicy
from batch_bridge._engine import Engine, EngineSettings
from batch_bridge._ledger.make import durable
from batch_bridge.errors import ProviderUnavailable, RequestRefused, SubmissionUnknown
from batch_bridge.events import (
    Cancelled,
    Delivered,
    Event,
    Polled,
    PollFailed,
    Queued,
    Resubmitted,
    ResultsExpiring,
    Settled,
    Stalled,
    StoreFailed,
    Submitted,
)

ONE, TWO, THREE = request(1), request(2), request(3)
IDS = (ONE.id, TWO.id, THREE.id)


class Life:
    """An engine, and what it told."""

    def __init__(self, provider=None, store=None):
        self.provider = provider or FakeProvider()
        self.store = store or FakeStore()
        self.told: list[Event] = []
        self.rows = []
        self.engine = Engine(
            "b",
            self.provider,
            FlushPolicy(max_age=0),
            durable(self.store, "b"),
            EngineSettings(poll_interval=timedelta(seconds=1)),
        )
        self.engine.on_event = self._listen
        self.now = 0

    def _listen(self, event):
        self.told.append(event)
        self.rows.append(self.store.read())

    async def ask(self, *requests):
        await self.engine.open(at(self.now))
        await self.engine.collect(requests, at(self.now))

    async def tick(self, times=1):
        for _ in range(times):
            self.now += 100
            await self.engine.tick(at(self.now))
        return self.take()

    def take(self):
        told, self.told = self.told, []
        return told


def named(told):
    return [type(event).__name__ for event in told]


async def test_the_life_of_a_batch():
    life = Life()
    usage = Usage("m", 3, 4)
    end = replace(ended({ONE.id: Succeeded(1), TWO.id: Errored("no")}), usage=usage)
    life.provider.then("poll", InProgress(1, 2), end)
    await life.ask(ONE, TWO)
    (queued,) = life.take()
    assert queued == Queued(bridge="b", requests=(ONE.id, TWO.id))
    (submitted,) = await life.tick()
    (handle,) = life.provider.batches
    assert submitted == Submitted(bridge="b", batch=submitted.batch, handle=handle, requests=(ONE.id, TWO.id))
    assert await life.tick() == [Polled(bridge="b", batch=submitted.batch, done=1, total=2)]
    assert await life.tick() == [
        Settled(
            bridge="b",
            batch=submitted.batch,
            requests=(ONE.id, TWO.id),
            outcomes={"succeeded": 1, "errored": 1},
            ended=True,
            usage=usage,
        )
    ]


async def test_what_is_told_is_in_the_ledger():
    life = Life()
    await life.ask(ONE)
    await life.tick(2)
    queued, submitted, settled = life.rows
    assert ONE.id in queued["queued"]
    assert [row["stage"] for row in submitted["batches"].values()] == ["submitted"]
    assert ONE.id in settled["outcomes"]
    assert "batches" not in settled


async def test_requests_that_no_batch_holds_are_settled_too():
    def measure(asked):
        if asked == ONE:
            raise RequestRefused("never")
        return Measure("", 1)

    life = Life(FakeProvider(measure=measure, limits=Limits()))
    await life.ask(ONE, TWO)
    assert life.take() == [
        Queued(bridge="b", requests=(TWO.id,)),
        Settled(bridge="b", batch=None, requests=(ONE.id,), outcomes={"errored": 1}),
    ]


async def test_outcomes_that_come_early_are_told_once():
    life = Life()
    early = InProgress(1, 2, outcomes=((ONE.id, Succeeded(1)),))
    life.provider.then("poll", early, early, ended({ONE.id: Succeeded(1), TWO.id: Succeeded(2)}))
    await life.ask(ONE, TWO)
    await life.tick()
    settled = [event for event in await life.tick(3) if isinstance(event, Settled)]
    assert [(event.requests, dict(event.outcomes), event.ended) for event in settled] == [
        ((ONE.id,), {"succeeded": 1}, False),
        ((TWO.id,), {"succeeded": 1}, True),
    ]


async def test_a_submission_that_came_to_nothing_is_resubmitted():
    life = Life()
    life.provider.then("submit", SubmissionUnknown("timed out"))
    life.provider.then("find", [], [])
    await life.ask(ONE)
    told = await life.tick(3)
    assert named(told) == ["Queued", "Resubmitted", "Submitted"]
    resubmitted = next(event for event in told if isinstance(event, Resubmitted))
    assert resubmitted.requests == (ONE.id,)


async def test_what_was_dropped_was_cancelled():
    life = Life()
    await life.ask(ONE, TWO)
    life.take()
    await life.engine.drop([ONE.id, THREE.id])
    assert life.take() == [Cancelled(bridge="b", requests=(ONE.id,))]
    await life.engine.drop([ONE.id])
    assert life.take() == []


async def test_the_settled_ones_add_up_to_what_was_asked():
    """Whatever the provider does: each request is settled once."""
    life = Life()
    life.provider.then("prepare", ProviderUnavailable("later"))
    life.provider.then("poll", ProviderUnavailable("later"), ended({ONE.id: Succeeded(1)}, missing=Errored("lost")))
    await life.ask(ONE, TWO, THREE)
    settled = [event for event in await life.tick(8) if isinstance(event, Settled)]
    assert sorted(each for event in settled for each in event.requests) == sorted(IDS)
    assert sum(sum(event.outcomes.values()) for event in settled) == 3


def test_the_union_is_whole():
    """A `match` over all of them leaves nothing; mypy reads this too."""

    def name(event: Event) -> str:
        match event:
            case Queued() | Submitted() | Polled() | PollFailed() | Settled():
                return event.bridge
            case Delivered() | Resubmitted() | Cancelled() | StoreFailed() | Stalled() | ResultsExpiring():
                return event.bridge
            case _:
                assert_never(event)

    assert name(Delivered(bridge="b", requests=())) == "b"
    assert set(events.__all__) == {
        "BatchCost",
        "BatchProgress",
        "Cancelled",
        "DeadlineTooShort",
        "Delivered",
        "Eta",
        "Event",
        "LaneChanged",
        "PollFailed",
        "Polled",
        "Progress",
        "Queued",
        "Resubmitted",
        "ResultsExpiring",
        "Settled",
        "Span",
        "Stalled",
        "StoreFailed",
        "Submitted",
    }
