"""Ticks that are doubled or broken off, and wake-ups, over a store in memory and a server that does what it is told."""

import asyncio
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from fakes import named
from langgraph.store.memory import InMemoryStore

from batch_bridge import Bridge, FlushPolicy, Request
from batch_bridge._node.platform import wakeup as _wakeup
from batch_bridge._node.platform.client import Access, introduce
from batch_bridge._server.tick import ServerHost
from batch_bridge.errors import UnknownBatcherError


class Runs:
    """The runs of a server: what was asked for is pending for ever."""

    def __init__(self) -> None:
        self.created: list[dict[str, Any]] = []

    async def create(self, thread: str, assistant: str, **options: Any) -> None:
        await asyncio.sleep(0)
        self.created.append({"thread": thread, "assistant": assistant, **options})

    async def list(self, thread: str, **_: Any) -> list[dict[str, Any]]:
        return [run for run in self.created if run["thread"] == thread]


class Server:
    """As much of a client as a bridge uses when nobody waits."""

    def __init__(self, kind: str = "wake undelivered") -> None:
        self.runs = Runs()
        self.threads = SimpleNamespace(search=self._search)
        self.assistants = SimpleNamespace(search=self._assistants, get_schemas=self._schemas)
        self._kind = kind

    async def _search(self, **_: Any) -> list[Any]:
        return []

    async def _assistants(self, **_: Any) -> list[Any]:
        return [{"assistant_id": "a"}]

    async def _schemas(self, _: str) -> dict[str, str]:
        return {"input_schema": self._kind, "output_schema": self._kind}


def bridge() -> Bridge:
    return Bridge(
        submit=lambda items: items, poll=lambda _: None, flush=FlushPolicy(max_age=timedelta(hours=1)), poll_interval=60
    )


def host(server: Server) -> ServerHost:
    return ServerHost("bridge", bridge().engine, Access(lambda: server), timedelta(days=1))  # type: ignore[arg-type, return-value]


async def queue(here: ServerHost, *ids: str) -> None:
    await here._engine.collect([Request(each, named("thread"), {"q": each}) for each in ids], here._began)


async def test_a_second_tick_in_the_same_process_waits_for_the_first() -> None:
    server, store = Server(), InMemoryStore()
    here = host(server)
    assert await here.begin(store, "run 1")
    assert not await here.begin(store, "run 2")
    assert here.is_at("run 1")
    assert server.runs.created[-1]["after_seconds"] in (4, 5)
    await here.end()
    assert await here.begin(store, "run 2")


async def test_a_tick_that_is_broken_off_is_not_waited_for_and_what_is_queued_is_read_again() -> None:
    store, server = InMemoryStore(), Server()
    here = host(server)
    assert await here.begin(store, "run 1")
    await queue(here, "00" * 16, "01" * 16)
    for each in tuple(here._engine.waiting):  # in the middle of a flush
        here._engine._state.opened().discard(each)
    assert here.status()["waiting"] == 0
    await here.break_off()
    assert here.is_free
    other = host(server)
    assert await other.begin(store, "run 2"), "the lease was given back"
    assert other.status()["waiting"] == 2
    await other.end()
    assert await here.begin(store, "run 3")
    assert here.status()["waiting"] == 2


async def test_a_tick_that_is_cancelled_while_it_takes_over_takes_over_anew() -> None:
    store, server = InMemoryStore(), Server()
    first, second = host(server), host(server)
    assert await first.begin(store, "run 1")
    await queue(first, "00" * 16)
    await first.end()
    assert await second.begin(store, "run 2")
    await second._engine.drop(["00" * 16])  # sent, say
    await second.end()
    load = first._records.load

    async def cancelled(_: object = None) -> None:
        raise asyncio.CancelledError

    first._records.load = cancelled  # type: ignore[method-assign]
    with pytest.raises(asyncio.CancelledError):
        await first.begin(store, "run 3")
    await first.break_off()
    first._records.load = load  # type: ignore[method-assign]
    assert await first.begin(store, "run 4")
    assert first.status()["waiting"] == 0


async def test_while_something_waits_a_run_is_pending_beforehand() -> None:
    server, store = Server(), InMemoryStore()
    here = host(server)
    await here.begin(store, "run 1")
    await here.collect("")
    assert not server.runs.created, "nothing waits"
    await queue(here, "00" * 16)
    await here.end()
    server.runs.created.clear()
    await here.begin(store, "run 2")
    await here.collect("")
    assert [run["input"]["wake"] for run in server.runs.created] == ["insurance"]


@pytest.mark.parametrize("linger", [0, 1, 60])
async def test_many_waits_ring_once_or_so_and_all_of_them_return(linger: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_wakeup, "_covered", {})
    server = Server()
    access = Access(lambda: server, linger)  # type: ignore[arg-type, return-value]
    introduce("rung", access)
    async with asyncio.timeout(60):
        await asyncio.gather(*(_wakeup.wake("rung", "") for _ in range(200)))
    assert 1 <= len(server.runs.created) <= 2


async def test_a_ring_that_has_just_ended_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """It leaves its place a turn of the loop later: whoever waited for it in a loop would wait without a turn, for ever."""
    ended = asyncio.get_running_loop().create_future()
    ended.set_result(None)
    monkeypatch.setattr(_wakeup, "_covered", {})
    monkeypatch.setattr(_wakeup, "_ringing", {(id(asyncio.get_running_loop()), "rung", ""): ended})
    server = Server()
    access = Access(lambda: server, 0)  # type: ignore[arg-type, return-value]
    introduce("rung", access)
    await _wakeup.wake("rung", "")
    assert len(server.runs.created) == 1
    await asyncio.sleep(0)
    assert not _wakeup._ringing


async def test_a_graph_that_is_no_bridge_is_not_rung(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_wakeup, "_covered", {})
    server = Server(kind="messages")
    access = Access(lambda: server)  # type: ignore[arg-type, return-value]
    introduce("agent", access)
    with pytest.raises(UnknownBatcherError, match="no bridge"):
        await _wakeup.wake("agent", "")
    assert not server.runs.created
