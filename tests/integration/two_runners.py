"""A process that runs a graph over a store which others may open: `two_runners.py STORE DSN URL RUN COUNT PATIENCE`.

It says when it owns the bridge, and runs when it is given a line. STORE is `sqlite`, `postgres`, or
`file` for the Runner's own.
"""

import asyncio
import signal
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
from batch_bridge.errors import RunFileError, StoreInUseError
from batch_bridge.providers.openai import OpenAIBatch

REFUSED = 3
STOPPED = 4


class State(TypedDict, total=False):
    name: str
    answer: str


async def node(state: State):
    await wait([{"role": "user", "content": f"first {state['name']}"}])
    await wait([{"role": "user", "content": f"second {state['name']}"}])
    return {"answer": f"<{state['name']}>"}


async def main(kind, dsn, url, run_id, count, patience):  # noqa: PLR0917
    stop = asyncio.current_task().cancel
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop)  # what a deploy sends
    graph = StateGraph(State).add_node("node", node).add_edge("__start__", "node")
    client = AsyncOpenAI(base_url=url, api_key="test")
    bridge = Bridge(OpenAIBatch(client, model="m"), poll_interval=0.2, flush=FlushPolicy(max_requests=20))
    async with AsyncExitStack() as stack:
        if kind == "file":
            where = {"path": dsn}
        elif kind == "sqlite":
            saver = await stack.enter_async_context(AsyncSqliteSaver.from_conn_string(f"{dsn}.saver"))
            store = await stack.enter_async_context(AsyncSqliteStore.from_conn_string(dsn))
            where = {"checkpointer": saver, "store": store}
        else:
            saver = await stack.enter_async_context(AsyncPostgresSaver.from_conn_string(dsn))
            store = await stack.enter_async_context(AsyncPostgresStore.from_conn_string(dsn))
            where = {"checkpointer": saver, "store": store}
        runner = Runner(graph, bridge, patience=patience, progress=False, **where)
        await stack.enter_async_context(runner)
        print("owns", flush=True)
        sys.stdin.readline()
        results = await runner.abatch([{"name": f"{run_id}-{i}"} for i in range(count)], run_id=run_id)
    assert [each["answer"] for each in results] == [f"<{run_id}-{i}>" for i in range(count)]


if __name__ == "__main__":
    try:
        asyncio.run(main(*sys.argv[1:5], int(sys.argv[5]), float(sys.argv[6])))
    except (StoreInUseError, RunFileError) as error:
        print(error, flush=True)
        sys.exit(REFUSED)
    except asyncio.CancelledError:
        sys.exit(STOPPED)
