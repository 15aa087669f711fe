"""A bridge polls less often where webhooks tell it of the ends of batches, and as usual once one did not."""

from datetime import timedelta

import pytest
from fakes import T0, FakeProvider, FakeStore, request

from batch_bridge._core.models import InProgress, Intent, Terms
from batch_bridge._core.policy.flush_policy import FlushPolicy
from batch_bridge._engine import Engine, EngineSettings
from batch_bridge._engine.flights.flight import LONGEST_PAUSE, Flight
from batch_bridge._engine.flights.poll_pace import MOST, PollPace
from batch_bridge._ledger.ledger import Ledger

SECOND = timedelta(seconds=1)
USUAL = timedelta(minutes=5)


def a_flight(*, told=None, asked=False, lane="", **changes):
    batch = Intent("key", ("a",), "", T0, None, terms=Terms(T0, 1, lane))
    return Flight(batch, T0, SECOND, told_at=told, asked=asked, **changes)


def pace_after(told=0, lane="", usual=USUAL):
    pace = PollPace(usual)
    for _ in range(told):
        assert not pace.ended(a_flight(told=T0, lane=lane), T0 + SECOND)
    return pace


@pytest.mark.parametrize(("told", "factor"), [(0, 1), (1, 2), (2, 4), (3, 4), (100, MOST)])
def test_each_end_that_a_webhook_told_of_doubles_the_interval_up_to_a_bound(told, factor):
    assert pace_after(told).interval("") == USUAL * factor


@pytest.mark.parametrize("usual", [timedelta(minutes=40), timedelta(hours=2)])
def test_it_is_an_hour_at_most_unless_the_bridge_is_slower_itself(usual):
    assert pace_after(9, usual=usual).interval("") == max(usual, LONGEST_PAUSE)


def test_an_end_that_polling_found_first_brings_the_usual_interval_back():
    pace = pace_after(9)
    assert pace.ended(a_flight(), T0)
    assert pace.interval("") == USUAL
    assert not pace.ended(a_flight(), T0), "it was the usual one already"


def test_a_webhook_of_long_ago_told_of_something_else():
    pace = pace_after(9)
    assert pace.ended(a_flight(told=T0), T0 + USUAL + SECOND)


@pytest.mark.parametrize("flight", [a_flight(asked=True), a_flight(stopping=True), a_flight(is_late=True)])
def test_an_end_that_somebody_looked_for_or_brought_about_says_nothing(flight):
    pace = pace_after(1)
    assert not pace.ended(flight, T0)
    assert pace.interval("") == USUAL * 2


def test_lanes_are_told_apart():
    pace = pace_after(2, lane="batch")
    assert not pace.ended(a_flight(lane="flex"), T0)
    assert (pace.interval("batch"), pace.interval("flex")) == (USUAL * 4, USUAL)


def test_a_pause_that_a_provider_asked_for_is_kept():
    pace, due = PollPace(USUAL), T0 + timedelta(minutes=50)
    flight, refused = a_flight(), a_flight(failures=1)
    for each in (flight, refused):
        each.due, each.pause = due, USUAL * 4
        pace.restore(each, T0)
    assert (flight.due, flight.pause) == (T0 + USUAL, USUAL)
    assert refused.due == due


class Held(FakeProvider):
    """Its batches end when they are released."""

    def __init__(self):
        super().__init__()
        self.done = set()

    async def poll(self, handle, requests):
        self.calls.append(("poll", handle))
        return await super().poll(handle, requests) if handle in self.done else InProgress(0, 1)

    def polls(self, handle):
        return self.calls.count(("poll", handle))


class World:
    """An engine under virtual time."""

    def __init__(self):
        self.provider = Held()
        ledger = Ledger(FakeStore(), "bridge")
        self.engine = Engine(
            "bridge", self.provider, FlushPolicy(max_requests=1), ledger, EngineSettings(poll_interval=USUAL)
        )
        self.now = T0

    async def send(self, number):
        await self.engine.collect([request(number)], self.now)
        await self.run(SECOND)
        return list(self.provider.batches)[-1]

    async def run(self, span):
        """Tick whenever the engine wants to, until so much time has passed."""
        until = self.now + span
        while self.now < until:
            tick = await self.engine.tick(self.now)
            self.now = min(until, max(tick.wake_at or until, self.now + SECOND))

    async def polls_in(self, handle, span):
        before = self.provider.polls(handle)
        await self.run(span)
        return self.provider.polls(handle) - before


async def test_an_engine_polls_seldom_while_webhooks_come_and_as_usual_after_one_that_did_not():
    world = World()
    await world.engine.open(T0)
    handles = [await world.send(number) for number in range(4)]
    *first, missed, last = handles
    await world.run(timedelta(hours=1))
    usual = await world.polls_in(last, timedelta(hours=2))
    assert usual in {23, 24, 25}
    for handle in first:
        world.provider.done.add(handle)
        world.engine.hear([handle], world.now)
        await world.run(SECOND)
    assert len(world.engine.flights) == 2
    await world.run(timedelta(hours=1))
    assert await world.polls_in(last, timedelta(hours=2)) in {5, 6, 7}, "a quarter of the usual"
    world.provider.done.add(missed)  # and no webhook comes
    await world.run(MOST * USUAL)
    assert [flight.batch.handle for flight in world.engine.flights] == [last], "polling is the safety net"
    assert await world.polls_in(last, timedelta(hours=2)) in {23, 24, 25}
