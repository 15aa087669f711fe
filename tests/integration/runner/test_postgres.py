"""The Runner with its checkpoints and its ledger in PostgreSQL; skipped where there is none."""

import asyncio
from typing import TypedDict

import pytest
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from langgraph.graph import StateGraph
from langgraph.store.postgres.aio import AsyncPostgresStore
from postgres import cluster

from batch_bridge import Bridge, Request, Runner, wait
from batch_bridge._core.models import Succeeded
from batch_bridge._ledger.ledger import Ledger


@pytest.fixture(scope="module")
def database():
    with cluster() as made:
        yield made.create("runner")


class State(TypedDict, total=False):
    name: str
    answer: str


async def node(state: State):
    first = await asyncio.gather(wait(f"{state['name']} a"), wait(f"{state['name']} b"))
    return {"answer": await wait(" + ".join(first))}


async def test_a_run_in_postgres_goes_on_in_another_runner(database):
    graph = StateGraph(State).add_node("node", node).add_edge("__start__", "node")
    batches = []

    def submit(items):
        batches.append(items)
        return items

    released = False

    def poll(handle):
        return [f"<{item}>" for item in handle] if released else None

    inputs = [{"name": f"n{i}"} for i in range(20)]
    async with (
        AsyncPostgresSaver.from_conn_string(database) as saver,
        AsyncPostgresStore.from_conn_string(database) as store,
    ):
        await saver.setup()
        await store.setup()
        bridge = Bridge(submit=submit, poll=poll, poll_interval=0.05)
        async with Runner(graph, bridge, checkpointer=saver, store=store) as runner:
            call = asyncio.ensure_future(runner.abatch(inputs, run_id="pg"))
            while not batches:
                await asyncio.sleep(0.01)
            call.cancel()
        released = True
        async with Runner(graph, bridge, checkpointer=saver, store=store) as runner:
            results = await runner.abatch(inputs, run_id="pg")
    assert [result["answer"] for result in results] == [f"<<n{i} a> + <n{i} b>>" for i in range(20)]
    assert [len(batch) for batch in batches] == [40, 20]


async def test_what_jsonb_does_not_keep_is_kept(database):
    item = {"schema": {"zebra": 1, "apple": 2}, "text": "a \x00 byte and a \ud800 half"}
    async with AsyncPostgresStore.from_conn_string(database) as store:
        await store.setup()
        ledger = Ledger(store, "jsonb")
        await ledger.enqueue([Request("00" * 16, "thread", item)])
        await ledger.settle({"01" * 16: Succeeded(item)})
        (request,) = await ledger.requests(["00" * 16])
        outcomes = await ledger.outcomes(["01" * 16])
    assert request.item == item
    assert list(request.item["schema"]) == ["zebra", "apple"]
    assert outcomes == {"01" * 16: Succeeded(item)}
