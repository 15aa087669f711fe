"""What the engine does about batches that cannot be looked at, and about those that run on and on. Its time is an argument."""

from datetime import timedelta

import pytest
from fakes import T0, Created, FakeProvider, FakeStore, ended, request

from batch_bridge._core.models import Errored, InProgress, Succeeded
from batch_bridge._core.policy.flush_policy import FlushPolicy
from batch_bridge._engine import Engine, EngineSettings
from batch_bridge._ledger.ledger import Ledger
from batch_bridge._ledger.make import durable
from batch_bridge.errors import BadPollResultError, ProviderUnavailable, SubmissionUnknown

ASKED = request(1)
HOUR = timedelta(hours=1)


class Clock:
    """One bridge with one batch, and a clock that is moved by hand."""

    ledger = Ledger

    def __init__(self, **options):
        self.provider, self.store, self.now, self.options = FakeProvider(), FakeStore(), T0, options
        self.boot()

    def boot(self):
        self.engine = Engine(
            "bridge",
            self.provider,
            FlushPolicy(max_age=0),
            self.ledger(self.store, "bridge"),
            EngineSettings(poll_interval=timedelta(seconds=60), **self.options),
        )

    async def ask(self):
        await self.engine.open(self.now)
        await self.engine.collect([ASKED], self.now)
        return await self.engine.tick(self.now)

    async def at(self, after, *replies):
        """Tick once, so long after the start."""
        self.now = T0 + after
        self.provider.then("poll", *replies)
        return await self.engine.tick(self.now)

    async def outcome(self):
        return (await self.engine.outcomes([ASKED.id])).get(ASKED.id)


BUG = ValueError("a bug")


async def test_a_batch_is_given_up_after_so_long_without_one_good_look():
    clock = Clock(poll_patience=timedelta(hours=24))
    await clock.ask()
    for hours in range(1, 25):
        await clock.at(HOUR * hours, BUG)
        assert await clock.outcome() is None
    await clock.at(HOUR * 25, BUG)
    outcome = await clock.outcome()
    assert isinstance(outcome, Errored)
    assert outcome.code == "poll_failed"
    assert not outcome.retryable, "it may have been billed"


async def test_one_good_look_starts_the_patience_again():
    clock = Clock(poll_patience=timedelta(hours=24))
    await clock.ask()
    for hours in range(1, 100):
        await clock.at(HOUR * hours, BUG if hours % 20 else InProgress())
    assert await clock.outcome() is None
    await clock.at(HOUR * 101, ended({ASKED.id: Succeeded("late")}))
    assert await clock.outcome() == Succeeded("late")


async def test_a_machine_that_slept_has_not_looked_in_vain():
    clock = Clock(poll_patience=timedelta(hours=24))
    await clock.ask()
    await clock.at(HOUR * 72, BUG)
    assert await clock.outcome() is None


async def test_a_provider_that_says_that_it_is_out_of_reach_is_waited_for():
    clock = Clock(poll_patience=timedelta(hours=24))
    await clock.ask()
    for hours in range(1, 100):
        await clock.at(HOUR * hours, ProviderUnavailable("503"))
    assert await clock.outcome() is None


async def test_a_process_that_starts_again_has_patience_anew():
    clock = Clock(poll_patience=timedelta(hours=24))
    await clock.ask()
    for hours in range(1, 24):
        await clock.at(HOUR * hours, BUG)
    clock.boot()
    await clock.engine.open(clock.now)
    await clock.at(HOUR * 30, BUG)
    assert await clock.outcome() is None
    await clock.at(HOUR * 31, ended({ASKED.id: Succeeded("found")}))
    assert await clock.outcome() == Succeeded("found")
    assert [verb for verb, _ in clock.provider.calls].count("submit") == 1


async def test_a_result_of_the_wrong_form_passes_and_its_batch_stays_in_flight():
    clock = Clock()
    await clock.ask()
    with pytest.raises(BadPollResultError):
        await clock.at(HOUR, BadPollResultError("poll() returned a str"))
    assert (clock.engine.in_flight, await clock.outcome()) == (1, None)
    await clock.at(HOUR * 2, ended({ASKED.id: Succeeded("mended")}))
    assert await clock.outcome() == Succeeded("mended")


async def test_what_is_in_flight_for_long_is_told_and_told_seldom(caplog):
    clock = Clock()
    await clock.ask()
    for minutes in range(1, 24 * 60):
        await clock.at(timedelta(minutes=minutes), InProgress(3, 7))
    told = [record.getMessage() for record in caplog.records if "in flight since" in record.getMessage()]
    assert len(told) == 5, "after 1, 2, 4, 8 and 16 hours"
    assert "in flight since 2030-" in told[0]
    assert "with 1 requests, 3 of them done" in told[0]


async def test_what_no_process_looked_at_is_not_looked_at_in_vain():
    """A machine that slept over the week-end, in the middle of a failure, has its patience still."""
    clock = Clock(poll_patience=timedelta(hours=24))
    await clock.ask()
    await clock.at(HOUR, BUG)
    await clock.at(HOUR * 64, BUG)
    await clock.at(HOUR * 65, BUG)
    assert await clock.outcome() is None
    await clock.at(HOUR * 66, ended({ASKED.id: Succeeded("there")}))
    assert await clock.outcome() == Succeeded("there")


async def test_an_outage_of_the_provider_uses_up_no_patience():
    clock = Clock(poll_patience=timedelta(hours=24))
    await clock.ask()
    await clock.at(HOUR, BUG)
    for hours in range(2, 50):
        await clock.at(HOUR * hours, ProviderUnavailable("503"))
    await clock.at(HOUR * 50, BUG)
    assert await clock.outcome() is None


async def test_where_no_process_stays_the_patience_is_written_down():
    clock = Clock(poll_patience=timedelta(hours=24))
    clock.ledger = durable
    clock.boot()
    await clock.ask()
    for hours in range(1, 100):
        await clock.at(HOUR * hours, BUG)
        if await clock.outcome() is not None:
            break
        clock.boot()
        await clock.engine.open(clock.now)
    assert hours == 25
    assert (await clock.outcome()).code == "poll_failed"


async def test_a_good_look_is_written_down_where_a_bad_one_was():
    clock = Clock(poll_patience=timedelta(hours=2))
    clock.ledger = durable
    clock.boot()
    await clock.ask()
    for hours in range(1, 20):
        await clock.at(HOUR * hours, BUG if hours % 2 else InProgress())
        clock.boot()
        await clock.engine.open(clock.now)
    assert await clock.outcome() is None


async def test_a_kind_of_error_has_its_traceback_whichever_look_it_comes_in(caplog):
    clock = Clock()
    await clock.ask()
    for hours, error in enumerate([ValueError("a"), ValueError("b"), KeyError("c"), ValueError("d"), KeyError("e")], 1):
        await clock.at(HOUR * hours / 100, error)
    assert [record.exc_info[0] for record in caplog.records if record.exc_info] == [ValueError, KeyError]


async def test_of_many_that_are_in_flight_for_long_one_line_is_told(caplog):
    clock = Clock()
    await clock.ask()
    for number in range(2, 12):
        clock.provider.then("poll", *[InProgress()] * number)
        await clock.engine.collect([request(number)], clock.now)
        await clock.engine.tick(clock.now)
    await clock.at(HOUR, *[InProgress()] * 10, ProviderUnavailable("503"))
    told = [record.getMessage() for record in caplog.records if "in flight since" in record.getMessage()]
    assert len(told) == 1
    assert told[0].count("in flight since") == 5
    assert "and 6 more" in told[0]


async def test_a_find_that_raises_could_not_look_until_the_patience_has_run_out():
    clock = Clock(poll_patience=timedelta(hours=24))
    clock.provider.then("submit", Created(SubmissionUnknown("timed out")))
    await clock.ask()
    clock.provider.then("find", *[BUG] * 3)
    for hours in range(1, 4):
        await clock.at(HOUR * hours)
        assert await clock.outcome() is None
    await clock.at(HOUR * 4)
    await clock.at(HOUR * 5)
    assert await clock.outcome() == Succeeded(ASKED.item)
    assert [verb for verb, _ in clock.provider.calls].count("submit") == 1


@pytest.mark.parametrize("error", [BUG, ProviderUnavailable("503")], ids=["a bug", "an outage"])
async def test_what_was_read_before_the_reading_broke_off_is_told_at_once(error):
    """It is written, and paid for: who waits for it would wait for ever if somebody else were cancelled meanwhile."""
    clock, other = Clock(), request(2)
    await clock.engine.open(clock.now)
    await clock.engine.collect([ASKED, other], clock.now)
    await clock.engine.tick(clock.now, drain=True)
    tick = await clock.at(HOUR, ended({ASKED.id: Succeeded("read")}, breaks=error))
    assert tick.settled == (ASKED.id,)
    assert await clock.engine.cancel([other.id], clock.now) == {other.id}
    await clock.at(HOUR * 2, ended({ASKED.id: Succeeded("read"), other.id: Succeeded("too late")}))
    assert (clock.engine.in_flight, clock.engine.batches_in_flight) == (0, 0)
    assert await clock.outcome() == Succeeded("read")
