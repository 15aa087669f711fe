"""Rows of the store that somebody else has written: no thread of theirs becomes part of a path, and the tick goes on."""

from datetime import timedelta

import pytest
from fakes import FakeProvider, T, U
from hosted import Hosted
from langgraph.store.base import GetOp, PutOp

from batch_bridge._core.models import Errored, Succeeded
from batch_bridge._core.payload.interrupt_payload import is_uuid
from batch_bridge._node.platform.inbox import note_row
from batch_bridge._node.platform.keys import UNSIGNED, read_keys
from batch_bridge._server.users import Users
from batch_bridge.errors import LedgerError

A, B, C = ("aa" * 16, "bb" * 16, "cc" * 16)
NO_THREADS = ("x", "../threads/search", "..", "t?x=1", f"{T}/state", f"{{{T}}}", T.upper() + "\n", "0" * 36)
ROOT = ("batch_bridge", "bridge")


@pytest.mark.parametrize("thread", NO_THREADS)
def test_what_is_no_uuid_is_no_thread(thread) -> None:
    assert not is_uuid(thread)
    assert is_uuid(T)


@pytest.mark.parametrize("thread", NO_THREADS)
async def test_a_forged_note_is_set_aside_and_its_neighbours_are_served(thread) -> None:
    hosted = Hosted(provider=FakeProvider())
    await hosted.store.rows.abatch([note_row("bridge", thread, "", [A], idle=False)])
    await hosted.park(U, B)
    for _ in range(3):
        await hosted.tick()
    assert set(hosted.server.resumed) == {U}
    assert "could not be read and was set aside" in hosted.here.last_error
    assert not [run for run in hosted.server.created if run["thread"] == thread]


@pytest.mark.parametrize("thread", NO_THREADS[:4])
@pytest.mark.parametrize("kind", ["outbox", "dead", "unclaimed", "queue"])
async def test_a_forged_entry_of_a_set_is_set_aside(kind, thread) -> None:
    hosted = Hosted(provider=FakeProvider())
    entry = {
        "outbox": thread,
        "dead": [thread, "why", 1.0],
        "unclaimed": [thread, 1.0],
        "queue": [thread, "", 1, 1.0, ""],
    }
    row = {"entries": [[A, entry[kind]]]}
    await hosted.store.rows.abatch([PutOp((*ROOT, kind), "000000000007", row, index=False)])
    await hosted.park(U, B)
    for _ in range(3):
        await hosted.tick()
    await hosted.command("all", replay="all")
    await hosted.tick()
    assert set(hosted.server.resumed) == {U}
    assert hosted.provider.executed[A] == 0


async def test_a_forged_request_is_not_sent() -> None:
    hosted = Hosted(provider=FakeProvider())
    queued = {"entries": [[A, ["", "", 1, 1.0, ""]]]}
    request = {"thread": "../assistants", "text": "1"}
    await hosted.store.rows.abatch(
        [PutOp((*ROOT, "queue"), "000000000007", queued, index=False), PutOp((*ROOT, "requests"), A, request)]
    )
    await hosted.park(U, B)
    for _ in range(3):
        await hosted.tick()
    assert set(hosted.server.resumed) == {U}
    assert hosted.provider.executed[A] == 0


async def test_forged_rows_of_users_are_let_go_of() -> None:
    hosted = Hosted()
    hosted.server.put(T)
    store = hosted.store.rows
    await store.abatch([PutOp(("batch_bridge", "threads", "users"), each, {"user": "m"}) for each in ("../x", T)])
    await Users(store, hosted.here._access).forget_departed()
    rows = store.search(("batch_bridge", "threads", "users"))
    assert [row.key for row in rows] == [T]


# -- outcomes that cannot be read -----------------------------------------------------------------------------------


@pytest.mark.parametrize("row", [{"text": "{"}, {"text": "null"}, {"text": 7}, {}, {"status": "none"}, {"text": "[]"}])
async def test_an_outcome_that_cannot_be_read_is_an_error_to_who_waits_and_to_nobody_else(row) -> None:
    hosted = Hosted()
    await hosted.park(T, A)
    await hosted.park(U, B)
    await hosted.tick()
    hosted.provider.stuck = False
    here = hosted.here
    await here.begin(hosted.store, "half a tick")
    await here.collect("")
    await here.advance()  # outcomes are written, and nobody was told
    namespace = (*ROOT, "outcomes")
    (kept,) = await hosted.store.rows.abatch([GetOp(namespace, A)])
    assert kept is not None
    await hosted.store.rows.abatch([PutOp(namespace, A, row, index=False)])
    await here.deliver()
    (damaged,) = hosted.server.resumed[T].values()
    assert isinstance(damaged, Errored)
    assert (damaged.code, damaged.retryable) == ("outcome_damaged", True)
    assert isinstance(hosted.server.resumed[U][B], Succeeded)


# -- threads that parked before there were signatures ---------------------------------------------------------------


async def two_unsigned(monkeypatch, before: str | None) -> Hosted:
    """One thread that parked before noon of a day in the future, and one after it; neither has signed."""
    if before is not None:
        monkeypatch.setenv(UNSIGNED, before)
    hosted = Hosted(provider=FakeProvider())
    for thread, request, at in ((T, A, "2998-01-01T11:59:00+00:00"), (U, B, "2998-01-01T12:01:00+00:00")):
        await hosted.park(thread, request)
        hosted.server.rows[thread]["updated_at"] = at
    for _ in range(3):
        await hosted.tick()
    return hosted


@pytest.mark.parametrize(
    ("before", "served"),
    [
        (None, set()),
        ("", set()),
        ("2998-01-01T12:00:00Z", {T}),
        ("2998-01-01T12:00:00", {T}),
        ("2998-01-01T14:00:00+02:00", {T}),
        ("2998-01-02", {T, U}),
        ("2001-01-01", set()),
    ],
)
async def test_threads_that_parked_before_a_time_need_no_signature(monkeypatch, before, served) -> None:
    hosted = await two_unsigned(monkeypatch, before)
    assert set(hosted.server.resumed) == served


async def test_a_time_in_the_past_takes_nothing_from_those_before_there_was_a_key(monkeypatch) -> None:
    monkeypatch.setenv(UNSIGNED, "2001-01-01")
    hosted = Hosted(provider=FakeProvider())
    keys = await read_keys(hosted.store.rows)
    await hosted.park(T, A)
    hosted.server.rows[T]["updated_at"] = (keys.since - timedelta(seconds=1)).isoformat()
    for _ in range(3):
        await hosted.tick()
    assert set(hosted.server.resumed) == {T}


async def test_a_time_that_is_none_says_what_to_give(monkeypatch) -> None:
    monkeypatch.setenv(UNSIGNED, "soon")
    with pytest.raises(LedgerError, match=r"BATCH_BRIDGE_UNSIGNED_BEFORE='soon' is not a time; pass one such as 2026-"):
        await read_keys(Hosted().store.rows)
