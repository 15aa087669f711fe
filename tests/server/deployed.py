"""What the tests against `langgraph dev` share: a server for a project, its client, and what its desk has seen."""

import asyncio
import json
import os
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Self

from langgraph_sdk import get_client
from langgraph_sdk.client import LangGraphClient
from warm_server import WarmServer

from batch_bridge import is_bridge_interrupt
from batch_bridge._node.platform.client import bridge_thread

PATIENCE = 90.0
"""Seconds after which what a test waits for counts as a stall."""
PROJECTS = Path(__file__).parent / "projects"


class Deployed:
    """A project of `projects/` on a development server, in a folder that outlives the server.

    Its app's bridges (`projects/desk.py`) write down what they are sent, and hold their answers back while told so.
    """

    def __init__(self, project: str, folder: Path, *, jobs: int = 20, env: dict[str, str] | None = None) -> None:
        self._log, self._holds = folder / "desk.jsonl", folder / "holds"
        self._holds.mkdir(exist_ok=True)
        paths = os.pathsep.join((str(PROJECTS), str(PROJECTS.parents[2])))  # the package that lies here, wherever else
        own = {"DESK_LOG": str(self._log), "DESK_HOLDS": str(self._holds), "PYTHONPATH": paths}
        self.server = WarmServer(
            PROJECTS / project / "langgraph.json",
            folder=folder,
            jobs=jobs,
            env={"BG_JOB_HEARTBEAT": "30", **own, **(env or {})},
        )

    def __enter__(self) -> Self:
        self.server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.stop()

    def restart(self) -> None:
        self.server.stop()
        self.server.start()

    def hold(self, bridge: str, part: str = "") -> None:
        """Let a bridge's batches stay in progress: those with an item that has `part` in it."""
        (self._holds / bridge).write_text(part)

    def let_go(self, bridge: str) -> None:
        """Let them be answered."""
        (self._holds / bridge).unlink(missing_ok=True)

    @property
    def batches(self) -> list[tuple[str, list[Any]]]:
        """The bridge and the items of each batch that was sent, in the order sent."""
        lines = self._log.read_text().splitlines() if self._log.exists() else []
        return [(line["bridge"], line["items"]) for line in map(json.loads, lines)]

    def sent(self, part: str = "") -> Counter[str]:
        """How often each item that has `part` in it was sent."""
        items = [item if isinstance(item, str) else json.dumps(item) for _, batch in self.batches for item in batch]
        return Counter(item for item in items if part in item)

    @asynccontextmanager
    async def client(self, headers: dict[str, str] | None = None) -> Any:
        async with get_client(url=self.server.url, headers=headers) as client:
            yield Client(client)


class Client:
    """What the tests do with the SDK."""

    def __init__(self, sdk: LangGraphClient) -> None:
        self.sdk = sdk
        self.threads, self.runs, self.store = sdk.threads, sdk.runs, sdk.store

    async def start(self, graph: str, name: str | None = None, **settings: Any) -> str:
        """Start a thread; its input names it."""
        thread = (await self.threads.create())["thread_id"]
        await self.run(graph, thread, name, **settings)
        return thread

    async def run(self, graph: str, thread: str, name: str | None = None, **settings: Any) -> None:
        await self.runs.create(thread, graph, **{"input": {"name": name or thread}, **settings})

    async def look(self, thread: str) -> dict[str, Any]:
        return dict(await self.threads.get(thread))

    async def out(self, thread: str) -> list[Any]:
        return ((await self.look(thread))["values"] or {}).get("out") or []

    async def rounds(self, thread: str) -> int:
        """How often a thread was resumed."""
        return len(await self.runs.list(thread, limit=100)) - 1

    async def ended(self, *threads: str, status: str = "idle", patience: float = PATIENCE) -> list[dict[str, Any]]:
        """Return the threads once all of them have a status; a stall fails."""

        async def all_there() -> list[dict[str, Any]] | None:
            found = await self.threads.search(ids=list(threads), limit=len(threads))
            if failed := [each for each in found if each["status"] == "error" != status]:
                raise AssertionError(f"thread {failed[0]['thread_id']} failed: {failed[0].get('error')}")
            by_id = {each["thread_id"]: dict(each) for each in found if each["status"] == status}
            return [by_id[each] for each in threads] if len(by_id) == len(set(threads)) else None

        try:
            return await until(all_there, f"{len(threads)} threads are {status}", patience)
        except AssertionError as error:
            now = {each: (await self.look(each))["status"] for each in threads[:5]}
            raise AssertionError(f"{error}; now {now}; {await self.bridge()}") from None

    async def rest(self, *threads: str, patience: float = PATIENCE) -> tuple[list[str], list[str]]:
        """Return the threads that have failed and those that have ended well, once each has done one or the other."""

        async def all_there() -> dict[str, str] | None:
            found = await self.threads.search(ids=list(threads), limit=len(threads))
            by_id = {each["thread_id"]: each["status"] for each in found if each["status"] in ("error", "idle")}
            return by_id if len(by_id) == len(set(threads)) else None

        states = await until(all_there, f"{len(threads)} threads rest", patience, say=self.bridge)
        return [each for each in threads if states[each] == "error"], [
            each for each in threads if states[each] == "idle"
        ]

    async def interrupts(self, thread: str) -> list[dict[str, Any]]:
        return [each for raised in ((await self.look(thread)).get("interrupts") or {}).values() for each in raised]

    async def parked(self, thread: str) -> list[dict[str, Any]]:
        """Return the bridge's interrupts of a thread, once it has some and rests."""

        async def there() -> Any:
            seen = await self.look(thread)
            raised = [
                each for some in (seen.get("interrupts") or {}).values() for each in some if is_bridge_interrupt(each)
            ]
            return raised if seen["status"] == "interrupted" else None

        return await until(there, f"{thread} is parked")

    async def human(self, thread: str) -> dict[str, Any]:
        """Return the human's interrupt of a thread, once it is all that the thread waits for."""

        async def there() -> Any:
            seen = await self.look(thread)
            raised = [each for some in (seen.get("interrupts") or {}).values() for each in some]
            alone = len(raised) == 1 and not is_bridge_interrupt(raised[0]) and seen["status"] == "interrupted"
            return raised[0] if alone else None

        return await until(there, f"{thread} waits for a human alone")

    async def error(self, thread: str, patience: float = PATIENCE) -> str:
        """Return what a thread failed with, once it has failed."""
        await self.ended(thread, status="error", patience=patience)
        tasks = (await self.threads.get_state(thread))["tasks"]
        return " ".join(str(task["error"]) for task in tasks).replace("\\", "")

    async def bridge(self, name: str = "bridge") -> dict[str, Any]:
        """Return what a bridge's thread shows."""
        found = await self.threads.search(ids=[bridge_thread(name)])
        found = found or await self.threads.search(metadata={"graph_id": name}, limit=100)  # one with an identity
        return next((each["values"] for each in found if "waiting" in (each["values"] or {})), {})

    async def shows(self, bridge: str = "bridge", **wanted: Any) -> dict[str, Any]:
        """Return what a bridge's thread shows, once it shows this."""

        async def there() -> Any:
            shown = await self.bridge(bridge)
            return shown if shown and all(shown.get(name) == value for name, value in wanted.items()) else None

        return await until(there, f"{bridge} shows {wanted}", say=lambda: self.bridge(bridge))

    async def tick(self, bridge: str = "bridge", **commands: Any) -> None:
        """Run a bridge by hand, on a thread of its own."""
        await self.runs.wait((await self.threads.create())["thread_id"], bridge, input=commands)


async def until(
    there: Callable[[], Awaitable[Any]],
    what: str,
    patience: float = PATIENCE,
    say: Callable[[], Awaitable[Any]] | None = None,
) -> Any:
    """Return what `there` gives, once it gives something."""
    began = time.monotonic()
    while not (found := await there()):
        if time.monotonic() - began > patience:
            raise AssertionError(f"not within {patience} seconds: {what}" + (f"; {await say()}" if say else ""))
        await asyncio.sleep(0.1)
    return found
