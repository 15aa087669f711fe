"""A process that runs a graph over a store which others may open: `two_runners.py STORE DSN URL RUN COUNT PATIENCE`.

It says when it owns the bridge, and runs when it is given a line.
"""

import asyncio
import sys
from contextlib import AsyncExitStack
from typing import TypedDict

from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.graph import StateGraph
from langgraph.store.postgres.aio import AsyncPostgresStore
from langgraph.store.sqlite.aio import AsyncSqliteStore
from openai import AsyncOpenAI

from batch_bridge import Bridge, FlushPolicy, Runner, wait
from batch_bridge.errors import StoreInUseError
from batch_bridge.providers.openai import OpenAIBatch

REFUSED = 3


class State(TypedDict, total=False):
    name: str
    answer: str


async def node(state: State):
    await wait([{"role": "user", "content": f"first {state['name']}"}])
    await wait([{"role": "user", "content": f"second {state['name']}"}])
    return {"answer": f"<{state['name']}>"}


async def main(kind, dsn, url, run_id, count, patience):  # noqa: PLR0917
    graph = StateGraph(State).add_node("node", node).add_edge("__start__", "node")
    client = AsyncOpenAI(base_url=url, api_key="test")
    bridge = Bridge(OpenAIBatch(client, model="m"), poll_interval=0.2, flush=FlushPolicy(max_requests=20))
    savers, stores = (
        (AsyncSqliteSaver, AsyncSqliteStore) if kind == "sqlite" else (AsyncPostgresSaver, AsyncPostgresStore)
    )
    async with AsyncExitStack() as stack:
        saver = await stack.enter_async_context(savers.from_conn_string(dsn if kind != "sqlite" else f"{dsn}.saver"))
        store = await stack.enter_async_context(stores.from_conn_string(dsn))
        runner = Runner(graph, bridge, checkpointer=saver, store=store, patience=patience, progress=False)
        await stack.enter_async_context(runner)
        print("owns", flush=True)
        sys.stdin.readline()
        results = await runner.abatch([{"name": f"{run_id}-{i}"} for i in range(count)], run_id=run_id)
    assert [each["answer"] for each in results] == [f"<{run_id}-{i}>" for i in range(count)]


if __name__ == "__main__":
    try:
        asyncio.run(main(*sys.argv[1:5], int(sys.argv[5]), float(sys.argv[6])))
    except StoreInUseError as error:
        print(error, flush=True)
        sys.exit(REFUSED)
