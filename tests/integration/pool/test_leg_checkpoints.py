"""What a leg of a pool reads and writes of its thread's checkpoints."""

import asyncio
import contextlib
from typing import TypedDict
from uuid import uuid4

import pytest
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from langgraph.graph import StateGraph
from postgres import cluster

from batch_bridge import Bridge, wait
from batch_bridge.pool import Pool


class State(TypedDict, total=False):
    q: str
    answer: str


async def node(state: State):
    return {"answer": await wait(f"again {await wait(state['q'])}")}


@pytest.fixture(scope="module")
def postgres():
    with cluster() as made:
        yield made.create(uuid4().hex)


@pytest.fixture
def pool(postgres):
    graph = StateGraph(State).add_node("node", node).add_edge("__start__", "node")
    bridge = Bridge(submit=list, poll=lambda items: [f"<{each}>" for each in items], poll_interval=0.2)
    return Pool(graph, bridge, dsn=postgres, name=uuid4().hex[:8])


@pytest.fixture
def reads(monkeypatch):
    """The threads whose checkpoint is read in Postgres, each time."""
    found, read = [], AsyncPostgresSaver.aget_tuple

    async def counting(self, config):
        if type(self) is AsyncPostgresSaver:
            found.append(config["configurable"]["thread_id"])
        return await read(self, config)

    monkeypatch.setattr(AsyncPostgresSaver, "aget_tuple", counting)
    return found


@contextlib.asynccontextmanager
async def working(pool):
    task = asyncio.create_task(pool.run(signals=False))
    try:
        async with pool, asyncio.timeout(100):
            yield pool
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def test_each_leg_reads_its_checkpoint_once(pool, reads):
    async with working(pool):
        (result,) = await pool.abatch([{"q": "a"}], run_id=pool._name)
    assert result["answer"] == "<again <a>>"
    assert reads == [f"{pool._name}:0"] * 3


async def test_legs_that_run_side_by_side_write_for_their_own_threads(pool):
    inputs = [{"q": str(each)} for each in range(40)]
    async with working(pool):
        results = await pool.abatch(inputs, run_id=pool._name)
        states = [
            await pool._saver.aget_tuple({"configurable": {"thread_id": f"{pool._name}:{each}"}}) for each in range(40)
        ]
    assert [each["answer"] for each in results] == [f"<again <{each}>>" for each in range(40)]
    assert [each.checkpoint["channel_values"]["answer"] for each in states] == [each["answer"] for each in results]
