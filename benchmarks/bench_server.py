"""A graph on a LangGraph server with a bridge, against the same graph resumed by a script through the SDK.

Each measurement has a fresh server: one falls off as it ages. Both phases count: all threads started and parked, all
of them resumed and ended.
"""

import argparse
import asyncio
import json
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from langgraph_sdk import get_client
from langgraph_sdk.client import LangGraphClient
from rich.console import Console

sys.path.insert(0, str(Path(__file__).parent.parent / "examples"))
import server_users
from dev_server import DevServer
from server_users import cpu_seconds

_SIDE_BY_SIDE = 32
_JOBS = 50
_CONFIG = Path(__file__).parent / "server" / "langgraph.json"
_LIMIT = 0.75
_LATE = 3.0
"""Seconds: one linger and two more."""


async def each(count: int, work: Callable[[int], Any]) -> list[Any]:
    """Run `work` for each number, so many side by side as a careful client would."""
    gate = asyncio.Semaphore(_SIDE_BY_SIDE)

    async def one(index: int) -> Any:
        async with gate:
            return await work(index)

    return await asyncio.gather(*(one(index) for index in range(count)))


async def start(client: LangGraphClient, graph: str, count: int) -> list[str]:
    """Start threads; return their ids."""

    async def one(index: int) -> str:
        thread = await client.threads.create()
        await client.runs.create(thread["thread_id"], graph, input={"question": f"question {index}"})
        return str(thread["thread_id"])

    return await each(count, one)


async def until(client: LangGraphClient, ids: list[str], status: str) -> list[dict[str, Any]]:
    """Return the threads once all of them have a status."""
    while True:
        threads: list[Any] = []
        for first in range(0, len(ids), 1000):
            page = ids[first : first + 1000]
            fields: Any = ["thread_id", "status", "interrupts", "values"]
            threads += await client.threads.search(ids=page, limit=1000, select=fields)
        if all(thread["status"] == status for thread in threads):
            return threads
        await asyncio.sleep(0.25)


async def resumed_by_script(client: LangGraphClient, count: int) -> None:
    """Park all threads, then answer each."""
    ids = await start(client, "plain", count)
    parked = await until(client, ids, "interrupted")

    async def resume(index: int) -> None:
        (raised,) = (each for raised in parked[index]["interrupts"].values() for each in raised)
        answers = {raised["id"]: raised["value"]["q"].upper()}
        await client.runs.create(parked[index]["thread_id"], "plain", command={"resume": answers})

    await each(count, resume)
    check(await until(client, ids, "idle"), ids)


async def resumed_by_bridge(client: LangGraphClient, count: int) -> None:
    """Start all threads; the bridge does the rest."""
    ids = await start(client, "bridged", count)
    check(await until(client, ids, "idle"), ids)


def check(threads: list[dict[str, Any]], ids: list[str]) -> None:
    """Look whether every thread has its own answer."""
    answers = {thread["thread_id"]: thread["values"].get("answer") for thread in threads}
    wrong = [each for index, each in enumerate(ids) if answers[each] != f"QUESTION {index}"]
    if wrong:
        raise SystemExit(f"{len(wrong)} threads have a wrong answer")


async def measure(way: Callable[[LangGraphClient, int], Any], count: int) -> tuple[float, float]:
    """Return the wall seconds of a way, and the server's CPU seconds, on a fresh server."""
    with DevServer(_CONFIG, jobs=_JOBS, env={"THREADS": str(count)}) as server:
        client = get_client(url=server.url)
        before, began = cpu_seconds(server.pid), time.perf_counter()
        await way(client, count)
        took, used = time.perf_counter() - began, cpu_seconds(server.pid) - before
        await client.aclose()
    return took, used


def compare(count: int, rounds: int) -> float:
    """Print and return the bridge's threads/s as a share of the script's."""
    console = Console()
    ratios, cpu = [], []
    for index in range(rounds):
        ways = [resumed_by_script, resumed_by_bridge]
        figures = {way: asyncio.run(measure(way, count)) for way in (ways if index % 2 else reversed(ways))}
        (script, script_cpu), (ours, ours_cpu) = figures[resumed_by_script], figures[resumed_by_bridge]
        ratios.append(script / ours)
        cpu.append(ours_cpu / script_cpu)
        console.print(
            f"{count:,} threads: script {count / script:.0f} threads/s ({script_cpu:.1f} s of CPU), "
            f"bridge {count / ours:.0f} threads/s ({ours_cpu:.1f} s of CPU): {script / ours:.2f}",
            highlight=False,
        )
    share = statistics.median(ratios)
    console.print(
        f"Bridge / script, {count:,} threads: threads/s {share:.2f} (at least {_LIMIT}), "
        f"server's CPU {statistics.median(cpu):.2f}",
        highlight=False,
    )
    return share


async def lateness(threads: int) -> float:
    """Return the longest time that a wait went unnoticed, with an hour's timer pending.

    The waits come at random moments around the end of a tick: a tick begins a linger after the first one that rings.
    """
    draws = random.Random(4)
    waves = 15
    pauses = [1 + wave * 1.05 + draws.uniform(-0.25, 0.25) for wave in range(waves) for _ in range(threads // waves)]
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "noticed.jsonl"
        with DevServer(_CONFIG, jobs=_JOBS, env={"LOG": str(log)}) as server:
            client = get_client(url=server.url)

            async def park(index: int, pause: float) -> None:
                await asyncio.sleep(pause)
                thread = await client.threads.create()
                await client.runs.create(thread["thread_id"], "parking", input={"question": f"question {index}"})

            await park(-1, 0.0)
            await asyncio.gather(*(park(index, pause) for index, pause in enumerate(pauses)))
            while (lines := read(log)) and max(line.get("noticed", 0) for line in lines) <= len(pauses):  # noqa: ASYNC110
                await asyncio.sleep(0.2)  # another process writes it
            await client.aclose()
    parked = sorted(line["parked"] for line in lines if "parked" in line)
    noticed = [(line["at"], line["noticed"]) for line in lines if "noticed" in line]
    return max(next(at for at, count in noticed if count > place) - moment for place, moment in enumerate(parked))


def read(log: Path) -> list[dict[str, float]]:
    """Return what the parking node and its bridge have written down."""
    return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else [{}]


def main() -> None:
    """Run it all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, nargs="*", default=[1000, 3000])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--against",
        type=Path,
        metavar="FOLDER",
        help="measure threads of two users with three waits each, against the package in this folder; nothing else",
    )
    options = parser.parse_args()
    if options.against is not None:
        most = max(server_users.compare(options.against.resolve(), each, options.rounds) for each in options.threads)
        sys.exit(0 if most <= server_users.MOST else 1)
    shares = [compare(count, options.rounds) for count in options.threads]
    late = asyncio.run(lateness(300))
    Console().print(
        f"Longest time that a wait went unnoticed, 300 around the end of a tick: {late:.1f} s (at most {_LATE:.0f})",
        highlight=False,
    )
    sys.exit(0 if min(shares, default=1.0) >= _LIMIT and late <= _LATE else 1)


if __name__ == "__main__":
    main()
