"""Threads of two users with three waits each, on a LangGraph server whose bridge has an identity of its own.

Measured against another state of the package, a worktree of an earlier commit say: the server of the one and of the
other by turns, in pairs. On a busy machine the CPU seconds of a server say more than the time that it took.
"""

import asyncio
import os
import statistics
import time
from pathlib import Path

from dev_server import DevServer
from langgraph_sdk import get_client
from langgraph_sdk.client import LangGraphClient
from rich.console import Console

HERE = Path(__file__).parent.parent
_CONFIG = Path(__file__).parent / "users" / "langgraph.json"
_USERS = ("ann", "bob")
_WAITS = 3
_JOBS = 50
_SIDE_BY_SIDE = 32
_PAGE = 1000
_PAUSE = 0.02
"""Seconds between two looks, for each thread: they cost the server, too, and a slow machine has more of them."""
_PATIENCE = 600.0
"""Seconds that a busy server may take for an answer."""
MOST = 1.05
"""What the CPU seconds may be, of those of the state before."""


async def serve(client: LangGraphClient, user: str, count: int) -> None:
    """Start a user's threads, and return once all of them have all their answers."""
    gate = asyncio.Semaphore(_SIDE_BY_SIDE)

    async def start(index: int) -> str:
        async with gate:
            thread = str((await client.threads.create())["thread_id"])
            await client.runs.create(thread, "rounds", input={"question": f"{user} {index}"})
            return thread

    ids = await asyncio.gather(*map(start, range(count)))
    while True:
        found = {}
        for first in range(0, count, _PAGE):
            page = ids[first : first + _PAGE]
            for each in await client.threads.search(ids=page, limit=_PAGE, select=["thread_id", "status", "values"]):
                found[each["thread_id"]] = each
        if all(found[each]["status"] == "idle" for each in ids):
            break
        if failed := [each for each in ids if found[each]["status"] == "error"]:
            raise SystemExit(f"{len(failed)} threads of {user} have failed, the first is {failed[0]}")
        await asyncio.sleep(_PAUSE * count)
    right = [[f"{user} {index} {wait}".upper() for wait in range(_WAITS)] for index in range(count)]
    if [found[each]["values"].get("answers") for each in ids] != right:
        raise SystemExit(f"threads of {user} have wrong answers")


async def measure(package: Path, count: int) -> tuple[float, float]:
    """Return the wall and the server's CPU seconds of `count` threads, with the package that lies in a folder."""
    with DevServer(_CONFIG, jobs=_JOBS, env={"THREADS": str(count), "PYTHONPATH": str(package)}) as server:
        clients = {user: get_client(url=server.url, headers={"x-user": user}, timeout=_PATIENCE) for user in _USERS}
        before, began = cpu_seconds(server.pid), time.perf_counter()
        await asyncio.gather(*(serve(client, user, count // len(_USERS)) for user, client in clients.items()))
        took, used = time.perf_counter() - began, cpu_seconds(server.pid) - before
        for client in clients.values():
            await client.aclose()
    return took, used


def compare(other: Path, count: int, rounds: int) -> float:
    """Print and return the median of the server's CPU seconds, as a share of those with the other package."""
    console, ratios, walls = Console(), [], []
    for index in range(rounds):
        order = (HERE, other) if index % 2 else (other, HERE)
        figures = {package: asyncio.run(measure(package, count)) for package in order}
        (wall, cpu), (wall_before, cpu_before) = figures[HERE], figures[other]
        ratios.append(cpu / cpu_before)
        walls.append(wall / wall_before)
        console.print(
            f"{count:,} threads of two users, {_WAITS} waits each: {cpu:.1f} s of CPU against {cpu_before:.1f} s "
            f"({ratios[-1]:.3f}), {wall:.1f} s against {wall_before:.1f} s",
            highlight=False,
        )
    share = statistics.median(ratios)
    console.print(
        f"Median of {rounds} pairs: server's CPU {share:.3f} of before (at most {MOST}), "
        f"time {statistics.median(walls):.3f}",
        highlight=False,
    )
    return share


def cpu_seconds(pid: int) -> float:
    """What a process has used so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
