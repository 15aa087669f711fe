"""What does not get on, and results that a provider will delete: an event each, once. Time is an argument."""

from datetime import timedelta

import pytest
from fakes import T0, FakeProvider, FakeStore, ended, request

from batch_bridge._core.models import InProgress, Succeeded
from batch_bridge._core.policy.flush_policy import FlushPolicy
from batch_bridge._core.policy.vendor_terms import VendorTerms, terms_for
from batch_bridge._engine import Engine, EngineSettings
from batch_bridge._ledger.ledger import Ledger
from batch_bridge.errors import ProviderUnavailable
from batch_bridge.events import ResultsExpiring, Stalled
from batch_bridge.providers.openai import OpenAIBatch

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
TERMS = VendorTerms(24 * 3600.0, 30 * 24 * 3600.0)


class Life:
    """An engine, and what it told of what does not get on."""

    def __init__(self, store=None, provider=None, terms=TERMS):
        self.store, self.provider, self.told = store or FakeStore(), provider or FakeProvider(), []
        ledger = Ledger(self.store, "b")
        self.engine = Engine(
            "b", self.provider, FlushPolicy(max_age=0), ledger, EngineSettings(poll_interval=MINUTE, terms=terms)
        )
        self.engine.on_event = self._listen

    def _listen(self, event):
        if isinstance(event, Stalled | ResultsExpiring):
            self.told.append(event)

    async def begin(self, *numbers, at=T0):
        await self.engine.open(at)
        await self.engine.collect([request(number) for number in numbers], at)
        await self.engine.tick(at)

    async def until(self, now, end, step=MINUTE):
        while now <= end:
            await self.engine.tick(now)
            now += step
        told, self.told = self.told, []
        return told


def refusing(provider, times=10_000):
    provider.then("poll", *[ProviderUnavailable("401 no such key")] * times)


async def test_a_provider_that_refuses_for_ten_minutes_is_told_once_for_all_batches_until_it_answers(caplog):
    life = Life()
    refusing(life.provider, 60)
    await life.begin(1)
    await life.engine.collect([request(2)], T0)
    (event,) = await life.until(T0, T0 + 30 * MINUTE)
    assert (event.bridge, event.cause, event.problem) == ("b", "refused", "ProviderUnavailable: 401 no such key")
    assert timedelta(minutes=10).total_seconds() <= event.seconds < 12 * 60
    assert "see whether the key, the network and the account are in order" in event.advice
    assert len([each for each in caplog.messages if "refused every call" in each]) == 1


async def test_one_good_look_begins_the_ten_minutes_again():
    life = Life()
    polls = [*[ProviderUnavailable("503")] * 8, InProgress(0, 1)] * 40
    life.provider.then("poll", *polls)
    await life.begin(1)
    assert await life.until(T0, T0 + HOUR) == []


async def test_a_batch_past_its_window_is_told_once():
    life = Life()
    life.provider.then("poll", *[InProgress(0, 1)] * 10_000)
    await life.begin(1)
    assert await life.until(T0, T0 + 24 * HOUR, step=10 * MINUTE) == []
    (event,) = await life.until(T0 + 24 * HOUR + MINUTE, T0 + 30 * HOUR, step=10 * MINUTE)
    assert (event.cause, event.batch) == ("past_window", life.engine.batches[0])


async def test_a_batch_that_has_not_moved_for_longer_than_its_like_took_is_told_once():
    life = Life(terms=VendorTerms())
    await life.engine.open(T0)
    now = T0
    for number in range(20):  # each takes two minutes
        life.provider.then("poll", InProgress(0, 1), InProgress(0, 1), ended({request(number).id: Succeeded(1)}))
        await life.engine.collect([request(number)], now)
        await life.until(now, now + 3 * MINUTE)
        now += 10 * MINUTE
    assert not life.engine.batches
    life.provider.then("poll", *[InProgress(0, 2)] * 2, *[InProgress(1, 2)] * 1000)
    await life.engine.collect([request(100), request(101)], now)
    (event,) = await life.until(now, now + HOUR)
    assert (event.cause, event.batch) == ("slow", life.engine.batches[0])
    assert "has not moved for" in event.advice


async def test_results_that_cannot_be_collected_are_told_of_well_before_they_are_deleted():
    life = Life()
    refusing(life.provider)
    await life.begin(1)
    early = await life.until(T0, T0 + 11 * DAY, step=HOUR)
    assert not [each for each in early if isinstance(each, ResultsExpiring)]
    (event,) = [
        each for each in await life.until(T0 + 11 * DAY, T0 + 29 * DAY, step=HOUR) if isinstance(each, ResultsExpiring)
    ]
    assert (event.batch, event.requests) == (life.engine.batches[0], 1)
    assert 17 * 86400 < event.seconds_left <= 18 * 86400


async def test_a_process_that_opens_an_old_file_and_cannot_look_is_told_at_once():
    life = Life()
    refusing(life.provider, 3)
    await life.begin(1)
    later = Life(life.store, life.provider)
    refusing(life.provider, 3)
    await later.engine.open(T0 + 20 * DAY)
    told = await later.until(T0 + 20 * DAY, T0 + 20 * DAY + MINUTE)
    assert [type(each) for each in told if isinstance(each, ResultsExpiring)] == [ResultsExpiring]


@pytest.mark.parametrize(("given", "days"), [(None, 30), (timedelta(days=2), 2)])
def test_results_live_as_long_as_the_provider_was_told(given, days):
    provider = OpenAIBatch(lambda: None, model="m", output_expires_after=given)
    assert terms_for(provider, "OpenAIBatch").keeps == days * 86400
