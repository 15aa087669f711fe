"""A `Pool` against a hand-written app of procrastinate that interrupts and resumes the same graph without a bridge.

Three workers each, on a PostgreSQL of its own for each measurement; in pairs, in turn one before the other. It counts
from the first thread's row to the last result. The app by hand gives up what a bridge is there for: nothing is
sent anywhere, and a crash between its writes loses threads.
"""

import argparse
import asyncio
import contextlib
import os
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psycopg
from rich.console import Console

sys.path.insert(0, str(Path(__file__).parent / "pool"))
sys.path.insert(0, str(Path(__file__).parent.parent / "examples"))
import by_hand
import by_pool
from own_postgres import own_postgres
from questions import check

WORKERS = 3
LEAST = 1.0
SETTINGS = ("shared_preload_libraries=pg_stat_statements", "max_connections=200")
console = Console(highlight=False, soft_wrap=True)


def cpu_of(pid: int) -> float:
    """Return the CPU seconds of a process, of its children, and of those that have ended."""
    used = 0.0
    for each in (pid, *_children_of(pid)):
        with contextlib.suppress(OSError):  # it has ended meanwhile, and is its parent's
            fields = Path(f"/proc/{each}/stat").read_text(encoding="ascii").rpartition(") ")[2].split()
            used += sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")
    return used


def _children_of(pid: int) -> list[int]:
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()]


def measure(way: Any, count: int, *, shown: bool = False) -> dict[str, float]:
    """Run threads in three workers; return wall seconds, and CPU seconds of workers, of Postgres, and of the caller."""
    with own_postgres(*SETTINGS) as postgres:
        asyncio.run(way.prepare(postgres.dsn))
        workers = [subprocess.Popen([sys.executable, way.__file__, postgres.dsn]) for _ in range(WORKERS)]
        try:
            until_they_work(postgres.dsn)
            before = sum(cpu_of(each.pid) for each in workers), cpu_of(postgres.pid), time.process_time()
            began = time.perf_counter()
            check(asyncio.run(way.run(postgres.dsn, count)))
            took = time.perf_counter() - began
            after = sum(cpu_of(each.pid) for each in workers), cpu_of(postgres.pid), time.process_time()
            if shown:
                show_statements(postgres.dsn, count)
        finally:
            for each in workers:
                each.terminate()
            for each in workers:
                each.wait()
    worked, stored, called = (new - old for new, old in zip(after, before, strict=True))
    return {"wall": took, "workers": worked, "postgres": stored, "caller": called, "cpu": worked + stored + called}


def until_they_work(dsn: str) -> None:
    """Wait until all workers have registered, and count statements from then on."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("CREATE EXTENSION IF NOT EXISTS pg_stat_statements")
        while True:
            row = connection.execute("SELECT count(*) FROM procrastinate_workers").fetchone()
            if row is not None and row[0] >= WORKERS:
                break
            time.sleep(0.1)
        time.sleep(2)  # one of them begins to tick
        connection.execute("SELECT pg_stat_statements_reset()")


def show_statements(dsn: str, count: int) -> None:
    """Print which statements were run, for each thread."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        rows = connection.execute(
            "SELECT calls, total_exec_time, query FROM pg_stat_statements ORDER BY calls DESC"
        ).fetchall()
    total = sum(calls for calls, _, _ in rows)
    took = sum(milliseconds for _, milliseconds, _ in rows)
    console.print(f"{total / count:.1f} statements a thread, {took / count:.2f} ms of Postgres a thread")
    for calls, milliseconds, query in rows[:40]:
        if calls >= count / 20:
            text = " ".join(query.split())[:110]
            console.print(f"  {calls / count:6.2f}  {milliseconds / calls:7.3f} ms  {text}", markup=False)


def compare(count: int, rounds: int, *, shown: bool) -> float:
    """Print the pairs, and return the pool's threads/s as a share of the app's by hand."""
    ratios, cpu = [], []
    for index in range(rounds):
        ways = [by_hand, by_pool] if index % 2 else [by_pool, by_hand]
        figures = {way: measure(way, count, shown=shown) for way in ways}
        hand, ours = figures[by_hand], figures[by_pool]
        ratios.append(hand["wall"] / ours["wall"])
        cpu.append(ours["cpu"] / hand["cpu"])
        for name, each in (("by hand", hand), ("pool", ours)):
            console.print(
                f"{count:,} threads {name:>7}: {count / each['wall']:5.0f} threads/s; CPU {each['cpu']:.1f} s: "
                f"{each['workers']:.1f} of the workers, {each['postgres']:.1f} of Postgres, "
                f"{each['caller']:.1f} of the caller"
            )
        console.print(f"  threads/s {ratios[-1]:.2f}, CPU {cpu[-1]:.2f}")
    share = statistics.median(ratios)
    console.print(
        f"Pool / by hand, {count:,} threads of two waits, {WORKERS} workers: threads/s {share:.2f} (at least "
        f"{LEAST}), CPU {statistics.median(cpu):.2f}"
    )
    return share


def main() -> None:
    """Run it all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=3000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--statements", action="store_true", help="also print which statements were run")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # what was started ends with it
    sys.exit(0 if compare(options.threads, options.rounds, shown=options.statements) >= LEAST else 1)


if __name__ == "__main__":
    main()
