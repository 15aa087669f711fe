"""The flex tier's calls: as many at a time as there is room for, and refusals that are no attempts."""

import asyncio
import random
from datetime import timedelta

import pytest
from test_realtime_provider import Vendor, asked, begin, settle
from virtual import clock, run

from batch_bridge._core.models import Errored, Succeeded
from batch_bridge.providers._realtime.level import FindingLevel
from batch_bridge.providers._realtime.provider import Reply, TryLater

FULL = Errored("Resource Unavailable", code="resource_unavailable", status_code=429, retryable=True)
BROKEN = Errored("server error", status_code=500, retryable=True)


class Tier(Vendor):
    """A tier that answers as many calls at a time as it has room for, by the time on the clock."""

    def __init__(self, room, seconds=1.0):
        super().__init__(seconds=seconds)
        self.room = room
        self.refused = 0

    async def answer(self, request):
        number = request.item["n"]
        self.calls[number] += 1
        if self.running >= self.room(clock()):
            self.refused += 1
            raise TryLater(FULL)
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await asyncio.sleep(self.seconds)
        finally:
            self.running -= 1
        self.times.append((number, clock()))
        return Reply(Succeeded(number))


def answered(tier, count, **options):
    async def main():
        return await settle(tier.provider(tier="flex", **options), asked(count))

    outcomes, _ = run(main)
    return outcomes


def test_places_rise_while_calls_are_answered_up_to_the_most():
    tier = Tier(lambda now: 1000)
    outcomes = answered(tier, 1000, concurrency=64)
    assert all(isinstance(each, Succeeded) for each in outcomes)
    assert (tier.most, tier.refused) == (64, 0)


def test_places_find_the_room_that_there_is():
    tier = Tier(lambda now: 20)
    answered(tier, 2000, concurrency=200)
    assert tier.most == 20
    assert tier.refused < 1000  # fewer than one for two answers
    assert tier.times[-1][1] < 2.5 * 2000 / 20  # and at least two fifths of the room was used


def test_a_minute_without_room_costs_few_calls_and_is_over_within_ten_seconds():
    tier = Tier(lambda now: 0 if now < 60 else 64)
    answered(tier, 500, concurrency=64)
    first = tier.times[0][1]
    assert 60 <= first < 70
    assert tier.refused < 40
    assert sum(now < 80 for _, now in tier.times) > 300


class Half(Tier):
    """A tier that refuses half of the calls for a minute."""

    def __init__(self):
        super().__init__(lambda now: 64)
        self.chance = random.Random(20)

    async def answer(self, request):
        if clock() < 60 and self.chance.random() < 0.5:
            self.calls[request.item["n"]] += 1
            self.refused += 1
            raise TryLater(FULL)
        return await super().answer(request)


def test_a_minute_in_which_half_of_the_calls_are_refused_costs_few_calls_and_is_over_within_ten_seconds():
    tier = Half()
    outcomes = answered(tier, 1000, concurrency=64)
    assert all(isinstance(each, Succeeded) for each in outcomes)
    assert sorted(number for number, _ in tier.times) == list(range(1000)), "each was answered, and so charged, once"
    assert tier.refused > 10
    assert tier.calls.total() <= 2 * 1000
    assert sum(70 <= now < 71 for _, now in tier.times) >= 60, "64 calls of a second each run at a time again"


def test_a_day_of_refusals_in_a_row_is_a_call_every_few_seconds():
    level = FindingLevel(64)
    pauses = [level.refused(TryLater(FULL), level.era) for _ in range(15_000)]
    assert all(0.25 <= each <= 8 for each in pauses)
    assert sum(pauses[:40]) < 90
    assert sum(pauses) > 86_400 * 0.9


def test_refusals_are_no_attempts_and_other_failures_are():
    vendor = Vendor({0: [TryLater(FULL)] * 30 + [Reply(Succeeded("late"))], 1: [TryLater(BROKEN)]})

    async def main():
        return await settle(vendor.provider(tier="flex", attempts=3), asked(2))

    (late, broken), _ = run(main)
    assert late == Succeeded("late")
    assert broken.message == "server error (tried 3 times)"
    assert vendor.calls == {0: 31, 1: 3}


def test_who_is_refused_for_longer_than_the_patience_fails_and_may_ask_again():
    vendor = Vendor({0: [TryLater(FULL)]})

    async def main():
        return await settle(vendor.provider(tier="flex", patience=timedelta(hours=1)), asked(1))

    (outcome,), _ = run(main)
    assert outcome.retryable
    assert outcome.message.startswith("Resource Unavailable (refused for 1:00")
    assert vendor.calls[0] < 3600 / 4 + 10  # a call every eight seconds, at most twice as often


def test_calls_of_before_a_cut_do_not_cut_again():
    level = FindingLevel(64)
    level.places = 64
    pauses = [level.refused(TryLater(FULL), 0) for _ in range(10)]
    assert level.places == 32
    assert [each is None for each in pauses] == [False] + [True] * 9
    assert level.refused(TryLater(FULL), level.era) >= 0.5
    assert level.places == 16
    assert level.refused(TryLater(BROKEN, 3.0), level.era) == 3.0
    assert level.places == 16


class Among(Vendor):
    """Answers all requests but the first ones, which it always refuses, and at once."""

    def __init__(self, bad):
        super().__init__({number: [TryLater(FULL)] for number in range(bad)}, lambda number: float(number >= bad))


@pytest.mark.parametrize(("bad", "concurrency"), [(1, 1), (5, 64)])
def test_a_call_that_is_always_refused_lets_those_that_wait_go_first(bad, concurrency):
    vendor = Among(bad)

    async def main():
        provider = vendor.provider(tier="flex", concurrency=concurrency)
        await begin(provider, asked(30))
        await asyncio.sleep(60)
        assert {number for number, _ in vendor.times} == set(range(30))
        assert max(vendor.calls[number] for number in range(bad)) < 30
        await provider.aclose()

    run(main)


def test_requests_that_are_always_refused_leave_room_for_others():
    vendor = Among(5)

    async def main():
        provider = vendor.provider(tier="flex", concurrency=8)
        await begin(provider, asked(5))
        await asyncio.sleep(600)
        assert provider.room == 11
        later = asked(16)[5:]
        outcomes, _ = await settle(provider, later)
        assert outcomes == [Succeeded(each.item["n"]) for each in later]
        await provider.aclose()

    run(main)


@pytest.mark.parametrize("turns", range(5))
def test_a_place_whose_taker_is_cancelled_goes_to_the_next(turns):
    level, done = FindingLevel(1), []

    async def call(number, gate=None):
        async with level:
            if gate is not None:
                await gate.wait()
            done.append(number)

    async def main():
        gate = asyncio.Event()
        first = asyncio.create_task(call(0, gate))
        await asyncio.sleep(0)
        others = [asyncio.create_task(call(number)) for number in (1, 2, 3)]
        await asyncio.sleep(0.01)
        gate.set()
        for _ in range(turns):
            await asyncio.sleep(0)
        for each in others[:2]:
            each.cancel()
        await asyncio.wait_for(asyncio.gather(first, *others, return_exceptions=True), 1)

    run(main)
    assert (done[0], done[-1]) == (0, 3)
