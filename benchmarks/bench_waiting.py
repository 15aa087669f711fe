"""What a pool costs while very many threads wait: intake, a tick that finds nothing new, memory, and a take-over.

The threads are copies of one that really parked, in PostgreSQL: rows, checkpoints, interrupts, notes. Workers are real
processes; the one that ticks is killed.
"""

import argparse
import asyncio
import contextlib
import os
import random
import signal
import statistics
import subprocess
import sys
import threading
import time
from datetime import timedelta
from pathlib import Path
from queue import Queue
from typing import Any, ClassVar, TypedDict
from uuid import uuid4

import psycopg
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from langgraph.graph import StateGraph
from langgraph.types import Interrupt
from psycopg.types.json import Jsonb
from rich.console import Console

from batch_bridge import Bridge, FlushPolicy, wait
from batch_bridge._core.payload.interrupt_payload import Asked, interrupt_value, to_json
from batch_bridge._node.platform.inbox import note_row
from batch_bridge._server.tick import ServerHost
from batch_bridge.pool import Pool
from batch_bridge.pool._thread_table import handle_of

sys.path.insert(0, str(Path(__file__).parent.parent / "examples"))
from own_postgres import own_postgres

BRIDGE = "bridge"
ITEM = {"messages": [{"role": "user", "content": "x" * 900}]}
TEMPLATE = "template"
SETTINGS = ("shared_preload_libraries=pg_stat_statements", "max_wal_size=4GB")
QUIET = 20.0
"""Seconds in which ticks are counted that find nothing."""
ROUNDS = 5
INTAKE, STATEMENTS, TAKE_OVER = 3000, 10, 3.0
"""Requests a second at least, statements of a tick below, and seconds of a take-over below."""
OTHERS = (
    "query ILIKE '%procrastinate%' OR query ILIKE '%pg_stat_statements%' OR query ILIKE 'set %' "
    "OR query IN ('BEGIN', 'COMMIT')"
)
"""Statements that are not the ticker's: of a worker's jobs, which alone are in transactions, and of this benchmark."""
console = Console(highlight=False, soft_wrap=True)


class State(TypedDict, total=False):
    """A thread's."""

    q: str
    answer: Any


async def node(state: State) -> State:
    """Wait."""
    del state
    return {"answer": await wait(ITEM)}


def make_pool(dsn: str) -> Pool:
    """Return the pool, which sends nothing."""
    policy = FlushPolicy(max_requests=10_000_000, max_age=timedelta(hours=24), when_idle=False)
    graph = StateGraph(State).add_node("node", node).add_edge("__start__", "node")
    return Pool(graph, Bridge(submit=len, poll=lambda _: None, flush=policy), dsn=dsn)


# -- a worker ------------------------------------------------------------------------------------------------------


async def work(dsn: str) -> None:
    """Work, and print when a pass has taken the bridge up and reads its notes, and when it has taken them in."""
    collect = ServerHost.collect

    async def collect_and_tell(self: ServerHost, user: str) -> None:
        print("begin", time.time(), flush=True)
        await collect(self, user)
        print("end", time.time(), flush=True)

    ServerHost.collect = collect_and_tell  # type: ignore[method-assign]
    await make_pool(dsn).run()


class Worker:
    """A worker, and what it says of its passes."""

    all: ClassVar[list["Worker"]] = []

    def __init__(self, dsn: str) -> None:
        command = [sys.executable, __file__, "--worker", dsn]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.all.append(self)
        self.said: Queue[tuple[str, float]] = Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            word, _, at = line.partition(" ")
            self.said.put((word, float(at)))

    def until(self, word: str) -> float:
        """Return when it says something next."""
        while (said := self.said.get(timeout=600))[0] != word:
            pass
        return said[1]

    def hush(self) -> int:
        """Forget what it has said by now; return how many passes it has told of."""
        words = []
        while not self.said.empty():
            words.append(self.said.get()[0])
        return words.count("end")

    def cpu(self) -> float:
        """Return the CPU seconds that it has used."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text(encoding="ascii").rpartition(") ")[2].split()
        return sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")

    def memory(self) -> int:
        """Return the bytes that it holds."""
        status = Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii")
        return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmRSS:"))

    def end(self) -> None:
        """Kill it."""
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGKILL)
        self.process.wait()


# -- threads that wait ------------------------------------------------------------------------------------------------


async def make_template(dsn: str) -> None:
    """Have one thread park, without a worker."""
    pool = make_pool(dsn)
    async with pool:
        await pool.submit([{"q": "template"}], {"configurable": {"thread_id": TEMPLATE}}, run_id=TEMPLATE)
        await pool._leg(TEMPLATE)  # noqa: SLF001  # as a worker's job does
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("DELETE FROM procrastinate_jobs")
        connection.execute("DELETE FROM store")


def park(dsn: str, count: int) -> None:
    """Make so many parked threads of the one that there is, each with a request of its own."""
    serde = AsyncPostgresSaver.serde
    with psycopg.connect(dsn) as connection:
        (interrupt,) = connection.execute(
            "SELECT checkpoint_ns, checkpoint_id, task_id, idx, channel, type, blob, task_path FROM checkpoint_writes "
            "WHERE thread_id = %s AND channel = '__interrupt__'",
            (TEMPLATE,),
        ).fetchall()
        namespace, checkpoint, task, index, channel, kind, blob, path = interrupt
        (raised,) = serde.loads_typed((kind, bytes(blob)))
        asks = [uuid4().hex for _ in range(count)]
        names = [f"waiting:{place}" for place in range(count)]
        with connection.cursor().copy(
            "COPY checkpoint_writes (thread_id, checkpoint_ns, checkpoint_id, task_id, idx, channel, type, blob, "
            "task_path) FROM STDIN"
        ) as rows:
            for name, request in zip(names, asks, strict=True):
                value = interrupt_value([to_json(Asked(request, BRIDGE, ITEM))])
                written, data = serde.dumps_typed((Interrupt(value=value, id=raised.id),))
                rows.write_row((name, namespace, checkpoint, task, index, channel, written, data, path))
        copied = "checkpoint_ns, checkpoint_id, parent_checkpoint_id, type, checkpoint, metadata"
        connection.execute(
            f"INSERT INTO checkpoints (thread_id, {copied}) SELECT name, {copied} FROM checkpoints, "
            "unnest(%s::text[]) AS name WHERE thread_id = %s",
            (names, TEMPLATE),
        )
        copied = "pool, run, place, digest, state, kind, given"
        connection.execute(
            f"INSERT INTO batch_bridge_threads (thread, handle, {copied}) SELECT name, handle, {copied} FROM "
            "(SELECT * FROM batch_bridge_threads WHERE thread = %s) t (thread, old, pool, run, place, digest, state, "
            "token, kind, given), unnest(%s::text[], %s::text[]) AS made(name, handle)",
            (TEMPLATE, names, [handle_of(name) for name in names]),
        )
        with connection.cursor().copy("COPY store (prefix, key, value) FROM STDIN") as rows:
            for name, request in zip(names, asks, strict=True):
                note = note_row(BRIDGE, handle_of(name), "", [request], idle=False)
                rows.write_row((".".join(note.namespace), note.key, Jsonb(note.value)))
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("ANALYZE")


# -- the measurements ----------------------------------------------------------------------------------------------


def notes(connection: psycopg.Connection[Any]) -> int:
    """Return how many notes have not been taken in."""
    return int(_one(connection, f"SELECT count(*) FROM store WHERE prefix = 'batch_bridge.{BRIDGE}.inbox'"))


def _one(connection: psycopg.Connection[Any], query: str) -> Any:
    row = connection.execute(query.encode()).fetchone()
    return row and row[0]


def intake(connection: psycopg.Connection[Any], worker: Worker, count: int) -> float:
    """Return how many requests a second are taken in, from the first pass on."""
    began = worker.until("begin")
    used = worker.cpu()
    while notes(connection):
        ended = worker.until("end")
    rate = count / (ended - began)
    console.print(
        f"intake: {rate:,.0f} requests/s ({count:,} in {ended - began:.1f} s), "
        f"{(worker.cpu() - used) / count * 1000:.2f} ms of CPU a request"
    )
    return rate


def until_quiet(worker: Worker) -> None:
    """Wait until passes come a pause apart: nothing is left to look for."""
    while True:
        if -worker.until("end") + worker.until("begin") > 0.5 and worker.said.qsize() <= 1:
            return


def quiet(connection: psycopg.Connection[Any], worker: Worker) -> float:
    """Return how many statements a tick runs that finds nothing."""
    until_quiet(worker)
    used = worker.cpu()
    connection.execute("SELECT pg_stat_statements_reset()")
    worker.hush()
    time.sleep(QUIET)
    ticks = worker.hush()
    total = _one(connection, f"SELECT sum(calls) FROM pg_stat_statements WHERE NOT ({OTHERS})")
    console.print(
        f"quiet: {total / ticks:.1f} statements a tick ({ticks} ticks in {QUIET:.0f} s), "
        f"{(worker.cpu() - used) / ticks * 1000:.0f} ms of CPU a tick; {worker.memory() / 1e6:,.0f} MB"
    )
    for calls, query in connection.execute(
        f"SELECT calls, query FROM pg_stat_statements WHERE NOT ({OTHERS}) ORDER BY calls DESC LIMIT 12".encode()
    ):
        console.print(f"  {calls / ticks:5.2f}  {' '.join(query.split())[:100]}", markup=False)
    return float(total / ticks)


def take_over(dsn: str, connection: psycopg.Connection[Any], holder: Worker) -> tuple[float, Worker]:
    """Kill the process that ticks; return the seconds until another has read the queue and the notes, and that one."""
    other = Worker(dsn)
    sessions = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'batch_bridge ticker%'"
    while _one(connection, sessions) < 2:  # both are there
        time.sleep(0.1)
    time.sleep(1 + random.random())
    killed = time.time()
    holder.end()
    began, ended = other.until("begin"), other.until("end")
    console.print(f"the queue was read {began - killed:.2f} s after the death, the notes {ended - began:.2f} s later")
    return ended - killed, other


def main() -> None:
    """Run it all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="take-overs")
    parser.add_argument("--worker", metavar="DSN", help=argparse.SUPPRESS)
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # what was started ends with it
    if options.worker:
        asyncio.run(work(options.worker))
        return
    with own_postgres(*SETTINGS) as postgres, contextlib.ExitStack() as stack:
        dsn = postgres.dsn
        asyncio.run(make_template(dsn))
        park(dsn, options.requests)
        connection = stack.enter_context(psycopg.connect(dsn, autocommit=True))
        connection.execute("CREATE EXTENSION pg_stat_statements")
        size = _one(connection, "SELECT pg_database_size(current_database())")
        console.print(f"{options.requests:,} threads wait; the database has {size / 1e6:,.0f} MB")
        worker = Worker(dsn)
        stack.callback(lambda: [each.end() for each in Worker.all])
        rate = intake(connection, worker, options.requests)
        statements = quiet(connection, worker)
        took = []
        for _ in range(options.rounds):
            seconds, worker = take_over(dsn, connection, worker)
            took.append(seconds)
            until_quiet(worker)
            console.print(f"take-over: {seconds:.2f} s; until all is quiet {worker.cpu():.1f} s of CPU, imports too")
    console.print(
        f"{options.requests:,} waiting: intake {rate:,.0f} requests/s (at least {INTAKE:,}), quiet tick "
        f"{statements:.1f} statements (below {STATEMENTS}), take-over {statistics.median(took):.2f} s, worst "
        f"{max(took):.2f} s (below {TAKE_OVER:.0f})"
    )
    sys.exit(0 if rate >= INTAKE and statements < STATEMENTS and max(took) < TAKE_OVER else 1)


if __name__ == "__main__":
    main()
