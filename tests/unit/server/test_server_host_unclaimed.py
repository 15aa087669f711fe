"""Answers that no wait asks for any more, on a server: counted once, in the bridge's state, until their retention."""

import logging
from datetime import UTC, datetime, timedelta

from fakes import T
from hosted import Hosted

from batch_bridge._core.payload.interrupt_payload import read_author
from batch_bridge._node.platform.inbox import note_row


async def leave(hosted, thread, *ids, idle=False, unclaimed=()):
    hosted.server.put(thread, *ids)
    await hosted.store.rows.abatch([note_row("bridge", thread, "", ids, idle=idle, unclaimed=unclaimed)])


async def test_they_are_counted_once_and_said_once_and_the_next_process_knows_them(caplog):
    hosted = Hosted()
    await leave(hosted, T, "new", unclaimed=["old"])
    with caplog.at_level(logging.WARNING, "batch_bridge"):
        await hosted.tick()
        await leave(hosted, T, "newer", unclaimed=["old", "new"])
        await hosted.tick()
    assert hosted.here.status()["unclaimed"] == 2
    assert [each.args[:2] for each in caplog.records if "paid answer" in each.getMessage()] == [(T, 1), (T, 1)]
    other = hosted.host()
    assert await other.begin(hosted.store, "another")
    assert other.status()["unclaimed"] == 2


async def test_they_go_with_their_retention():
    hosted = Hosted()
    await leave(hosted, T, "new", unclaimed=["old"])
    await hosted.tick()
    records = hosted.here._records
    at = next(at for _, (_, at) in records.unclaimed.items())
    await records.forget_unclaimed(datetime.fromtimestamp(at, UTC))
    assert len(records.unclaimed) == 1
    await records.forget_unclaimed(datetime.fromtimestamp(at, UTC) + timedelta(seconds=1))
    assert len(records.unclaimed) == 0


async def test_what_another_process_has_asked_for_is_no_strike():
    hosted = Hosted()
    strikes = hosted.here._outbox._strikes
    for number, (idle, expected) in enumerate([(True, 1), (None, 1), (True, 2), (None, 2), (False, 0)]):
        await leave(hosted, T, f"r{number}", idle=idle)
        await hosted.tick()
        assert strikes.get(T, 0) == expected


async def test_a_thread_is_resumed_with_who_has_asked():
    hosted = Hosted()
    hosted.server.put(T, "r")
    hosted.server.rows[T]["interrupts"]["task"][0]["value"]["by"] = "a process"
    await hosted.note(T, "r")
    await hosted.tick()
    hosted.provider.stuck = False
    (flight,) = hosted.here._engine._state.flights
    flight.due = flight.due.replace(year=2000)
    await hosted.tick()
    (run,) = [each for each in hosted.server.created if "command" in each]
    assert run["metadata"]["batch_bridge_by"] == ["a process"]
    assert [read_author(each) for each in run["command"]["resume"].values()] == ["a process"]
