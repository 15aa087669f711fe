"""The deployment that `langgraph.json` describes: each of its graphs, and what a person can have a bridge do by hand."""

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest
from langgraph_sdk import get_client
from langgraph_sdk.client import LangGraphClient
from warm_server import WarmServer

from batch_bridge.testing import BatchServer

ROOT = Path(__file__).parents[2]
PATIENCE = 90.0


@pytest.fixture
def batches():
    with BatchServer() as server:
        yield server


@pytest.fixture
def deployment(batches, tmp_path):
    env = {
        "OPENAI_BASE_URL": batches.base_url,
        "OPENAI_API_KEY": "test",
        "BRIDGE_QUIET_SECONDS": "600",  # nothing is sent of itself
        "BRIDGE_POLL_SECONDS": "1",
        "READABILITY_JOBS": str(tmp_path / "jobs"),
    }
    with WarmServer(ROOT / "langgraph.json", folder=tmp_path, env=env) as server:
        yield server


async def test_ones_own_pair_answers_each_item_and_fails_one_alone(deployment):
    async with get_client(url=deployment.url) as client:
        good = await start(client, "rate", {"text": "Three short words. Here are four words."})
        bad = await start(client, "rate", {"text": "..."})
        ended = await until(client, [good, bad], lambda thread: thread["status"] in ("idle", "error"))
        tasks = (await client.threads.get_state(bad))["tasks"]
    assert (ended[good]["status"], ended[good]["values"]["words_a_sentence"]) == ("idle", 3.5)
    assert ended[bad]["status"] == "error"
    assert ended[bad]["error"]["error"] == "RequestFailed"
    assert "the text has no sentence" in str(tasks)


async def test_a_stateless_run_with_flush_sends_what_waits(deployment, batches):
    async with get_client(url=deployment.url) as client:
        research = await start(client, "research", {"topic": "Bridges"})
        for sent in (3, 4):  # three branches, then the report
            await until(client, [research], lambda thread: thread["status"] == "interrupted")
            await bridge_shows(client, "waiting", 3 if sent == 3 else 1)
            await client.runs.wait(None, "bridge", input={"flush": True})
            await happens(lambda sent=sent: batches.stats.requests == sent)
        ended = await until(client, [research], lambda thread: thread["status"] == "idle")
        assert "Write one paragraph about Bridges" in ended[research]["values"]["report"]
        assert len(ended[research]["values"]["findings"]) == 3
    assert (batches.stats.batches, batches.stats.paid, batches.stats.paid_twice) == (2, 4, 0)


async def start(client: LangGraphClient, graph: str, values: dict[str, Any]) -> str:
    thread = await client.threads.create()
    await client.runs.create(thread["thread_id"], graph, input=values)
    return thread["thread_id"]


async def until(client: LangGraphClient, ids: list[str], done) -> dict[str, Any]:
    by = time.monotonic() + PATIENCE
    while True:
        found = {each["thread_id"]: each for each in await client.threads.search(ids=ids, limit=100)}
        if all(done(found[each]) for each in ids):
            return found
        assert time.monotonic() < by, found
        await asyncio.sleep(0.1)


async def bridge_shows(client: LangGraphClient, name: str, value: object) -> None:
    by = time.monotonic() + PATIENCE
    shown: dict[str, Any] = {}
    while shown.get(name) != value:
        assert time.monotonic() < by, f"{name} is not {value}: {shown}"
        await asyncio.sleep(0.1)
        found = await client.threads.search(metadata={"graph_id": "bridge"}, select=["values"], limit=10)
        shown = next((each["values"] for each in found if "waiting" in (each["values"] or {})), {})


async def happens(what) -> None:
    by = time.monotonic() + PATIENCE
    while not what():
        assert time.monotonic() < by
        await asyncio.sleep(0.1)
