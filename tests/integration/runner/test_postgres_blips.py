"""PostgreSQL that drops all connections in the middle of a run, as a restart does: every thread goes on."""

from contextlib import AsyncExitStack

import psycopg
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from langgraph.graph import StateGraph
from langgraph.store.postgres.aio import AsyncPostgresStore
from psycopg.rows import dict_row
from psycopg_pool import AsyncConnectionPool
from test_postgres import State, database, node  # noqa: F401  # a fixture

from batch_bridge import Bridge, Runner, events

CUT = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname = current_database()"


async def test_a_run_goes_on_though_all_connections_are_cut(database):  # noqa: F811
    batches, told, cuts = [], [], []

    async def cut():
        async with await psycopg.AsyncConnection.connect(database, autocommit=True) as connection:
            (count,) = await (await connection.execute(CUT)).fetchone()
            cuts.append(count)

    async def submit(items):
        batches.append(items)
        await cut()
        return items

    async def poll(handle):
        await cut()
        return [f"<{item}>" for item in handle]

    graph = StateGraph(State).add_node("node", node).add_edge("__start__", "node")
    settings = {"autocommit": True, "prepare_threshold": 0, "row_factory": dict_row}
    async with AsyncExitStack() as stack:
        pools = [AsyncConnectionPool(database, min_size=2, max_size=4, open=False, kwargs=settings) for _ in range(2)]
        for pool in pools:
            await stack.enter_async_context(pool)
        saver, store = AsyncPostgresSaver(pools[0]), AsyncPostgresStore(pools[1])
        await saver.setup()
        await store.setup()
        bridge = Bridge(submit=submit, poll=poll, poll_interval=0.05)
        kept = {"checkpointer": saver, "store": store}
        async with Runner(graph, bridge, on_event=told.append, progress=False, **kept) as runner:
            results = await runner.abatch([{"name": f"n{i}"} for i in range(30)], run_id="cut")
    assert [each["answer"] for each in results] == [f"<<n{i} a> + <n{i} b>>" for i in range(30)]
    assert sorted(map(len, batches)) == [30, 60]
    assert sum(cuts) > 0
    assert any(isinstance(each, events.StoreFailed) for each in told)
