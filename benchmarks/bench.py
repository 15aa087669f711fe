"""All benchmarks, one table: every figure a ratio of two things measured side by side in this run."""

import argparse
import asyncio
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import bench_agents
import bench_batcher
import bench_realtime
import bench_runner
import bench_wrap
from rich.console import Console
from rich.table import Table

from batch_bridge import FlushPolicy, Limits, Measure, Request
from batch_bridge._engine import Engine
from batch_bridge._ledger.in_memory import MemoryRows
from batch_bridge._ledger.ledger import Ledger

KB = 1000


class Row(NamedTuple):
    """A line of the table. `limit` is what it has to stay below."""

    what: str
    figure: float
    limit: float
    unit: str = "times"


class Still:
    """A provider whose batches never end."""

    limits = Limits()

    def measure(self, _: Request) -> Measure:
        return Measure("", 1000)


def runner(kind: str, threads: int, size: int, rounds: int) -> Iterator[Row]:
    """Runner / plain LangGraph, wall and CPU; the Runner's own file against the stock SQLite saver."""
    base = {"memory": "InMemorySaver", "given": "AsyncSqliteSaver, given", "own": "own file / AsyncSqliteSaver"}[kind]
    took = bench_runner.compare(kind, threads, size, rounds)
    limit = 0.4 if kind == "own" and size <= KB else 1.15
    name = f"Runner / plain LangGraph, {base}, {threads:,} threads of {size // KB} kB"
    yield Row(f"{name}: wall", took["wall"], limit)
    yield Row(f"{name}: CPU", took["cpu"], limit)


def growth(few: int, many: int) -> Iterator[Row]:
    """How much longer ten times the threads take, and what each of them adds to what plain LangGraph holds."""
    plain = [bench_runner.measure("plain", "memory", threads, KB) for threads in (few, many)]
    ours = [bench_runner.measure("bridged", "memory", threads, KB) for threads in (few, many)]
    yield Row(
        f"Runner in memory, {many:,} threads / {few:,}: wall", ours[1]["wall"] / ours[0]["wall"], 1.1 * many / few
    )
    yield Row(
        f"plain LangGraph, {many:,} threads / {few:,}: wall", plain[1]["wall"] / plain[0]["wall"], 1.1 * many / few
    )
    more = [b["parked"] * n - a["parked"] * n for a, b, n in zip(plain, ours, (few, many), strict=True)]
    yield Row(
        "Memory more than plain LangGraph's, for each thread more that is parked",
        (more[1] - more[0]) / (many - few) / KB,
        3,
        "kB",
    )


def batcher(count: int, rounds: int) -> Iterator[Row]:
    """Batcher / a script written by hand, CPU of the client."""
    took = bench_batcher.compare(count, KB, rounds)
    name = f"Batcher with OpenAIBatch / script by hand, {count:,} requests of 1 kB"
    yield Row(f"{name}: CPU", took["cpu"], 3)
    yield Row(f"{name}: memory above the imports", took["megabytes"], 300, "MB")


def agents(count: int, rounds: int) -> Iterator[Row]:
    """Agents with a batched model / the same agents that interrupt by hand."""
    took = bench_agents.compare(count, rounds)
    name = f"Agents with a batched ChatOpenAI / agents that interrupt by hand, {count:,} agents"
    yield Row(f"{name}: CPU", took["cpu"], 2)
    yield Row("A parked agent: live memory, state and all, in memory", took["bytes"] / KB, 10, "kB")
    yield Row("A parked agent: the same, on the Runner's own file", took["bytes_in_a_file"] / KB, 10, "kB")


def realtime(calls: int, rounds: int) -> Iterator[Row]:
    """Batcher in realtime mode / asyncio.gather with a semaphore, on the same client."""
    took = bench_realtime.compare(calls, 0.02, rounds)
    yield Row(f"Batcher in realtime / gather with a semaphore, {calls:,} calls of 20 ms: wall", took["wall"], 1.1)


def wrapped(count: int, rounds: int) -> Iterator[Row]:
    """`wrap_openai` / the client that it wraps, whose calls end in memory: CPU of the client."""
    took = bench_wrap.compare(count, KB, rounds)
    name = f"wrap_openai / AsyncOpenAI into memory, {count:,} calls gathered"
    yield Row(f"{name}: CPU", took["cpu"], 0.3)
    yield Row(f"{name}: memory above the imports", took["mb_wrapped"] / took["mb_unwrapped"], 2)


def idle_tick(waiting: int) -> Iterator[Row]:
    """What a tick costs when much waits and nothing is new."""

    async def measure() -> float:
        policy = FlushPolicy(max_requests=waiting + 1, max_age=timedelta(days=1))
        engine = Engine("bench", Still(), policy, Ledger(MemoryRows(), "bench"))  # type: ignore[arg-type]
        now = datetime.now(UTC)
        await engine.open(now)
        await engine.collect((Request(f"{index:032x}", "thread", "item") for index in range(waiting)), now)
        ticks = 200
        started = time.perf_counter()
        for index in range(ticks):
            await engine.tick(now + timedelta(milliseconds=index))
        return (time.perf_counter() - started) / ticks * 1000

    yield Row(f"A tick with {waiting:,} requests waiting and none new", asyncio.run(measure()), 5, "ms")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one round of each, fewer threads")
    parser.add_argument("--large", action="store_true", help="100,000 threads too; takes about an hour")
    asked = parser.parse_args()
    threads, rounds = (500, 1) if asked.quick else (2000, 5)
    work: list[Callable[[], Iterator[Row]]] = [
        lambda: idle_tick(50_000),
        lambda: runner("memory", threads, KB, rounds),
        lambda: runner("memory", threads, 50 * KB, rounds),
        lambda: runner("given", threads, KB, max(1, rounds - 2)),
        lambda: runner("given", threads, 50 * KB, max(1, rounds - 2)),
        lambda: runner("own", threads, KB, rounds),
        lambda: runner("own", threads, 50 * KB, max(1, rounds - 2)),
        lambda: batcher(10_000, rounds),
        lambda: wrapped(10_000, rounds),
        lambda: realtime(1000, rounds),
        lambda: agents(threads // 2, max(1, rounds - 2)),
    ]
    if not asked.quick:
        work += [lambda: batcher(50_000, 1), lambda: growth(2000, 20_000)]
    if asked.large:
        work += [lambda: large(100_000)]
    table = Table("what", "measured", "at most", title="Benchmarks")
    console = Console()
    for each in work:
        for row in each():
            shown = f"{row.figure:.2f} {row.unit}"
            console.print(f"{row.what}: {shown}", highlight=False)
            table.add_row(
                row.what, f"[{'green' if row.figure <= row.limit else 'red'}]{shown}[/]", f"{row.limit:g} {row.unit}"
            )
    console.print(table)


def large(threads: int) -> Iterator[Row]:
    """Many threads on the Runner's own file, to the end."""
    took = bench_runner.measure("bridged", "own", threads, KB)
    yield Row(f"Runner, own file, {threads:,} threads of 1 kB: peak memory", took["peak"] / KB**3, 1, "GB")
    yield Row(f"Runner, own file, {threads:,} threads of 1 kB: wall", took["wall"] / 60, 60, "min")


if __name__ == "__main__":
    main()
