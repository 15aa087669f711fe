"""Nothing moves: told after an hour, and the end of a run where somebody has said so. Its time is an argument."""

from datetime import timedelta

import pytest
from fakes import T0, FakeProvider, FakeStore, request

from batch_bridge._core.models import InProgress
from batch_bridge._core.policy.flush_policy import FlushPolicy
from batch_bridge._engine import Engine, EngineSettings
from batch_bridge._engine.standstill import Standstill
from batch_bridge._ledger.ledger import Ledger
from batch_bridge.errors import ProviderUnavailable, Stalled
from batch_bridge.events import Stalled as StalledEvent

MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)


def after(minutes, limit=None, pause=MINUTE):
    """Return what stands still for so many minutes, with a failure in each."""
    still = Standstill(limit)
    for minute in range(minutes + 1):
        still.failed("a problem SECRET", "a problem", T0 + MINUTE * minute, pause)
    return still


def test_it_ends_after_its_time_and_says_why():
    assert after(9, 10 * MINUTE).given_up() is None
    assert after(10_000).given_up() is None, "it tries for ever"
    error = after(10, 10 * MINUTE).given_up()
    assert isinstance(error, Stalled)
    assert (error.seconds, error.problem) == (600.0, "a problem SECRET")
    assert "a problem SECRET" in str(error)
    assert "same command continues" in str(error)


def test_whatever_moves_begins_the_time_again():
    still = after(9, 10 * MINUTE)
    still.moved()
    still.failed("", "", T0 + 12 * MINUTE, MINUTE)
    assert still.given_up() is None


def test_a_machine_that_slept_has_not_stood_still():
    still = after(5, HOUR)
    still.failed("", "", T0 + 100 * HOUR, MINUTE)
    assert still.given_up() is None
    still.failed("", "", T0, MINUTE)
    assert still.given_up() is None, "nor has a clock that was set back"


def test_it_is_told_after_an_hour_and_then_ever_more_seldom():
    still, told = Standstill(), []
    for minute in range(24 * 60):
        still.failed("a problem", "a problem", T0 + MINUTE * minute, MINUTE)
        if (event := still.event("bridge")) is not None:
            told.append(event.seconds / 3600)
    assert told == [1, 2, 4, 8, 16]


def test_giving_up_is_told_once():
    still, told = Standstill(10 * MINUTE), []
    for minute in range(20):
        still.failed("a problem", "a problem", T0 + MINUTE * minute, MINUTE)
        told.append(still.event("bridge"))
    assert [each for each in told if each] == [StalledEvent(bridge="bridge", seconds=600.0, problem="a problem")]


@pytest.mark.parametrize("verb", ["prepare", "poll"])
async def test_an_engine_whose_calls_fail_stands_still_and_one_good_look_moves_it(verb, caplog):
    provider, told = FakeProvider(), []
    engine = Engine(
        "bridge",
        provider,
        FlushPolicy(max_age=0),
        Ledger(FakeStore(), "bridge"),
        EngineSettings(poll_interval=timedelta(minutes=1)),
    )
    engine.on_event = told.append
    engine.standstill = Standstill(2 * HOUR)
    await engine.open(T0)
    await engine.collect([request(1)], T0)
    now, ended = T0, None
    for _ in range(300):
        provider.then(verb, ProviderUnavailable("no such host"))
        now = (await engine.tick(now)).wake_at
        ended = ended or (engine.standstill.given_up() and now)
    assert timedelta(hours=2) <= ended - T0 <= timedelta(hours=2.1)
    assert [round(each.seconds / 3600) for each in told if isinstance(each, StalledEvent) and not each.batch] == [1, 2]
    assert "no such host" in str(engine.standstill.given_up())
    assert len([each for each in caplog.records if "nothing has moved" in each.getMessage()]) == 2
    provider.batches.clear() if verb == "prepare" else None
    provider.then("poll", InProgress())
    await engine.tick(now)
    await engine.tick(now + MINUTE)
    assert engine.standstill.given_up() is None
