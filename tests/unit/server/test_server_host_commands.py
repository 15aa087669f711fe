"""What a bridge on a server is told to do: given up by thread, request, batch or altogether, and never lost."""

import pytest
from fakes import MOMENTS, Crash, T, U, V
from hosted import HOUR, Hosted

from batch_bridge._core.models import Cancelled
from batch_bridge._server import commands as command_log
from batch_bridge.errors import CommandError

A, B, C, D = ("aa" * 16, "bb" * 16, "cc" * 16, "dd" * 16)


@pytest.mark.parametrize(
    ("given", "commands"),
    [
        ({}, {}),
        ({"wake": "bell", "flush": False, "replay": [], "cancel": None, "id": ""}, {}),
        ({"flush": True}, {"flush": True}),
        ({"replay": "all"}, {"replay": "all"}),
        ({"replay": "x"}, {"replay": ["x"]}),
        ({"replay": ["x", "y", "x"]}, {"replay": ["x", "y"]}),
        ({"cancel": "all"}, {"cancel": "all"}),
        ({"cancel": {"thread_id": "t"}, "flush": True}, {"cancel": {"thread_id": ["t"]}, "flush": True}),
        ({"cancel": {"request_id": ["x", "y"]}}, {"cancel": {"request_id": ["x", "y"]}}),
        ({"cancel": {"batch": "bb-1"}}, {"cancel": {"batch": ["bb-1"]}}),
    ],
)
def test_what_may_be_ordered(given, commands):
    assert command_log.read(given) == commands


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"cancl": "all"}, "no command 'cancl'"),
        ({"cancel": {}}, "one thing"),
        ({"cancel": True}, "one thing"),
        ({"cancel": "everything"}, "one thing"),
        ({"cancel": {"thread": "t"}}, "there is no 'thread'"),
        ({"cancel": {"thread_id": "t", "batch": "b"}}, "one thing"),
        ({"cancel": {"thread_id": []}}, "not a list of ids"),
        ({"cancel": {"thread_id": ""}}, "not a list of ids"),
        ({"cancel": {"thread_id": [3]}}, "not a list of ids"),
        ({"cancel": {"thread_id": None}}, "not a list of ids"),
        ({"replay": True}, "not a list of ids"),
        ({"cancel": "all", "id": 7}, "not a valid command id"),
        ({"replay": {"a": 1}}, "not a list of ids"),
    ],
)
def test_what_is_no_order_says_what_is(given, words):
    with pytest.raises(CommandError, match=words):
        command_log.read(given)


async def four(*, sent: bool) -> Hosted:
    """Two requests of one thread, and one of each of two others, that wait or are on their way."""
    hosted = Hosted(max_age=HOUR)
    for thread, ids in {T: (A, B), U: (C,), V: (D,)}.items():
        await hosted.park(thread, *ids)
    if sent:
        await hosted.command("go", flush=True)
    await hosted.tick()
    assert hosted.counts() == ({"go": 4} if sent else {})
    return hosted


@pytest.mark.parametrize("sent", [False, True])
@pytest.mark.parametrize(
    ("given", "ended"),
    [
        ({"thread_id": T}, {A, B}),
        ({"thread_id": [T, V, "nobody"]}, {A, B, D}),
        ({"request_id": C}, {C}),
        ({"request_id": [A, D, "unknown"]}, {A, D}),
        ("all", {A, B, C, D}),
        ({"thread_id": "nobody"}, set()),
        ({"request_id": "unknown"}, set()),
        ({"batch": "bb-unknown"}, set()),
    ],
)
async def test_what_is_given_up_is_told_to_who_waited(given, ended, sent):
    hosted = await four(sent=sent)
    await hosted.command("stop", cancel=given)
    await hosted.tick()
    assert hosted.counts()["stop"] == len(ended)
    told = {each: outcome for held in hosted.server.resumed.values() for each, outcome in held.items()}
    whole = ended & {C, D} | (ended & {A, B} if {A, B} <= ended else set())  # an interrupt is answered as a whole
    assert told.keys() == whole
    assert all(isinstance(each, Cancelled) for each in told.values())
    assert set(hosted.rows("outcomes")) == ended
    stopped = hosted.provider.cancelled()
    assert bool(stopped) == (sent and ended == {A, B, C, D})
    if not sent:
        await hosted.command("go", flush=True)
        await hosted.tick()
        assert hosted.counts()["go"] == 4 - len(ended)
    assert not hosted.rows("commands")


async def test_a_batch_is_given_up_by_our_key_of_it():
    hosted = await four(sent=True)
    (key,) = hosted.rows("batches")
    await hosted.command("stop", cancel={"batch": key})
    await hosted.tick()
    assert hosted.counts()["stop"] == 4
    assert hosted.provider.cancelled() == ["batch-2"]


async def test_another_process_knows_whose_the_requests_on_their_way_are():
    hosted = await four(sent=True)
    other = hosted.host()
    await hosted.command("stop", other, cancel={"thread_id": T})
    await hosted.tick(other)
    assert hosted.counts()["stop"] == 2
    assert not hosted.provider.cancelled(), "others wait for the batch"
    third = hosted.host()
    await hosted.command("stop the rest", third, cancel={"thread_id": [U, V]})
    await hosted.tick(third)
    assert hosted.provider.cancelled()
    assert set(hosted.server.resumed) == {T, U, V}


async def test_an_order_is_there_while_another_tick_runs():
    hosted = await four(sent=True)
    other = hosted.host()
    assert await other.begin(hosted.store, "it goes on")
    await hosted.command("stop", cancel="all")
    assert not await hosted.tick(), "the other one has the lease"
    await other.collect("")  # its next pass
    await other.end()
    assert other.commands([])[0]["requests"] == 4
    await hosted.tick()
    assert "stop" not in hosted.counts(), "done once"
    assert set(hosted.server.resumed) == {T, U, V}


async def test_what_is_noted_and_not_parked_yet_is_given_up_once_it_is():
    hosted = Hosted(max_age=HOUR)
    await hosted.note(T, A)
    hosted.server.put(T, status="busy")
    await hosted.command("stop", cancel={"thread_id": T})
    await hosted.tick()
    (shown,) = hosted.shown
    assert (shown["requests"], shown["waits_for"]) == (0, {"thread_id": [T]})
    assert hosted.rows("commands")
    hosted.server.put(T, A)
    await hosted.tick(hosted.host())
    assert hosted.counts() == {"stop": 1}
    assert not hosted.rows("commands")
    await hosted.park(T, B)  # asked after the order
    await hosted.tick(hosted.host())
    ((queued, *_),) = hosted.rows("queue")["000000000000"]["entries"]
    assert queued == B


async def test_all_means_all_that_was_asked_by_then():
    hosted = Hosted(max_age=HOUR)
    await hosted.park(T, A)
    await hosted.note(U, B)
    hosted.server.put(U, status="busy")
    await hosted.command("stop", cancel="all")
    await hosted.tick()
    assert hosted.shown[0]["requests"] == 1
    assert hosted.shown[0]["waits_for"] == {"thread_id": [U]}
    await hosted.park(V, C)
    hosted.server.put(U, B)
    await hosted.tick()
    assert hosted.counts() == {"stop": 2}
    assert set(hosted.server.resumed) == {T, U}


@pytest.mark.parametrize("given", ["all", {"thread_id": T}, {"request_id": A}])
async def test_what_is_said_after_the_order_is_not_meant(given):
    hosted = Hosted(max_age=HOUR)
    await hosted.command("stop", cancel=given)
    await hosted.note(T, A)
    hosted.server.put(T, status="busy")
    await hosted.tick()
    assert hosted.counts() == {"stop": 0}
    assert not hosted.rows("commands")
    hosted.server.put(T, A)
    await hosted.tick()
    assert hosted.here.status()["waiting"] == 1


async def test_a_request_that_is_noted_and_not_parked_is_given_up_by_its_id():
    hosted = Hosted(max_age=HOUR)
    await hosted.note(T, A)
    hosted.server.put(T, status="busy")
    await hosted.command("stop", cancel={"request_id": A})
    await hosted.tick()
    hosted.server.put(T, A)
    await hosted.tick()
    assert hosted.counts() == {"stop": 1}


async def test_a_run_that_the_server_repeats_does_not_give_up_what_was_asked_since():
    hosted = await four(sent=False)
    await hosted.command("run 7", cancel={"thread_id": U})
    await hosted.tick()
    assert hosted.counts() == {"run 7": 1}
    await hosted.park(U, "ee" * 16)  # it has caught the error, and asks for something else
    await hosted.tick()
    await hosted.command("run 7", cancel={"thread_id": U})
    await hosted.tick()
    assert hosted.counts() == {"run 7": 1}
    assert not hosted.rows("commands")
    await hosted.command("run 8", cancel={"thread_id": U})
    await hosted.tick()
    assert hosted.counts() == {"run 7": 1, "run 8": 1}


@pytest.mark.parametrize("sent", [False, True])
@pytest.mark.parametrize("moment", MOMENTS)
async def test_a_process_that_dies_anywhere_after_the_order_was_taken_loses_nothing(sent, moment):
    step = 0
    while True:
        step += 1
        hosted = await four(sent=sent)
        await hosted.command("stop", cancel="all")
        hosted.provider.fuse = hosted.store.fuse
        hosted.store.fuse.arm(step, moment)
        try:
            await hosted.tick()
        except Crash:
            hosted.store.fuse.revive()
        else:
            break
        other = hosted.host()
        other._lease._read = _ended_lease(other._lease._read)
        await hosted.tick(other)
        await hosted.tick(other)
        assert set(hosted.server.resumed) == {T, U, V}, step
        outcomes = hosted.rows("outcomes")
        assert set(outcomes) == {A, B, C, D}
        assert all('"cancelled"' in row["text"] for row in outcomes.values())
        assert not hosted.rows("commands")
        assert not hosted.rows("batches")
        assert not sent or len(set(hosted.provider.cancelled())) == 1
    assert step > 5


def _ended_lease(read):
    """Return what reads a lease whose holder has died, and let it run out."""

    async def row():
        held = await read()
        return None if held is None else {**held, "running": False}

    return row


async def test_a_flush_outlives_a_tick_that_fails():
    hosted = Hosted(max_age=HOUR)
    await hosted.park(T, A)
    await hosted.command("go", flush=True)
    fail = hosted.here._intake.drop_abandoned

    async def failing(*_, **__):
        raise RuntimeError("the server is down")

    hosted.here._intake.drop_abandoned = failing
    with pytest.raises(RuntimeError):
        await hosted.tick()
    hosted.here._intake.drop_abandoned = fail
    await hosted.here.fail(RuntimeError())
    await hosted.tick()
    assert hosted.counts() == {"go": 1}
    await hosted.park(T, B)
    await hosted.tick()
    assert len(hosted.provider.batches) == 1, "what came after the order waits for its time"


async def test_dead_letters_are_replayed_once():
    hosted = Hosted()
    hosted.provider.stuck = False
    await hosted.park(T, A)
    await hosted.tick()
    await hosted.here.begin(hosted.store, "next")
    await hosted.here.advance()
    del hosted.server.rows[T]
    await hosted.here.deliver()
    await hosted.here.end()
    assert hosted.here.status()["dead_letters"]
    hosted.server.put(T, A)
    await hosted.command("again", replay="all")
    await hosted.tick()
    assert hosted.counts() == {"again": 1}
    assert set(hosted.server.resumed) == {T}


async def test_what_is_shown_is_short_and_the_last():
    hosted = Hosted(max_age=HOUR)
    for number in range(30):
        await hosted.command(f"o{number}", cancel={"thread_id": [f"{number} {'x' * 500}"]})
    await hosted.tick()
    assert len(hosted.shown) == 20
    assert hosted.shown[-1]["id"] == "o29"
    assert all(len(each["what"]) < 250 for each in hosted.shown)


async def test_what_was_obeyed_is_forgotten_in_time():
    hosted = await four(sent=True)
    await hosted.command("stop", cancel="all")
    await hosted.tick()
    assert "stop cancel" in hosted.rows("obeyed")
    hosted.here._executor._tidy_at = None
    hosted.here._executor._remembered = -HOUR
    await hosted.tick()
    assert not hosted.rows("obeyed")
