"""A job of a pool is ended by the worker that holds it, and a thread without a job is given one."""

import asyncio
import contextlib
from typing import TypedDict
from uuid import uuid4

import psycopg
import pytest
from langgraph.graph import StateGraph
from postgres import cluster
from procrastinate.jobs import Status

from batch_bridge import Bridge
from batch_bridge.pool import Pool
from batch_bridge.pool._names import queue_of


class State(TypedDict, total=False):
    q: str


@pytest.fixture(scope="module")
def database():
    with cluster() as made:
        yield made.create(uuid4().hex)


@pytest.fixture
def postgres(database):
    yield database
    delete_jobs(database)


def made(postgres):
    graph = StateGraph(State).add_node("node", lambda state: {"q": state["q"] + "!"}).add_edge("__start__", "node")
    return Pool(graph, Bridge(submit=list, poll=list), dsn=postgres, name=uuid4().hex[:8])


def jobs(postgres):
    with psycopg.connect(postgres, autocommit=True) as connection:
        return connection.execute("SELECT status, worker_id FROM procrastinate_jobs").fetchall()


def delete_jobs(postgres):
    with psycopg.connect(postgres, autocommit=True) as connection:
        return connection.execute("DELETE FROM procrastinate_jobs").rowcount


async def taken_over(pool):
    """Return the manager of jobs, and one job: as a worker fetched it that was taken for dead, and as the next did."""
    await pool.submit([{"q": "a"}], run_id=pool._name)
    manager, queues = pool._app.job_manager, [queue_of(pool._name)]
    first, second = await manager.register_worker(), await manager.register_worker()
    hung = await manager.fetch_job(queues, first)
    await manager.retry_job(hung)
    held = await manager.fetch_job(queues, second)
    assert (held.id, held.worker_id) == (hung.id, second)
    return manager, hung, held


@pytest.mark.parametrize("how", ["finish", "fail", "retry"])
async def test_a_worker_that_was_taken_for_dead_does_not_end_the_job_of_the_next(postgres, how):
    async with made(postgres) as pool:
        manager, hung, held = await taken_over(pool)
        if how == "retry":
            await manager.retry_job(hung)
        else:
            status = Status.SUCCEEDED if how == "finish" else Status.FAILED
            await manager.finish_job(hung, status, delete_job=how == "finish")
        assert jobs(postgres) == [("doing", held.worker_id)]
        await manager.finish_job(held, Status.SUCCEEDED, delete_job=True)
        assert jobs(postgres) == []


async def test_a_job_that_two_workers_find_stalled_is_run_again_once(postgres):
    async with made(postgres) as pool:
        manager, hung, held = await taken_over(pool)
        await manager.retry_job(held)
        await manager.retry_job(held)
        await manager.retry_job(hung)
        assert [status for status, _ in jobs(postgres)] == ["todo"]


async def test_a_thread_that_has_lost_its_job_is_run(postgres):
    async with made(postgres) as pool:
        await pool.submit([{"q": "a"}, {"q": "b"}], run_id=pool._name)
        assert delete_jobs(postgres) == 2
        worker = asyncio.create_task(pool.run(signals=False))
        async with asyncio.timeout(60):
            assert await pool.results(pool._name) == [{"q": "a!"}, {"q": "b!"}]
        worker.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await worker


async def test_to_name_a_thread_again_gives_it_the_job_that_it_has_lost(postgres):
    async with made(postgres) as pool:
        await pool.submit([{"q": "a"}], run_id=pool._name)
        await pool.submit([{"q": "a"}], run_id=pool._name)
        assert delete_jobs(postgres) == 1, "it has one job, however often it is named"
        await pool.submit([{"q": "a"}], run_id=pool._name)
        assert await pool._threads.give_jobs() == 0
        assert [status for status, _ in jobs(postgres)] == ["todo"]
