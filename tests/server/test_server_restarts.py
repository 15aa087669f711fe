"""The server is stopped by SIGTERM and started again in each phase of a job: nothing is lost, nothing is paid twice."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from langgraph_sdk import get_client
from langgraph_sdk.client import LangGraphClient
from warm_server import WarmServer

from batch_bridge._node.platform.client import bridge_thread
from batch_bridge.testing import BatchServer

CONFIG = Path(__file__).parent / "projects" / "job" / "langgraph.json"
THREADS = 30
PATIENCE = 120.0

Phase = Callable[[LangGraphClient, BatchServer, list[str]], Awaitable[bool]]


async def queued(client: LangGraphClient, _: BatchServer, ids: list[str]) -> bool:
    return (await bridge_state(client)).get("waiting") == len(ids)


async def parked_and_unnoticed(client: LangGraphClient, _: BatchServer, ids: list[str]) -> bool:
    return any(thread["status"] == "interrupted" for thread in await threads(client, ids))


async def submitted(_: LangGraphClient, batches: BatchServer, ids: list[str]) -> bool:
    return batches.stats.requests == len(ids)


async def settled(_: LangGraphClient, batches: BatchServer, ids: list[str]) -> bool:
    return batches.stats.calls.get("GET /v1/files/{file_id}/content", 0) > 0


async def half_delivered(client: LangGraphClient, _: BatchServer, ids: list[str]) -> bool:
    return any((thread["values"] or {}).get("first") for thread in await threads(client, ids))


async def second_round(_: LangGraphClient, batches: BatchServer, ids: list[str]) -> bool:
    return batches.stats.requests > len(ids)


@pytest.mark.sampled(most=3)
@pytest.mark.parametrize(
    "phase", [parked_and_unnoticed, queued, submitted, settled, half_delivered, second_round], ids=lambda f: f.__name__
)
async def test_a_restart_loses_nothing_and_pays_nothing_twice(phase: Phase, tmp_path: Path) -> None:
    with BatchServer(latency=1) as batches:
        age = "8" if phase is queued else "2"  # long enough for a tick to end, and to show what waits
        env = {"OPENAI_BASE_URL": batches.base_url, "OPENAI_API_KEY": "test", "MAX_AGE": age}
        server = WarmServer(CONFIG, folder=tmp_path, jobs=20, env=env)
        try:
            server.start()
            async with get_client(url=server.url) as client:
                ids = await start(client, THREADS)
                await until(lambda: phase(client, batches, ids), phase.__name__)
            server.stop()
            server.start()
            async with get_client(url=server.url) as client:
                await until(lambda: all_ended(client, ids), "all threads have ended", client)
                ended = await threads(client, ids)
        finally:
            server.kill()
        for name, thread in zip(ids, ended, strict=True):
            assert f"{name} first" in thread["values"]["first"]
            assert f"{name} second {thread['values']['first'].partition(']')[0][-6:]}" in thread["values"]["second"]
        assert batches.stats.paid_twice == 0
        assert batches.stats.bodies_repeated == 0
        assert batches.stats.paid == 2 * THREADS


async def start(client: LangGraphClient, count: int) -> list[str]:
    async def one() -> str:
        thread_id = (await client.threads.create())["thread_id"]
        await client.runs.create(thread_id, "agent", input={"name": thread_id})
        return thread_id

    return await asyncio.gather(*(one() for _ in range(count)))


async def threads(client: LangGraphClient, ids: list[str]) -> list[Any]:
    found = await client.threads.search(ids=ids, limit=1000, select=["thread_id", "status", "values"])
    by_id = {thread["thread_id"]: thread for thread in found}
    return [by_id[each] for each in ids]


async def all_ended(client: LangGraphClient, ids: list[str]) -> bool:
    return all((thread["values"] or {}).get("second") for thread in await threads(client, ids))


async def bridge_state(client: LangGraphClient) -> dict[str, Any]:
    found = await client.threads.search(ids=[bridge_thread("bridge")], select=["values"])
    return (found[0]["values"] or {}) if found else {}


async def until(true: Callable[[], Awaitable[bool]], what: str, client: LangGraphClient | None = None) -> None:
    began = time.monotonic()
    while not await true():
        if time.monotonic() - began > PATIENCE:
            state = await bridge_state(client) if client else {}
            raise AssertionError(f"not within {PATIENCE} seconds: {what}; the bridge shows {state}")
        await asyncio.sleep(0.05)
