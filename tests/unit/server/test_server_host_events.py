"""A bridge on a server tells what happens, and wakes in time for what it has promised."""

import asyncio
import logging
from datetime import UTC, datetime, timedelta

import pytest
from fakes import FakeProvider, T, U
from hosted import HOUR, Hosted, StuckProvider

from batch_bridge import Bridge
from batch_bridge._core.models import Succeeded
from batch_bridge.events import Cancelled, DeadLetter, Delivered, Queued, Settled, Submitted

A, B = "aa" * 16, "bb" * 16


class Heard(list):
    def kinds(self):
        return [type(each) for each in self]


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_what_happens_is_told_in_order(kind, workers):
    heard = Heard()

    async def later(event):
        await asyncio.sleep(0)
        heard.append(event)

    hosted = Hosted(on_event=heard.append if kind == "sync" else later, callback_workers=workers)
    await hosted.park(T, A)
    await hosted.tick()
    hosted.provider.stuck = False
    await hosted.tick()
    assert heard.kinds() == [Queued, Submitted, Settled, Delivered]
    assert {each.bridge for each in heard} == {"bridge"}
    assert heard[-1] == Delivered(bridge="bridge", requests=(A,))


async def test_what_is_given_up_is_told_too():
    heard = Heard()
    hosted = Hosted(on_event=heard.append)
    await hosted.park(T, A)
    await hosted.tick()
    await hosted.command("stop", cancel="all")
    await hosted.tick()
    assert heard.kinds() == [Queued, Submitted, Settled, Cancelled, Settled, Delivered], "the batch ends with nothing"


async def test_a_thread_that_cannot_be_resumed_was_told_nothing():
    heard = Heard()
    hosted = Hosted(on_event=heard.append)
    hosted.provider.stuck = False
    await hosted.park(T, A)
    await hosted.tick()

    async def refuse(*_, **options):
        if "command" in options:
            raise RuntimeError("no such assistant")

    hosted.server.runs.create = refuse
    await hosted.tick()
    assert Delivered not in heard.kinds()


async def test_what_cannot_be_delivered_is_a_dead_letter_and_is_told_once():
    heard = Heard()
    hosted = Hosted(on_event=heard.append)
    hosted.provider.stuck = False
    await hosted.park(T, A)
    await hosted.tick()
    await hosted.here.begin(hosted.store, "next")
    await hosted.here.advance()
    del hosted.server.rows[T]
    await hosted.here.deliver()
    await hosted.here.end()
    await hosted.tick()
    (letter,) = [each for each in heard if isinstance(each, DeadLetter)]
    assert (letter.bridge, letter.thread, letter.requests) == ("bridge", T, (A,))
    assert "does not exist" in letter.reason
    assert Delivered not in heard.kinds()
    status = hosted.here.status()
    assert status["dead"] == len(status["dead_letters"]) == 1
    assert status["dead_letters"][0]["reason"] == letter.reason
    await hosted.command("again", replay="all")
    await hosted.tick()
    assert heard.kinds().count(DeadLetter) == 2, "it was tried again, and cannot be delivered"


async def test_a_callback_that_fails_is_told_once_and_harms_nothing(caplog):
    def fail(event):
        raise ValueError("of the user")

    hosted = Hosted(on_event=fail)
    hosted.provider.stuck = False
    for thread, request_id in ((T, A), (U, B)):
        await hosted.park(thread, request_id)
        await hosted.tick()
        await hosted.tick()
    assert set(hosted.server.resumed) == {T, U}
    errors = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert ["on_event failed" in record.getMessage() for record in errors] == [True]


async def test_a_callback_that_does_not_return_ends_no_tick():
    hosted = Hosted(on_event=lambda _: asyncio.Event().wait())
    hosted.here._listeners.patience = 0.01
    hosted.provider.stuck = False
    await hosted.park(T, A)
    await hosted.tick()
    await hosted.tick()
    assert set(hosted.server.resumed) == {T}


@pytest.mark.parametrize("workers", [0, 1])
def test_runs_on_loops_of_their_own_are_told(workers):
    heard = Heard()

    async def listen(event):
        heard.append(event)
        if len(heard) == 1 and not workers:
            await asyncio.Event().wait()  # its loop ends before it does

    hosted = Hosted(on_event=listen, callback_workers=workers)

    async def first():
        await hosted.park(T, A)
        await hosted.here.begin(hosted.store, "run")
        await hosted.here.collect("")
        await asyncio.sleep(0)
        await hosted.here.break_off()

    loop = asyncio.new_event_loop()
    loop.run_until_complete(first())
    loop.close()
    asyncio.run(hosted.tick())
    asyncio.run(hosted.tick())
    assert heard.kinds()[:2] == [Queued, Submitted]


@pytest.mark.parametrize(("option", "words"), [("on_event", "on_event=3"), ("callback_workers", "callback_workers=-1")])
def test_what_is_no_callback_is_refused(option, words):
    with pytest.raises(TypeError, match=rf"Bridge\({words}"):
        Bridge(StuckProvider(), **{option: 3 if option == "on_event" else -1})


# -- timers ----------------------------------------------------------------------------------------------------------


class Realtime(FakeProvider):
    """The one who is asked when it is late."""


def due(hosted: Hosted) -> float:
    """When the next tick is due, in seconds from now."""
    return hosted.server.created[-1]["after_seconds"] or 0


@pytest.mark.parametrize("sent", [False, True])
@pytest.mark.parametrize("own", [False, True])
async def test_a_tick_is_due_at_the_deadline_however_long_the_pauses_between_polls_are(own, sent):
    """The first look at a batch comes after 1/64 of the interval, here hours; the next sweep after ten minutes."""
    after = timedelta(minutes=5)
    hosted = Hosted(
        max_age=timedelta(0) if sent else None,
        poll_interval=timedelta(hours=640),
        deadline=None if own else after,
        fallback=Realtime(),
    )
    await hosted.note(T, A)
    hosted.server.put(T, A, deadline=after if own else None)
    await hosted.tick()
    await hosted.tick()
    assert bool(hosted.provider.batches) == sent
    assert 240 <= due(hosted) <= 300


async def test_without_a_deadline_it_is_the_poll_or_the_sweep():
    hosted = Hosted(poll_interval=timedelta(hours=640))
    await hosted.park(T, A)
    await hosted.tick()
    await hosted.tick()
    assert 540 <= due(hosted) <= 600


async def test_at_the_deadline_the_batch_is_cancelled_and_the_fallback_asked(monkeypatch):
    now = [datetime.now(UTC) + timedelta(minutes=1)]  # notes bear the real time
    monkeypatch.setattr("batch_bridge._server.tick._clock.now", lambda: now[0])
    fallback = Realtime()
    hosted = Hosted(poll_interval=timedelta(hours=640), deadline=HOUR, fallback=fallback)
    await hosted.park(T, A)
    await hosted.tick()
    await hosted.tick()
    now[0] += HOUR
    other = hosted.host()  # another worker
    for _ in range(4):
        await hosted.tick(other)
    assert hosted.provider.cancelled()
    assert [each.id for batch in fallback.batches.values() for each in batch.requests] == [A]
    assert hosted.server.resumed == {T: {A: Succeeded({"q": A})}}
