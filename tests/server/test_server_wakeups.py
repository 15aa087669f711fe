"""Who parks is noticed, however it falls; and the bridge's runs follow time, not threads."""

import asyncio
import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import sampling
from langgraph_sdk import get_client
from langgraph_sdk.client import LangGraphClient
from warm_server import WarmServer

from batch_bridge._node.platform.client import LINGER, bridge_thread
from batch_bridge.testing import BatchServer

CONFIG = Path(__file__).parent / "projects" / "job" / "langgraph.json"
LOST = 20.0
"""Seconds. A quiet machine takes a linger and two seconds at most (`make bench-server` measures it); a wake-up that
is lost takes the hour of the timer."""


async def test_a_wait_around_the_end_of_a_tick_is_noticed(tmp_path: Path) -> None:
    """A long timer is pending (an hour) while 300 threads park at random moments, many around the end of a tick."""
    log = tmp_path / "noticed.jsonl"
    with WarmServer(CONFIG, folder=tmp_path, jobs=20, env={"LOG": str(log)}) as server:
        client = get_client(url=server.url)
        await park(client, [0.0])
        draws = random.Random(4)
        # A tick comes a linger after the first wait that rings: waves about as far apart as that meet its end.
        pauses = [wave * (LINGER + 0.05) + draws.uniform(-0.25, 0.25) + 1 for wave in range(15) for _ in range(20)]
        await park(client, pauses)
        await until_listed(log, 301)
        await client.aclose()
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    parked = sorted(line["parked"] for line in lines if "parked" in line)
    noticed = [(line["at"], line["noticed"]) for line in lines if "noticed" in line]
    late = [next(at for at, count in noticed if count > place) - moment for place, moment in enumerate(parked)]
    assert len(late) == 301
    assert max(late) < LOST, sorted(late)[-5:]


async def test_the_last_request_of_all_is_sent_when_it_is_old_enough(tmp_path: Path) -> None:
    with BatchServer(latency=0) as batches:
        env = {"OPENAI_BASE_URL": batches.base_url, "OPENAI_API_KEY": "test", "MAX_AGE": "4"}
        with WarmServer(CONFIG, folder=tmp_path, env=env) as server:
            client = get_client(url=server.url)
            (thread,) = await start(client, "agent", [{"name": "alone"}])
            loop = asyncio.get_running_loop()
            while not await count(client, [thread], "interrupted"):
                await asyncio.sleep(0.02)
            parked = loop.time()
            while not batches.stats.batches:
                await asyncio.sleep(0.05)
            assert loop.time() - parked < 4 + LOST
            await client.aclose()


async def test_many_threads_of_two_dependent_waits_are_two_batches_and_few_runs(tmp_path: Path) -> None:
    many = sampling.many(1000, 200)
    with BatchServer(latency=0.5) as batches:
        env = {
            "OPENAI_BASE_URL": batches.base_url,
            "OPENAI_API_KEY": "test",
            "MAX_AGE": "3600",
            "MAX_REQUESTS": str(many),
        }
        with WarmServer(CONFIG, folder=tmp_path, jobs=50, env=env) as server:
            client = get_client(url=server.url)
            ids = await start(client, "agent", [{"name": f"thread {index}"} for index in range(many)])
            while await count(client, ids, "idle") < len(ids):
                await asyncio.sleep(0.5)
            ended = {each["thread_id"]: each["values"] for each in await look(client, ids)}
            runs = await client.runs.list(bridge_thread("bridge"), limit=1000)
            await client.aclose()
        for index, thread in enumerate(ids):
            assert f"thread {index} first" in ended[thread]["first"]
            assert f"thread {index} second" in ended[thread]["second"]
        assert batches.stats.batches == 2
        assert batches.stats.paid == 2 * many
        assert batches.stats.paid_twice == 0
        assert len(runs) < 60, Counter(run["metadata"].get("batch_bridge") for run in runs)


async def park(client: LangGraphClient, pauses: list[float]) -> None:
    """Start threads that park at once, each after a pause. A node that sleeps would hold one of the server's jobs."""

    gate = asyncio.Semaphore(32)  # else a slow server's client waits too long for a connection

    async def one(index: int, pause: float) -> None:
        await asyncio.sleep(pause)
        async with gate:
            try:
                thread = await client.threads.create()
            except httpx.TransportError:  # the connection was idle, and the server closed it as the call began
                thread = await client.threads.create()
            thread_id = thread["thread_id"]
            await client.runs.create(thread_id, "once", input={"name": f"{index} of {len(pauses)}"})

    await asyncio.gather(*(one(index, pause) for index, pause in enumerate(pauses)))


async def start(client: LangGraphClient, graph: str, inputs: list[dict[str, Any]]) -> list[str]:
    gate = asyncio.Semaphore(32)

    async def one(values: dict[str, Any]) -> str:
        async with gate:
            thread_id = (await client.threads.create())["thread_id"]
            await client.runs.create(thread_id, graph, input=values)
            return thread_id

    return await asyncio.gather(*(one(values) for values in inputs))


async def look(client: LangGraphClient, ids: list[str]) -> list[Any]:
    return list(await client.threads.search(ids=ids, limit=1000, select=["thread_id", "status", "values"]))


async def count(client: LangGraphClient, ids: list[str], status: str) -> int:
    return sum(thread["status"] == status for thread in await look(client, ids))


async def until_listed(log: Path, requests: int) -> None:
    async with asyncio.timeout(120):
        while not any(json.loads(line).get("noticed") == requests for line in log.read_text().splitlines()):
            await asyncio.sleep(0.2)
