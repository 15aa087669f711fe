"""What a bridge on a LangGraph server costs while it waits: a tick that finds nothing new, and a restart.

Three measurements: the steps of a tick over a real store, with a server that has no news; the same bridge taken up by a
process that knows nothing of it; and, with --server, the bridge's own runs on a real `langgraph dev`.
"""

import argparse
import asyncio
import json
import re
import statistics
import subprocess
import sys
import tempfile
import time
import tracemalloc
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

from langgraph.store.memory import InMemoryStore
from langgraph.store.sqlite.aio import AsyncSqliteStore
from langgraph_sdk import get_client
from langgraph_sdk.client import LangGraphClient
from rich.console import Console

from batch_bridge import Bridge, FlushPolicy
from batch_bridge._core.payload.interrupt_payload import Asked, interrupt_value, to_json
from batch_bridge._core.payload.signature import SIGNATURE, Keys
from batch_bridge._node.platform.client import Access, bridge_thread
from batch_bridge._node.platform.inbox import note_row
from batch_bridge._node.platform.keys import read_keys
from batch_bridge._server.tick import ServerHost

sys.path.insert(0, str(Path(__file__).parent.parent / "examples"))
from dev_server import DevServer

BRIDGE = "bridge"
LIMIT = 0.050
"""Seconds that a tick may take with 50,000 requests waiting and none new, where the store is in memory, as that of
`langgraph dev` is. In one on disk a tick costs three commits, whatever waits."""
A_NOTE = 500
"""Threads that leave a note between two ticks while the queue is filled."""
TICKS = 40
ITEM = {"messages": [{"role": "user", "content": "x" * 900}]}
CONFIG = Path(__file__).parent / "server" / "langgraph.json"
FIGURES = ("run_exec_ms", "run_wait_time_ms")
"""What the server logs of a run that has ended: its execution, and the time before it."""
console = Console(highlight=False, soft_wrap=True)


class Server:
    """As much of a LangGraph server as a tick calls. It holds parked threads, and never has news of its own."""

    def __init__(self, keys: Keys | None = None) -> None:
        self.parked: dict[str, Any] = {}
        self.keys = keys
        self.threads, self.runs = SimpleNamespace(search=self._search), SimpleNamespace(list=_none, create=_none)

    def park(self, asked: list[Asked]) -> str:
        """Park a thread, as a node of this deployment does; return its id."""
        assert self.keys is not None
        thread = str(uuid4())
        value = interrupt_value([to_json(each) for each in asked])
        value[SIGNATURE] = self.keys.sign("interrupt", thread, value)
        self.parked[thread] = {
            "thread_id": thread,
            "status": "interrupted",
            "interrupts": {uuid4().hex: [{"id": uuid4().hex, "value": value}]},
            "metadata": {"assistant_id": "agent"},
        }
        return thread

    async def _search(self, *, ids: list[str] | None = None, **_: object) -> list[Any]:
        return [self.parked[each] for each in ids or () if each in self.parked]


async def _none(*_: object, **__: object) -> list[Any]:
    return []


def host_over(server: Server) -> ServerHost:
    """Return the host of a bridge that waits for hours, as its process makes it."""
    policy = FlushPolicy(max_requests=10_000_000, max_age=timedelta(hours=24))
    bridge = Bridge(submit=len, poll=lambda _: None, flush=policy)
    return ServerHost(BRIDGE, bridge.engine, Access(lambda: server), timedelta(days=7))  # type: ignore[arg-type,return-value]


async def tick(host: ServerHost, store: Any) -> None:
    """Do what a run of the bridge's graph does."""
    await host.begin(store, str(time.monotonic_ns()))
    while True:
        await host.collect("")
        await host.advance()
        await host.deliver()
        await host.flush()
        if not host.again:
            break
    await host.end()


async def fill(host: ServerHost, server: Server, store: Any, count: int) -> float:
    """Have so many threads park with a request each; return the seconds that taking them in took."""
    took = 0.0
    for first in range(0, count, A_NOTE):
        notes = []
        for _ in range(min(A_NOTE, count - first)):
            asked = [Asked(uuid4().hex, BRIDGE, ITEM)]
            notes.append(note_row(BRIDGE, server.park(asked), "", [each.id for each in asked], idle=False))
        await store.abatch(notes)
        began = time.perf_counter()
        await tick(host, store)
        took += time.perf_counter() - began
        server.parked.clear()  # nobody asks for them again, and their memory is not the host's
    return took


@asynccontextmanager
async def opened(kind: str, path: Path) -> Any:
    """Open a store."""
    if kind == "memory":
        yield InMemoryStore()
        return
    async with AsyncSqliteStore.from_conn_string(str(path)) as store:
        await store.setup()
        yield store


async def quiet_ticks(kind: str, count: int, path: Path) -> float:
    """Fill a queue, print what ticks without news take, and return their median."""
    async with opened(kind, path) as store:
        server = Server(await read_keys(store))
        host = host_over(server)
        filled = await fill(host, server, store, count)
        times = []
        for _ in range(TICKS):
            began = time.perf_counter()
            await tick(host, store)
            times.append(time.perf_counter() - began)
        assert host.status()["waiting"] == count
    median, worst = statistics.median(times), max(times)
    console.print(
        f"{kind:>6}, {count:>9,} waiting, none new: tick {median * 1000:.1f} ms, worst of {TICKS} "
        f"{worst * 1000:.1f} ms; intake {count / filled:,.0f} requests/s"
    )
    return median


async def take_up(path: Path) -> dict[str, float]:
    """Take a bridge up from its store, as the first tick of a process does; return seconds and bytes of memory."""
    async with opened("sqlite", path) as store:
        figures = {}
        for measure in ("bytes", "seconds"):  # tracing memory takes time, so one after the other
            host = host_over(Server())
            if measure == "bytes":
                tracemalloc.start()
            began = time.perf_counter()
            await host.begin(store, str(time.monotonic_ns()))
            figures[measure] = time.perf_counter() - began
            if measure == "bytes":
                figures[measure] = float(tracemalloc.get_traced_memory()[0])
                tracemalloc.stop()
            await host.end()  # else its lease keeps the next one waiting
            del host
        return figures


def restart(count: int, path: Path) -> None:
    """Print what a new process pays to go on with a bridge."""
    command = [sys.executable, __file__, "--take-up", str(path)]
    figures = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    console.print(
        f"        a new process takes it up in {figures['seconds']:.2f} s and holds {figures['bytes'] / 1e6:,.0f} MB: "
        f"{figures['bytes'] / count:,.0f} bytes a request; the file has {path.stat().st_size / count:,.0f}"
    )


async def on_a_server(threads: int, asks: int) -> float:
    """Park threads with many requests each on `langgraph dev`; return the median seconds of the bridge's own run."""
    with DevServer(CONFIG, jobs=20, env={"THREADS": "10000000"}) as server:
        async with get_client(url=server.url, timeout=300) as client:
            await park_many(client, threads, asks)
            before = len(server.log)
            for _ in range(TICKS // 2):
                await client.runs.wait(bridge_thread(BRIDGE), BRIDGE, input={"wake": "hand"})
            (found,) = await client.threads.search(ids=[bridge_thread(BRIDGE)], select=["values"])
            assert found["values"]["waiting"] == threads * asks, found["values"]
        said = re.sub(r"\x1b\[[0-9;]*m", "", server.log[before:])
    took, queued = ([int(each) / 1000 for each in re.findall(rf"{name}=(\d+)", said)] for name in FIGURES)
    median = statistics.median(took)
    console.print(
        f"langgraph dev, {threads * asks:,} waiting, none new: a run of the bridge {median * 1000:.0f} ms, worst of "
        f"{len(took)} {max(took) * 1000:.0f} ms, after {statistics.median(queued) * 1000:.0f} ms in the server's queue"
    )
    return median


async def park_many(client: LangGraphClient, threads: int, asks: int) -> None:
    """Start the threads, and return once the bridge has taken in all that they ask for."""
    for index in range(threads):
        thread = await client.threads.create()
        await client.runs.create(thread["thread_id"], "many", input={"count": asks, "name": str(index)})
    while True:
        found = await client.threads.search(ids=[bridge_thread(BRIDGE)], select=["values"])
        if found and (found[0]["values"] or {}).get("waiting") == threads * asks:
            return
        await asyncio.sleep(1)


def main() -> None:
    """Run it all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, nargs="+", default=[10_000, 50_000, 100_000])
    parser.add_argument("--stores", nargs="+", default=["memory", "sqlite"], choices=["memory", "sqlite"])
    parser.add_argument("--server", action="store_true", help="also 50,000 requests on a real langgraph dev")
    parser.add_argument("--take-up", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.take_up:
        sys.stdout.write(json.dumps(asyncio.run(take_up(options.take_up))))
        return
    slow = False
    for kind in options.stores:
        for count in options.requests:
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "store.db"
                median = asyncio.run(quiet_ticks(kind, count, path))
                slow |= kind == "memory" and count <= 50_000 and median > LIMIT
                if path.exists():
                    restart(count, path)
    if options.server:
        slow |= asyncio.run(on_a_server(threads=50, asks=1000)) > LIMIT
    sys.exit(1 if slow else 0)


if __name__ == "__main__":
    main()
