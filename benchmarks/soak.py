"""A month in minutes: what each host holds must not grow with the requests that have passed through it.

    soak.py [--requests 200000] [--batches 2000] [--hosts batcher,durable,runner,wrapped,server]

Each host runs in a process of its own, while the clock that it reads is moved on by 28 days in all. After every
hundredth of the batches it is measured what it holds: resident memory (`VmRSS`), blocks of Python's allocator, threads,
file descriptors, and the rows of each table. A line is fitted to the second half. What it rises by there must lie
within the noise, or be less than a trifle for each request. Never is a time tested.

Ends with 1, and names what grows, if anything does.
"""

import argparse
import asyncio
import gc
import json
import logging
import math
import os
import sqlite3
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypedDict

from process_memory import resident

SPAN = timedelta(days=28)
SAMPLES = 100
"""As many as that, but no more than one for each ten batches."""
TRIFLES = {"memory": 40.0, "blocks": 0.05}
"""What may be added for each request without being told: bytes, and blocks. An allocator is never quite still."""
NOISE = {"memory": 3e6, "blocks": 2000.0, "threads": 2.0, "descriptors": 4.0}
"""What comes and goes with the moment of the measurement."""
ROWS_NOISE = 0.1
"""The same for rows: a share of those that are there, since a retention ends by the hour."""
GROWS_BY_DESIGN = {"runner": ("closed", "money")}
"""One row a batch, which a Runner's report adds up: they are what it has done, of all runs on its file."""

Rows = Mapping[str, int]
Step = Callable[[int], Awaitable[None]]


# -- the clock -----------------------------------------------------------------------------------------------


class Clock:
    """The time that the package reads; moved on by hand."""

    passed = timedelta(0)

    def now(self) -> datetime:
        return datetime.now(UTC) + self.passed

    def install(self) -> None:
        """Have the whole package read it, on every thread."""
        from batch_bridge._core import clock

        clock.now = self.now


# -- what is held --------------------------------------------------------------------------------------------


def measure(rows: Rows) -> dict[str, float]:
    gc.collect()
    held = {
        "memory": resident(),
        "blocks": sys.getallocatedblocks(),
        "threads": threading.active_count(),
        "descriptors": len(os.listdir("/proc/self/fd")),
    }
    return held | {f"rows {kind}": count for kind, count in rows.items()}


def rows_in_file(path: Path) -> Rows:
    connection = sqlite3.connect(path)
    try:
        counted: Counter[str] = Counter()
        for prefix, count in connection.execute("SELECT prefix, COUNT(*) FROM store GROUP BY prefix"):
            parts = prefix.split(".")
            counted[parts[2] if len(parts) > 2 else parts[0]] += count
        for table in ("checkpoints", "writes"):
            (counted[table],) = connection.execute(f"SELECT COUNT(*) FROM {table}").fetchone()
        return counted
    finally:
        connection.close()


# -- the test ------------------------------------------------------------------------------------------------


def fit(points: list[tuple[float, float]]) -> tuple[float, float]:
    """Return the slope of the line through points by least squares, and its standard error."""
    count = len(points)
    mean_x, mean_y = sum(x for x, _ in points) / count, sum(y for _, y in points) / count
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    slope = sum((x - mean_x) * (y - mean_y) for x, y in points) / spread
    left = sum((y - mean_y - slope * (x - mean_x)) ** 2 for x, y in points)
    return slope, math.sqrt(left / (count - 2) / spread)


def judge(host: str, samples: list[dict[str, float]]) -> tuple[dict[str, dict[str, float]], list[str]]:
    """Return the figures of each measure over the second half, and a line for each that grows."""
    half = samples[len(samples) // 2 :]
    figures: dict[str, dict[str, float]] = {}
    grown = []
    for name in sorted({name for sample in half for name in sample} - {"requests"}):
        points = [(sample["requests"], sample.get(name, 0)) for sample in half]
        slope, error = fit(points)
        requests = points[-1][0] - points[0][0]
        rise, mean = slope * requests, sum(y for _, y in points) / len(points)
        noise = NOISE.get(name, ROWS_NOISE * mean + 4)
        allowed = max(noise, TRIFLES.get(name, 0.0) * requests, 3 * error * requests)
        figures[name] = {
            "first": points[0][1],
            "last": points[-1][1],
            "slope_per_request": slope,
            "error": error,
            "rise": rise,
            "allowed": allowed,
        }
        if rise > allowed and name.removeprefix("rows ") not in GROWS_BY_DESIGN.get(host, ()):
            grown.append(
                f"{host}: {name} GROWS by {slope:.3g} a request: from {points[0][1]:,.0f} to {points[-1][1]:,.0f} over "
                f"{requests:,.0f} requests (allowed: {allowed:,.0f})"
            )
    return figures, grown


# -- the hosts -----------------------------------------------------------------------------------------------


def submit(items: list[Any]) -> dict[str, int]:
    return {"requests": len(items)}


def poll(handle: dict[str, int]) -> list[str]:
    return [f"an answer of some length {'.' * 200}"] * handle["requests"]


class Run:
    """One host's soak: `step` is done for each batch, and after every hundredth it is measured."""

    def __init__(self, host: str, requests: int, batches: int) -> None:
        self.host, self.batches, self.size = host, batches, requests // batches
        self.clock = Clock()

    async def through(self, step: Step, rows: Callable[[], Rows]) -> None:
        self.clock.install()
        every = max(self.batches // SAMPLES, min(10, self.batches // 4), 1)
        for batch in range(self.batches):
            await step(batch)
            self.clock.passed += SPAN / self.batches
            if (batch + 1) % every == 0:  # told at once: a run that is broken off has shown what it has seen
                print(json.dumps({"requests": (batch + 1) * self.size} | measure(rows())), flush=True)

    def items(self, batch: int) -> list[str]:
        return [f"question {number} of batch {batch}" for number in range(self.size)]


async def batcher(run: Run, folder: Path | None) -> None:
    from batch_bridge import Batcher
    from batch_bridge.batcher._inside import Inside

    inside = Inside(most_closed=min(Inside().most_closed, run.batches // 4))
    path = None if folder is None else folder / "batcher.db"

    async with Batcher(submit_func=submit, poll_func=poll, path=path, poll_interval=0.01, _inside=inside) as batching:

        async def step(batch: int) -> None:
            answers = await batching.amap(run.items(batch))
            assert len(answers) == run.size

        def rows() -> Rows:
            if path is not None:
                return rows_in_file(path)
            ledger: Any = batching._worker._engine_loop.engine._state.ledger  # type: ignore[union-attr]
            kinds = Counter({each[2]: len(held) for each, held in ledger.table.store._namespaces.items()})
            return kinds + Counter(requests=len(ledger._requests.held), outcomes=len(ledger._outcomes.held))

        await run.through(step, rows)


def forget_soon(run: Run) -> None:
    """Have a purse remember fewer threads that have ended, so that a soak sees the end of its growth."""
    from batch_bridge._money.purse import Purse

    defaults: Any = Purse.__init__.__kwdefaults__
    defaults["most_ended"] = min(defaults["most_ended"], run.batches * run.size // 4)


async def durable(run: Run, folder: Path) -> None:
    await batcher(run, folder)


async def runner(run: Run, folder: Path) -> None:
    from langgraph.graph import StateGraph

    from batch_bridge import Bridge, Runner, wait

    class State(TypedDict, total=False):
        question: str
        answer: str

    async def node(state: State) -> State:
        return {"answer": await wait(state["question"])}

    forget_soon(run)
    graph = StateGraph(State).add_node("node", node).add_edge("__start__", "node")
    path = folder / "run.db"
    bridge = Bridge(submit=submit, poll=poll, poll_interval=0.01)
    async with Runner(graph, bridge, path=path, progress=False) as running:
        saver: Any = running._opened.session.graph.checkpointer  # type: ignore[union-attr]

        async def step(batch: int) -> None:
            inputs: list[State] = [{"question": each} for each in run.items(batch)]
            results = await running.abatch(inputs, run_id=f"run {batch}")
            assert all(each["answer"] for each in results)
            await asyncio.gather(*map(saver.adelete_thread, threads_in(path)))  # results that the user does not keep

        await run.through(step, lambda: rows_in_file(path))


def threads_in(path: Path) -> list[str]:
    connection = sqlite3.connect(path)
    try:
        return [thread for (thread,) in connection.execute("SELECT DISTINCT thread_id FROM checkpoints")]
    finally:
        connection.close()


async def wrapped(run: Run, _: Path) -> None:
    from openai import AsyncOpenAI

    from batch_bridge import FlushPolicy, wrap_openai
    from batch_bridge.testing import BatchServer

    with BatchServer(latency=0) as server:
        async with AsyncOpenAI(base_url=server.base_url, api_key="k") as plain:
            policy = FlushPolicy(max_requests=run.size, max_idle=1.0)
            client = wrap_openai(plain, poll_interval=0.01, flush=policy)
            tenants: list[Any] = []

            async def ask(tenant: str, question: str) -> None:
                headers = {"X-Tenant": tenant, "X-Request-Id": question}
                tenants[:] = [client.with_options(default_headers=headers)]
                answer = await tenants[0].chat.completions.create(
                    model="m", messages=[{"role": "user", "content": question}]
                )
                assert answer.choices

            async def step(batch: int) -> None:
                await asyncio.gather(*(ask(f"tenant {batch}", each) for each in run.items(batch)))

            def rows() -> Rows:
                family: Any = client._batch_bridge  # type: ignore[attr-defined]
                return {
                    "askers": len(family._askers),
                    "open": sum(each.is_open for each in family._askers.values()),
                    "opened": len(family._opened),
                }

            await run.through(step, rows)
            await client.close()


class Deployment:
    """The threads of a LangGraph server, as its client shows them; each is parked once, resumed, and gone."""

    def __init__(self) -> None:
        self.rows: dict[str, dict[str, Any]] = {}
        self.answered: list[str] = []
        self.threads = SimpleNamespace(search=self._search, get=self._get)
        self.runs = SimpleNamespace(create=self._create, list=self._none)

    async def _none(self, *_: Any, **__: Any) -> list[Any]:
        return []

    async def _search(self, *, ids: list[str] | None = None, **_: Any) -> list[dict[str, Any]]:
        return [self.rows[each] for each in ids or () if each in self.rows]

    async def _get(self, thread: str) -> dict[str, Any]:
        return self.rows[thread]

    async def _create(self, thread: str, _: str, **options: Any) -> None:
        if "command" in options:
            self.rows[thread] |= {"status": "idle", "interrupts": {}}
            self.answered.append(thread)


async def server(run: Run, _: Path) -> None:
    from uuid import uuid4

    from langgraph.store.memory import InMemoryStore

    from batch_bridge import Bridge, FlushPolicy
    from batch_bridge._core.payload.interrupt_payload import Asked, interrupt_value, to_json
    from batch_bridge._node.platform.client import Access
    from batch_bridge._node.platform.inbox import note_row
    from batch_bridge._server.tick import ServerHost

    forget_soon(run)
    store, deployment = InMemoryStore(), Deployment()
    bridge = Bridge(submit=submit, poll=poll, flush=FlushPolicy(max_age=timedelta(0)), poll_interval=60)
    access = Access(lambda: deployment)  # type: ignore[arg-type, return-value]
    host = ServerHost("bridge", bridge.engine, access, timedelta(days=7))
    ticks = iter(range(1_000_000_000))

    async def tick() -> None:
        assert await host.begin(store, f"run {next(ticks)}")
        await host.collect("")
        await host.advance()
        await host.deliver()
        await host.flush()
        await host.end()

    async def step(batch: int) -> None:
        for question in run.items(batch):
            thread, request = f"{uuid4()}", uuid4().hex
            await store.abatch([note_row("bridge", thread, "", [request], idle=False)])
            value = interrupt_value([to_json(Asked(request, "bridge", {"q": question}))])
            deployment.rows[thread] = {
                "thread_id": thread,
                "status": "interrupted",
                "interrupts": {"task": [{"id": f"at {thread}", "value": value}]},
                "metadata": {"assistant_id": "agent"},
                "updated_at": "2020-01-01T00:00:00+00:00",
            }
        for _ in range(20):
            await tick()
            run.clock.passed += SPAN / run.batches / 100
            if len(deployment.answered) == run.size:
                break
        assert len(deployment.answered) == run.size, host.status()
        await tick()  # sees that they have moved on
        deployment.answered.clear()
        deployment.rows.clear()

    def rows() -> Rows:
        counted: Counter[str] = Counter()
        for namespace, held in store._data.items():
            counted[namespace[2] if len(namespace) > 2 else namespace[0]] += len(held)
        return counted

    await run.through(step, rows)


HOSTS: dict[str, Callable[[Run, Path], Awaitable[None]]] = {
    "batcher": lambda run, _: batcher(run, None),
    "durable": durable,
    "runner": runner,
    "wrapped": wrapped,
    "server": server,
}


def soak(host: str, requests: int, batches: int) -> None:
    """Run one host in this process, and print its samples, one a line."""
    logging.disable(logging.WARNING)
    run = Run(host, requests, batches)
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(HOSTS[host](run, Path(folder)))  # type: ignore[arg-type]


def told(host: str, figures: Mapping[str, Mapping[str, float]]) -> Iterable[str]:
    for name, each in figures.items():
        unit = 1e6 if name == "memory" else 1
        yield (
            f"{host:8} {name:22} {each['first'] / unit:>12,.1f} -> {each['last'] / unit:>12,.1f}   "
            f"slope {each['slope_per_request']:+.3g} a request (± {each['error']:.2g})"
        )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=200_000)
    parser.add_argument("--batches", type=int, default=2_000)
    parser.add_argument("--hosts", default=",".join(HOSTS), help="some of them, with commas between")
    parser.add_argument("--here", help=argparse.SUPPRESS)
    parser.add_argument("--samples", type=Path, help="judge a file of samples of the one host that is named instead")
    asked = parser.parse_args()
    if asked.here:
        soak(asked.here, asked.requests, asked.batches)
        return 0
    all_grown: list[str] = []
    if asked.samples:
        figures, grown = judge(asked.hosts, [json.loads(line) for line in asked.samples.read_text().splitlines()])
        print("\n".join([*told(asked.hosts, figures), *(grown or ["nothing grows"])]))
        return 1 if grown else 0
    for host in asked.hosts.split(","):
        command = [sys.executable, __file__, "--here", host]
        done = subprocess.run(
            [*command, "--requests", str(asked.requests), "--batches", str(asked.batches)],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            print(done.stderr[-5000:], file=sys.stderr)
            print(f"{host}: FAILED", flush=True)
            all_grown.append(host)
            continue
        figures, grown = judge(host, [json.loads(line) for line in done.stdout.splitlines()])
        print("\n".join(told(host, figures)), flush=True)
        all_grown += grown
    print("\n".join(all_grown) or "nothing grows")
    return 1 if all_grown else 0


if __name__ == "__main__":
    sys.exit(main())
