"""All benchmarks, one table: every figure a ratio of two things measured side by side in this run.

With `--quick` the ratios of CPU time alone are measured, in some minutes, and compared with those that are committed in
`baseline.json`: the exit code is 1 where one is more than 15 % above. `--quick --save` writes that file.
"""

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import NamedTuple

import bench_agents
import bench_batcher
import bench_imports
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
BASELINE = Path(__file__).with_name("baseline.json")
WORSE = 1.15
"""How far a ratio may be above the committed one."""


class Row(NamedTuple):
    """A line of the table. `limit` is what it has to stay below; `guarded` are ratios that the baseline has."""

    what: str
    figure: float
    limit: float
    unit: str = "times"
    guarded: bool = False


class Still:
    """A provider whose batches never end."""

    limits = Limits()

    def measure(self, _: Request) -> Measure:
        return Measure("", 1000)


def runner(kind: str, threads: int, size: int, rounds: int, *, relax_gc: bool = True) -> Iterator[Row]:
    """Runner / plain LangGraph, wall and CPU; the Runner's own file against the stock SQLite saver."""
    base = {"memory": "InMemorySaver", "given": "AsyncSqliteSaver, given", "own": "own file / AsyncSqliteSaver"}[kind]
    took = bench_runner.compare(kind, threads, size, rounds, relax_gc=relax_gc)
    limit = 0.35 if kind == "own" and size <= KB else 1 if relax_gc else 1.05
    usual = "" if relax_gc else ", relax_gc=False"
    name = f"Runner / plain LangGraph, {base}, {threads:,} threads of {size // KB} kB{usual}"
    yield Row(f"{name}: wall", took["wall"], limit)
    yield Row(f"{name}: CPU", took["cpu"], limit, guarded=True)


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
    """Batcher / a script written by hand, CPU of the client: of all requests, and of one more."""
    took = bench_batcher.compare(count, KB, rounds)
    name = f"Batcher with OpenAIBatch / script by hand, {count:,} requests of 1 kB"
    yield Row(f"{name}: CPU", took["cpu"], 2.2, guarded=True)
    yield Row(f"{name}: CPU of one more, from {count // 10:,} on", took["marginal"], 2, guarded=True)
    yield Row(f"{name}: CPU of one more by hand", took["marginal_us_by_hand"], 1000, "µs")
    yield Row(f"{name}: memory above the imports", took["megabytes"], 120, "MB")


def imports(rounds: int) -> Iterator[Row]:
    """What `import` costs, and that of what it builds on."""
    took = bench_imports.compare(rounds)
    yield Row("import Batcher and OpenAIBatch / import openai: CPU", took["batcher/sdk"], 2, guarded=True)
    yield Row("import Runner / import LangGraph and its SQLite saver: CPU", took["runner/langgraph"], 2, guarded=True)
    yield Row("import batch_bridge: CPU", took["bare"] * 1000, 20, "ms")


def agents(count: int, rounds: int) -> Iterator[Row]:
    """Agents with a batched model / the same agents that interrupt by hand."""
    took = bench_agents.compare(count, rounds)
    name = f"Agents with a batched ChatOpenAI / agents that interrupt by hand, {count:,} agents"
    yield Row(f"{name}: CPU", took["cpu"], 2, guarded=True)
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
    yield Row(f"{name}: CPU", took["cpu"], 0.12, guarded=True)
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


def work(*, is_quick: bool, is_large: bool) -> list[Callable[[], Iterator[Row]]]:
    """Return what is measured."""
    if is_quick:
        return [
            lambda: imports(3),
            lambda: batcher(10_000, 3),
            lambda: wrapped(10_000, 3),
            lambda: runner("own", 1000, KB, 3),
            lambda: runner("given", 1000, KB, 3),
            lambda: runner("memory", 1000, KB, 3),
        ]
    everything = [
        lambda: imports(5),
        lambda: idle_tick(50_000),
        lambda: runner("memory", 2000, KB, 5),
        lambda: runner("memory", 2000, 50 * KB, 5),
        lambda: runner("given", 2000, KB, 3),
        lambda: runner("given", 2000, 50 * KB, 3),
        lambda: runner("own", 2000, KB, 5),
        lambda: runner("own", 2000, 50 * KB, 3),
        *(partial(runner, kind, 2000, KB, 3, relax_gc=False) for kind in ("memory", "given", "own")),
        lambda: batcher(1_000, 5),
        lambda: batcher(10_000, 5),
        lambda: batcher(50_000, 3),
        lambda: wrapped(10_000, 5),
        lambda: realtime(1000, 5),
        lambda: agents(1000, 3),
        lambda: growth(2000, 20_000),
    ]
    return [*everything, lambda: large(100_000)] if is_large else everything


def compared(ratios: dict[str, float]) -> list[str]:
    """Return which ratios are worse than the committed ones. Those that nobody has committed are not compared."""
    committed: dict[str, float] = json.loads(BASELINE.read_text(encoding="utf-8"))["ratios"]
    return [
        f"{what}: {ratios[what]:.2f}, and {ratio:.2f} is committed"
        for what, ratio in committed.items()
        if what in ratios and ratios[what] > WORSE * ratio
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="the guarded ratios alone, and exit 1 if one is worse")
    parser.add_argument("--save", action="store_true", help="with --quick: commit these ratios, in baseline.json")
    parser.add_argument("--large", action="store_true", help="100,000 threads too; takes about an hour")
    asked = parser.parse_args()
    if asked.save and not asked.quick:
        parser.error("--save belongs to --quick")
    table = Table("what", "measured", "at most", title="Benchmarks")
    console = Console()
    ratios: dict[str, float] = {}
    for each in work(is_quick=asked.quick, is_large=asked.large):
        for row in each():
            shown = f"{row.figure:.2f} {row.unit}"
            console.print(f"{row.what}: {shown}", highlight=False)
            table.add_row(
                row.what, f"[{'green' if row.figure <= row.limit else 'red'}]{shown}[/]", f"{row.limit:g} {row.unit}"
            )
            if row.guarded:
                ratios[row.what] = round(row.figure, 3)
    console.print(table)
    if asked.save:
        saved = {"measured": f"{datetime.now(UTC):%Y-%m-%d}", "ratios": ratios}
        BASELINE.write_text(json.dumps(saved, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    elif asked.quick and (worse := compared(ratios)):
        console.print(f"more than {WORSE - 1:.0%} worse than {BASELINE.name}:", *worse, sep="\n", highlight=False)
        return 1
    return 0


def large(threads: int) -> Iterator[Row]:
    """Many threads on the Runner's own file, to the end."""
    took = bench_runner.measure("bridged", "own", threads, KB)
    yield Row(f"Runner, own file, {threads:,} threads of 1 kB: peak memory", took["peak"] / KB**3, 1, "GB")
    yield Row(f"Runner, own file, {threads:,} threads of 1 kB: wall", took["wall"] / 60, 60, "min")


if __name__ == "__main__":
    sys.exit(main())
