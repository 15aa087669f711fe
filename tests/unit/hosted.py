"""A bridge's host in one process, over a store and a server of threads in memory. Nothing here sleeps."""

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import httpx
from fakes import FakeProvider, FakeStore, ended
from langgraph_sdk.errors import NotFoundError

from batch_bridge import Bridge, FlushPolicy
from batch_bridge._core.models import Cancelled, InProgress
from batch_bridge._core.payload.interrupt_payload import Asked, interrupt_value, read_envelope, to_json
from batch_bridge._core.payload.signature import Keys, key_of
from batch_bridge._node.platform.client import Access
from batch_bridge._node.platform.inbox import note_row
from batch_bridge._node.platform.keys import KeyRing
from batch_bridge._server import commands as command_log
from batch_bridge._server.tick import ServerHost

HOUR = timedelta(hours=1)


KEYS = Keys(key_of("the key of the tests"), (), datetime.now(UTC))


def key_ring() -> KeyRing:
    """Return keys that have been loaded."""
    loaded = KeyRing()
    loaded._keys = KEYS
    return loaded


class Server:
    """The threads and the runs of a server. A resume is taken down; it moves no thread on."""

    def __init__(self) -> None:
        self.rows: dict[str, dict[str, Any]] = {}
        self.created: list[dict[str, Any]] = []
        self.searched: list[list[str]] = []
        self.got: list[str] = []
        self.threads = SimpleNamespace(search=self._search, get=self._get, get_state=self._get_state)
        self.runs = SimpleNamespace(create=self._create, list=self._list)

    def put(self, thread: str, *ids: str, status: str = "interrupted", deadline: timedelta | None = None) -> None:
        """Let a thread be parked at these requests; busy, it is on its way there."""
        asked = [to_json(Asked(each, "bridge", {"q": each}, deadline=deadline)) for each in ids]
        interrupts = {"task": [{"id": f"at {thread}", "value": interrupt_value(asked)}]} if asked else {}
        self.rows[thread] = {
            "thread_id": thread,
            "status": status,
            "interrupts": interrupts,
            "metadata": {"assistant_id": "agent"},
            "updated_at": "2020-01-01T00:00:00+00:00",  # by a version that signed nothing, where nobody signs
        }

    @property
    def resumed(self) -> dict[str, dict[str, Any]]:
        """What each thread was resumed with."""
        return {
            run["thread"]: read_envelope(next(iter(run["command"]["resume"].values())))
            for run in self.created
            if "command" in run
        }

    async def _search(self, *, ids: list[str] | None = None, **_: Any) -> list[dict[str, Any]]:
        if ids is None:  # a sweep
            return []
        self.searched.append(ids)
        for each in ids:
            UUID(each)  # a server refuses the whole call
        return [self.rows[each] for each in ids if each in self.rows]

    async def _get(self, thread: str) -> dict[str, Any]:
        self.got.append(str(UUID(thread)))
        if thread not in self.rows:
            request = httpx.Request("GET", "http://server")
            raise NotFoundError("there is none", response=httpx.Response(404, request=request), body={})
        return self.rows[thread]

    async def _get_state(self, thread: str) -> dict[str, Any]:
        interrupts = self.rows[thread]["interrupts"]
        return {"tasks": [{"name": task, "error": None, "interrupts": raised} for task, raised in interrupts.items()]}

    async def _create(self, thread: str, assistant: str, **options: Any) -> None:
        await asyncio.sleep(0)
        self.created.append({"thread": thread, "assistant": assistant, **options})

    async def _list(self, thread: str, **_: Any) -> list[dict[str, Any]]:
        UUID(thread)
        return []


class StuckProvider(FakeProvider):
    """Answers nothing until it is let to, or told to stop."""

    stuck = True

    async def poll(self, handle, requests):
        if self.batches[str(handle)].state == "cancelled":
            return await self._call("poll", handle, lambda: ended({}, missing=Cancelled("stopped")))
        if self.stuck:
            return await self._call("poll", handle, InProgress)
        return await super().poll(handle, requests)

    def cancelled(self) -> list[str]:
        return [str(about) for verb, about in self.calls if verb == "cancel"]


class Hosted:
    """A deployment with one bridge. `host()` is another process of it."""

    def __init__(self, *, max_age: timedelta = timedelta(0), provider: Any = None, **options: Any) -> None:
        self.store = FakeStore()
        self.server = Server()
        self.provider = provider or StuckProvider()
        self.bridge = Bridge(
            self.provider, flush=FlushPolicy(max_age=max_age), **{"poll_interval": 60, "attempts": 1, **options}
        )
        self.here = self.host()
        self.ticks = 0
        self.shown: list[dict[str, Any]] = []

    def host(self, *, as_user: bool = False, **options: Any) -> ServerHost:
        """Return another process; it calls the server as a service, or as the user whose run it is."""
        access = Access(lambda: self.server)
        if as_user:
            access.client, access.service = access.service, None
        host = ServerHost(
            "bridge",
            self.bridge.engine,
            access,
            timedelta(days=7),
            listeners=self.bridge.listen(),
            **options,
        )
        host._retention._due = datetime.max.replace(tzinfo=UTC)  # it lists namespaces, which the fake store does not
        return host

    async def note(self, thread: str, *ids: str) -> None:
        """Do what `wait` does before its thread parks."""
        await self.store.rows.abatch([note_row("bridge", thread, "", ids, idle=False)])

    async def park(self, thread: str, *ids: str) -> None:
        await self.note(thread, *ids)
        self.server.put(thread, *ids)

    async def command(self, command_id: str = "o", host: ServerHost | None = None, **given: Any) -> None:
        await (host or self.here).accept(self.store, command_id, command_log.read(given))

    async def tick(self, host: ServerHost | None = None, *, user: str = "") -> bool:
        """Do one tick of one pass."""
        here = host or self.here
        self.ticks += 1
        if not await here.begin(self.store, f"run {self.ticks}"):
            return False
        await here.collect(user)
        await here.advance()
        await here.deliver()
        await here.flush()
        await here.end()
        self.shown = here.commands(self.shown)
        return True

    def counts(self) -> Mapping[str, int]:
        """To how many requests each order was done."""
        return {each["id"]: each["requests"] for each in self.shown}

    def rows(self, kind: str) -> dict[str, Any]:
        return self.store.read()[kind]
