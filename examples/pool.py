"""A pool of three processes on a Postgres of its own: 2,000 records, and one process is killed in the middle.

Starts a cluster in a temporary folder, the Batch API server and three workers, and ends all it has started.
No key and no account: the answers are stand-ins.
"""

import asyncio
import os
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from typing import TypedDict

from langgraph.graph import StateGraph
from openai import AsyncOpenAI
from own_postgres import own_postgres

from batch_bridge import Bridge, wait
from batch_bridge.pool import Pool
from batch_bridge.providers.openai import OpenAIBatch
from batch_bridge.testing import BatchServer

WORKERS = 3
RECORDS = 2_000


class State(TypedDict, total=False):
    record: str
    summary: str
    check: str


async def ask(text: str) -> str:
    answer = await wait([{"role": "user", "content": text}])
    return answer["choices"][0]["message"]["content"]


async def summarise(state: State) -> State:
    return {"summary": await ask(f"Summarise record {state['record']}")}


async def check(state: State) -> State:
    return {"check": await ask(f"Is this right? {state['summary']}")}


def make_pool() -> Pool:
    """Return the pool, as each process makes it."""
    graph = StateGraph(State).add_node("summarise", summarise).add_node("check", check)
    graph.add_edge("__start__", "summarise").add_edge("summarise", "check")
    client = lambda: AsyncOpenAI(base_url=os.environ["POOL_SERVER"], api_key="test")  # noqa: E731
    bridge = Bridge(OpenAIBatch(client, model="gpt-4o-mini"), poll_interval=1)
    return Pool(graph, bridge, dsn=os.environ["POOL_DSN"])


async def run(records: int, workers: list[subprocess.Popen[bytes]], server: BatchServer) -> None:
    began = time.monotonic()
    pool = make_pool()
    async with pool:
        await pool.submit([{"record": str(each)} for each in range(records)], run_id="demo")
        killed = None
        while (status := await pool.status("demo"))["running"] or status["parked"]:
            shown = ", ".join(f"{count:,} {state}" for state, count in status.items() if count)
            print(f"{time.monotonic() - began:6.1f} s  {shown}; {server.stats.batches} batches sent", flush=True)
            if killed is None and server.stats.batches:
                killed = workers[0]
                killed.send_signal(signal.SIGKILL)
                print(f"          worker {killed.pid} is killed; the others go on", flush=True)
            if all(each.poll() is not None for each in workers):
                sys.exit("All workers have ended; what they printed says why.")
            await asyncio.sleep(2)
        results = await pool.results("demo")
    right = sum(
        each["summary"].endswith(f"record {number}") and "Is this right?" in each["check"]
        for number, each in enumerate(results)
    )
    stats = server.stats
    print(
        f"{right:,} of {records:,} records have their own answers after {time.monotonic() - began:.0f} s. "
        f"The provider was sent {stats.batches} batches, and was paid for {stats.paid:,} requests, "
        f"{stats.paid_twice} of them twice."
    )


def main() -> None:
    records = int(sys.argv[1]) if len(sys.argv) > 1 else RECORDS
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # what was started ends with it
    with ExitStack() as stack:
        print("A PostgreSQL starts in a temporary folder, a Batch API server, and three workers.", flush=True)
        os.environ["POOL_DSN"] = stack.enter_context(own_postgres()).dsn
        server = stack.enter_context(BatchServer(latency=5))
        os.environ["POOL_SERVER"] = server.base_url
        workers = [subprocess.Popen([sys.executable, __file__, "worker"]) for _ in range(WORKERS)]
        try:
            asyncio.run(run(records, workers, server))
        finally:
            for each in workers:
                each.terminate()
            for each in workers:
                each.wait()


if __name__ == "__main__":
    if sys.argv[1:] == ["worker"]:
        asyncio.run(make_pool().run())
    else:
        main()
