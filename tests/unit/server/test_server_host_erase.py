"""What is held of one user is erased by an order of the service, and nothing of anybody else."""

import json
from typing import Any

import pytest
from fakes import FakeProvider, T, U, named
from hosted import HOUR, Hosted
from langgraph.store.base import PutOp
from langgraph.store.memory import InMemoryStore

from batch_bridge import ResponseCache
from batch_bridge._core.models import Cancelled, Request, Succeeded
from batch_bridge._node.platform.inbox import note_row
from batch_bridge._server import commands as command_log
from batch_bridge._server.eraser import WHY
from batch_bridge.errors import CommandError

A, B, C, D = ("aa" * 16, "bb" * 16, "cc" * 16, "dd" * 16)


async def park(hosted: Hosted, thread: str, user: str, request: str) -> None:
    """Let a thread of a user park."""
    await hosted.store.rows.abatch([note_row("bridge", thread, user, [request], idle=False)])
    hosted.server.put(thread, request)


class Knowing(FakeProvider):
    """Says what decides its answers."""

    def identity(self, request: Request) -> bytes:
        return json.dumps(request.item).encode()


def two(**options: Any) -> Hosted:
    hosted = Hosted(**options)
    hosted.here._access.is_vouched = True  # the server in memory makes no thread to try it with
    return hosted


def held(hosted: Hosted, *words: str) -> list[str]:
    """Return the rows in which one of some words stands, of whatever kind."""
    rows = hosted.store.rows.search((), limit=10_000)
    return [
        "/".join((*row.namespace, row.key))
        for row in rows
        if row.namespace[:3] != ("batch_bridge", "bridge", "members")  # ids, which say nothing
        and any(word in json.dumps([row.key, row.value]) for word in words)
    ]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, "one thing"),
        ("all", "one thing"),
        ({"user": "ann", "thread_id": T}, "one thing"),
        ({"tenant": "ann"}, "no 'tenant'"),
        ({"request_id": A}, "no 'request_id'"),
        ({"user": []}, "not a list of ids"),
        ({"user": ""}, "not a list of ids"),
        ({"user": [3]}, "not a list of ids"),
    ],
)
def test_what_is_no_erasure_says_what_is(given, words) -> None:
    with pytest.raises(CommandError, match=words):
        command_log.read({"erase": given})


@pytest.mark.parametrize("what", [{"user": ["ann"]}, {"user": ["bob"]}, {"thread_id": [T]}])
def test_a_user_may_erase_nothing_and_is_told_so(what) -> None:
    with pytest.raises(CommandError, match="erase: the user 'bob' may not do this"):
        command_log.check_limits(command_log.read({"erase": what}), "bob")


async def test_a_users_order_that_was_written_into_the_store_is_not_obeyed() -> None:
    hosted = two(provider=FakeProvider())
    await park(hosted, T, "ann", A)
    await hosted.tick()
    row = {"id": "o", "verb": "erase", "what": {"user": ["ann"]}, "at": 1.0, "done": 0, "by": "bob"}
    await hosted.store.rows.abatch([PutOp(("batch_bridge", "bridge", "commands"), "o", row, index=False)])
    await hosted.tick()
    assert not hosted.rows("commands")
    assert set(hosted.rows("outcomes")) == {A}


async def test_what_waits_to_be_sent_is_not_sent_and_its_thread_is_told() -> None:
    hosted = two(max_age=HOUR)
    await park(hosted, T, "ann", A)
    await park(hosted, U, "bob", B)
    await hosted.tick()
    await hosted.command("e", erase={"user": "ann"})
    await hosted.tick()
    assert hosted.counts()["e"] == 1
    assert hosted.server.resumed == {T: {A: Cancelled(WHY)}}
    assert set(hosted.rows("requests")) == {B}
    await hosted.command("go", flush=True)
    await hosted.tick()
    assert [each.id for batch in hosted.provider.batches.values() for each in batch.requests] == [B]


async def test_of_what_is_at_the_provider_the_answer_is_not_kept() -> None:
    hosted = two()
    await park(hosted, T, "ann", A)
    await park(hosted, U, "bob", B)
    await hosted.tick()
    del hosted.server.rows[T]  # as the docs say: its thread is deleted first
    await hosted.command("e", erase={"user": "ann"})
    await hosted.tick()
    hosted.provider.stuck = False
    for flight in hosted.here._engine._state.flights:
        flight.due = hosted.here._began
    for _ in range(2):
        await hosted.tick()
    assert set(hosted.server.resumed) == {U}
    assert hosted.server.resumed[U] == {B: Succeeded({"q": B})}
    assert not held(hosted, "ann", A, T)


async def test_what_was_delivered_goes_though_its_thread_and_whose_it_was_are_forgotten() -> None:
    hosted = two(provider=FakeProvider())
    await park(hosted, T, "ann", A)
    await park(hosted, U, "bob", B)
    for _ in range(2):
        await hosted.tick()
    assert set(hosted.rows("outcomes")) == {A, B}
    del hosted.server.rows[T]
    await hosted.here._executor._users.forget_departed()
    assert held(hosted, "ann")
    other = hosted.host()
    await hosted.command("e", other, erase={"user": ["ann"]})
    for _ in range(2):
        await hosted.tick(other)
    assert not held(hosted, "ann", T)
    assert held(hosted, "bob")
    assert set(hosted.rows("outcomes")) == {B}


async def test_an_answer_on_its_way_to_a_thread_that_is_there_is_replaced() -> None:
    hosted = two(provider=FakeProvider())
    await park(hosted, T, "ann", A)
    for _ in range(2):
        await hosted.tick()
    assert hosted.server.resumed[T] == {A: Succeeded({"q": A})}  # and it shows still that it asks
    await hosted.command("e", erase={"user": "ann"})
    hosted.server.created.clear()
    hosted.here._outbox.hasten([T], hosted.here._began)
    await hosted.tick()
    assert hosted.server.resumed == {T: {A: Cancelled(WHY)}}
    assert await hosted.here._records.ledger.outcomes([A]) == {A: Cancelled(WHY)}


async def test_dead_letters_notes_and_orders_of_a_user_go_too() -> None:
    hosted = two(provider=FakeProvider())
    for thread, user, request in ((T, "ann", A), (U, "bob", B)):
        await park(hosted, thread, user, request)
    for _ in range(2):
        await hosted.tick()
    await hosted.here._records.bury([A, B], "its thread is not there", hosted.here._began)
    hosted.server.rows.clear()
    assert {thread for thread, *_ in hosted.here._records.dead._entries.values()} == {T, U}
    await hosted.here.accept(hosted.store, "mine", command_log.read({"cancel": {"thread_id": T}}), by="ann")
    await hosted.here.accept(hosted.store, "his", command_log.read({"cancel": {"thread_id": U}}), by="bob")
    await hosted.tick()
    await hosted.store.rows.abatch([note_row("bridge", named("gone"), "ann", [C], idle=False)])
    await hosted.command("e", erase={"user": "ann"})
    await hosted.tick()
    assert not held(hosted, "ann", T, named("gone"))
    assert held(hosted, "bob", U)
    assert [each["id"] for each in hosted.shown if each.get("by") == "ann"] == []
    assert [each["id"] for each in hosted.shown if each.get("by") == "bob"] == ["his"]
    assert "ann" not in json.dumps(hosted.shown)


async def test_threads_are_erased_where_nobody_has_users() -> None:
    hosted = two(provider=FakeProvider())
    await hosted.park(T, A)
    await hosted.park(U, B)
    for _ in range(2):
        await hosted.tick()
    await hosted.command("e", erase={"thread_id": T})
    del hosted.server.rows[T]
    for _ in range(2):
        await hosted.tick()
    assert set(hosted.rows("outcomes")) == {B}
    assert not held(hosted, T)


@pytest.mark.parametrize("kind", ["file", "store"])
async def test_cached_answers_of_a_user_go_and_those_of_others_stay(tmp_path, kind) -> None:
    path = tmp_path / "answers.db"
    place: Any = path if kind == "file" else InMemoryStore()
    with ResponseCache(place, tenant="us") as cache:
        hosted = two(provider=Knowing(), cache=cache)
        for thread, user, request in ((T, "ann", A), (U, "bob", B), (named("v"), "", C)):
            await park(hosted, thread, user, request)
        for _ in range(2):
            await hosted.tick()
        assert cache.stats.stored == 3
        await hosted.command("e", erase={"user": "ann"})
        await hosted.tick()
        for user, request, hits in (("ann", A, 0), ("bob", B, 1), ("", C, 1)):
            key = hosted.bridge._settings.deduplication.key(Request(request, T, {"q": request}, tenant=user))
            assert len(await cache.recall([key], hosted.here._began)) == hits
        if kind == "file":
            kept = b"".join(each.read_bytes() for each in tmp_path.iterdir())
            assert A.encode() not in kept
            assert B.encode() in kept
        await cache.aclear()
        key = hosted.bridge._settings.deduplication.key(Request(B, T, {"q": B}, tenant="bob"))
        assert not await cache.recall([key], hosted.here._began)


async def test_an_erasure_that_was_broken_off_is_done_by_the_next_process() -> None:
    hosted = two(provider=FakeProvider())
    await park(hosted, T, "ann", A)
    for _ in range(2):
        await hosted.tick()
    del hosted.server.rows[T]
    await hosted.command("e", erase={"user": "ann"})
    whole = hosted.here._engine.erase_shared

    async def broken(_: str) -> None:
        raise OSError("the cache is gone")

    hosted.here._engine.erase_shared = broken  # type: ignore[method-assign]
    with pytest.raises(OSError, match="cache is gone"):
        await hosted.tick()
    hosted.here._engine.erase_shared = whole  # type: ignore[method-assign]
    await hosted.here.break_off()
    assert hosted.rows("commands")
    await hosted.tick(hosted.host())
    assert not hosted.rows("commands")
    assert not held(hosted, "ann", T)
