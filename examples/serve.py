"""The agent of examples/server on a LangGraph server, on this machine: what a deployment looks like from outside.

Starts the Batch API server and `langgraph dev`, starts threads of the research graph through `langgraph-sdk` as any
client would, watches them, and prints what happened. Whatever it started ends with it, on Ctrl-C too.

No key and no account: the answers are stand-ins.
"""

import asyncio
import contextlib
import itertools
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from dev_server import DevServer
from genai_prices import Usage, calc_price
from langgraph_sdk import get_client
from langgraph_sdk.client import LangGraphClient
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from batch_bridge.testing import BatchServer, Stats

GRAPH, BRIDGE, MODEL = "research", "bridge", "gpt-4o-mini"  # the ids in langgraph.json
CONFIG = Path(__file__).parents[1] / "langgraph.json"
JOBS = 50
SIDE_BY_SIDE = 16
LOOK_EVERY = 0.5
PLAIN_LINE_EVERY = 2.0
SUBJECTS = ("Bridges", "Canals", "Clocks", "Dams", "Ferries", "Gardens", "Harbours", "Kites", "Lamps", "Libraries")
PLACES = ("Chad", "Peru", "Japan", "Norway", "Egypt", "Chile", "Ghana", "Italy", "Nepal", "Cuba")


@dataclass(frozen=True)
class Moment:
    """How things are: threads by status, and what the bridge's own thread shows."""

    seconds: float
    started: int
    running: int
    parked: int
    ended: int
    failed: int
    bridge: dict[str, Any]

    def __str__(self) -> str:
        line = (
            f"{self.seconds:5.1f} s  {self.started:,} threads: {self.running:,} running, {self.parked:,} parked, "
            f"{self.ended:,} ended"
        )
        if self.failed:
            line += f", {self.failed:,} failed"
        if shown := self.bridge:
            line += (
                f"  bridge: {shown['waiting']:,} waiting, {shown['in_flight']:,} in flight, "
                f"batches at work: {shown['batches']:,}"
            )
            if shown["last_error"]:
                line += f"  {shown['last_error']}"
        return line


def topics(count: int) -> list[str]:
    """Return so many topics, no two the same."""
    named = (f"{subject} in {place}" for subject in SUBJECTS for place in PLACES)
    numbered = (f"Bridge number {number}" for number in itertools.count(1))
    return list(itertools.islice(itertools.chain(named, numbered), count))


async def start(client: LangGraphClient, topic: str, gate: asyncio.Semaphore) -> str:
    """Start a thread, and return its id. Nobody waits for the run: it parks, and the bridge resumes the thread."""
    async with gate:
        thread = await client.threads.create()
        await client.runs.create(thread["thread_id"], GRAPH, input={"topic": topic})
        return thread["thread_id"]


async def look(client: LangGraphClient, started: int, began: float) -> Moment:
    """Ask the server how things are."""
    ours = {"graph_id": GRAPH}
    parked = await client.threads.count(metadata=ours, status="interrupted")
    ended = await client.threads.count(metadata=ours, status="idle")
    failed = await client.threads.count(metadata=ours, status="error")
    running = max(0, started - parked - ended - failed)  # one call after the other: a thread may be counted twice
    found = await client.threads.search(metadata={"graph_id": BRIDGE}, select=["values"], limit=1)
    shown = (found[0]["values"] or {}) if found else {}
    shown = shown if "waiting" in shown else {}
    return Moment(time.monotonic() - began, started, running, parked, ended, failed, shown)


@contextlib.contextmanager
def shown_by(console: Console) -> Iterator[Any]:
    """Yield what shows a moment: one line that changes in a terminal, a line now and then elsewhere."""
    if console.is_terminal:
        with Live(Text(), console=console, transient=True) as live:
            yield lambda moment: live.update(Text(str(moment)))
        return
    next_at = 0.0

    def line(moment: Moment) -> None:
        nonlocal next_at
        if moment.seconds >= next_at:
            next_at = moment.seconds + PLAIN_LINE_EVERY
            console.print(str(moment), highlight=False, soft_wrap=True)

    yield line


async def run(url: str, count: int, console: Console) -> tuple[Moment, str, int]:
    """Start threads and watch them to their end; return the last moment, what one wrote, and the bridge's runs."""
    async with get_client(url=url) as client:
        began, gate = time.monotonic(), asyncio.Semaphore(SIDE_BY_SIDE)
        starting = [asyncio.create_task(start(client, topic, gate)) for topic in topics(count)]
        with shown_by(console) as show:
            while True:
                started = [each.result() for each in starting if each.done()]  # raises if one could not be started
                moment = await look(client, len(started), began)
                show(moment)
                if moment.ended + moment.failed == count:
                    break
                await asyncio.sleep(LOOK_EVERY)
        (first,) = await client.threads.search(ids=started[:1], select=["values"])
        (bridge,) = await client.threads.search(metadata={"graph_id": BRIDGE}, select=["thread_id"], limit=1)
        runs = await client.runs.list(bridge["thread_id"], limit=1000)
        return moment, (first["values"] or {}).get("report", ""), len(runs)


def price(stats: Stats) -> float:
    """Return what the answers' tokens cost at the realtime price, in dollars."""
    used = Usage(input_tokens=stats.input_tokens, output_tokens=stats.output_tokens)
    return float(calc_price(used, MODEL, provider_id="openai").total_price)


def report(console: Console, moment: Moment, written: str, runs: int, stats: Stats) -> None:
    """Print what happened."""
    table = Table(show_header=False, title="A LangGraph server with a bridge")
    rows = {
        "threads": f"{moment.ended:,} ended, {moment.failed:,} failed",
        "requests": f"{stats.requests:,}",
        "batches": f"{stats.batches:,}",
        "runs of the bridge": f"{runs:,}",
        "requests paid twice": f"{stats.paid_twice:,}",
        "cost": f"${price(stats) / 2:.4f}, had {MODEL} answered",
        "cost at realtime price": f"${price(stats):.4f}",
        "time": f"{moment.seconds:.1f} s",
    }
    for name, value in rows.items():
        table.add_row(name, value)
    console.print(written, soft_wrap=True, markup=False, highlight=False)
    console.print(table)


def stop_once(*_: object) -> None:
    """Answer Ctrl-C; a second one must not cut the end short."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    raise KeyboardInterrupt


def main(
    threads: Annotated[int, typer.Option(min=1, help="How many threads to start.")] = 200,
    latency: Annotated[float, typer.Option(min=0, help="Seconds that a batch takes.")] = 3.0,
    *,
    keep: Annotated[bool, typer.Option(help="Leave the servers running until Ctrl-C.")] = False,
) -> None:
    """Run it."""
    console = Console()
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    signal.signal(signal.SIGINT, stop_once)
    try:
        with contextlib.ExitStack() as stack:
            console.print("Starting the Batch API server and langgraph dev …", highlight=False)
            batches = stack.enter_context(BatchServer(latency=latency))
            env = {
                "OPENAI_BASE_URL": batches.base_url,
                "OPENAI_API_KEY": "any",
                "OPENAI_MODEL": MODEL,
                "BRIDGE_QUIET_SECONDS": "2",
                "BRIDGE_POLL_SECONDS": "2",
            }
            server = stack.enter_context(DevServer(CONFIG, jobs=JOBS, env=env))
            stack.callback(signal.signal, signal.SIGINT, signal.SIG_IGN)  # as in `stop_once`
            signal.signal(signal.SIGINT, signal.default_int_handler)  # asyncio has a gentler one in its place
            console.print(f"LangGraph server: {server.url}\nBatch API server: {batches.base_url}", highlight=False)
            report(console, *asyncio.run(run(server.url, threads, console)), batches.stats)
            if keep:
                studio = f"https://smith.langchain.com/studio/?baseUrl={server.url}"
                with contextlib.suppress(KeyboardInterrupt):
                    console.print(f"Studio: {studio}\nBoth servers run until Ctrl-C.", highlight=False, soft_wrap=True)
                    signal.pause()
    except KeyboardInterrupt:
        console.print("Stopped, and with it everything that it had started.", highlight=False)
        sys.exit(130)


if __name__ == "__main__":
    typer.run(main)
