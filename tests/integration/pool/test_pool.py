"""A pool in one process, on a real PostgreSQL: what a Runner gives, it gives."""

import asyncio
import contextlib
from typing import TypedDict
from uuid import uuid4

import psycopg
import pytest
from langgraph.graph import StateGraph
from langgraph.store.postgres.aio import AsyncPostgresStore
from langgraph.types import Command, interrupt
from postgres import cluster

from batch_bridge import Bridge, wait
from batch_bridge.errors import RunMismatchError, RunnerStateError, SubmittedThreadError, UnknownThreadError
from batch_bridge.pool import Pool
from batch_bridge.pool._server import PoolServer
from batch_bridge.pool._thread_table import ThreadResult
from batch_bridge.pool._ticker import Ticker


class State(TypedDict, total=False):
    q: str
    answer: str
    said: str


class Provider:
    """A pair of functions, which refuses what begins with `bad` until it is `mended`."""

    def __init__(self):
        self.batches = []
        self.mended = False

    def submit(self, items):
        self.batches.append(items)
        return items

    def poll(self, items):
        return [ValueError(each) if each.startswith("bad") and not self.mended else f"<{each}>" for each in items]

    def bridge(self, name="bridge"):
        return Bridge(submit=self.submit, poll=self.poll, poll_interval=0.2, name=name)


async def node(state: State):
    first = await wait(state["q"])
    return {"answer": await wait(f"again {first}")}


async def asking(state: State):
    first = await wait(state["q"])
    said = interrupt(f"is {first} right?")
    return {"said": said, "answer": await wait(f"{said} {first}")}


def graph_of(function):
    return StateGraph(State).add_node("node", function).add_edge("__start__", "node")


@pytest.fixture(scope="module")
def databases():
    with cluster() as made:
        yield made


@pytest.fixture
def postgres(databases):
    return databases.create(uuid4().hex)


@pytest.fixture
def provider():
    return Provider()


def made(postgres, provider, function=node, bridges=None):
    return Pool(graph_of(function), bridges or provider.bridge(), dsn=postgres, name=f"pool {uuid4().hex[:8]}")


@contextlib.asynccontextmanager
async def working(pool):
    """A worker of a pool, in this process."""
    task = asyncio.create_task(pool.run(signals=False))
    try:
        async with pool:
            yield pool
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def run_id():
    return f"run-{uuid4().hex[:8]}"


async def test_results_come_in_order_and_a_wave_is_one_batch(postgres, provider):
    inputs = [{"q": str(each)} for each in range(30)]
    run = run_id()
    async with working(made(postgres, provider)) as pool:
        results = await pool.abatch(inputs, run_id=run)
        assert [each["answer"] for each in results] == [f"<again <{each}>>" for each in range(30)]
        assert [len(each) for each in provider.batches] == [30, 30]
        assert await pool.abatch(inputs, run_id=run) == results, "its results are read again"
        assert (await pool.status(run))["done"] == 30
        with pytest.raises(RunMismatchError):
            await pool.abatch([{"q": "other"}], run_id=run)
        with pytest.raises(UnknownThreadError):
            await pool.results("no run")
    assert len(provider.batches) == 2, "nothing was asked again"


async def test_a_thread_that_failed_is_an_error_in_its_place_and_is_run_again(postgres, provider):
    inputs, run = [{"q": "a"}, {"q": "bad"}, {"q": "c"}], run_id()
    async with working(made(postgres, provider)) as pool:
        results = await pool.abatch(inputs, run_id=run, return_exceptions=True)
        assert results[0]["answer"] == "<again <a>>"
        assert isinstance(results[1], SubmittedThreadError)
        assert results[1].thread_id == f"{run}:1"
        with pytest.raises(SubmittedThreadError, match="RequestFailed"):
            await pool.results(run)
        provider.mended = True
        results = await pool.abatch(inputs, run_id=run)
        assert [each["answer"] for each in results] == ["<again <a>>", "<again <bad>>", "<again <c>>"]
    assert sum(batch.count("a") for batch in provider.batches) == 1, "what has ended is not run again"


async def test_a_person_is_asked_and_answers(postgres, provider):
    run = run_id()
    async with working(made(postgres, provider, asking)) as pool:
        (result,) = await pool.abatch([{"q": "x"}], run_id=run)
        assert [each.value for each in result["__interrupt__"]] == ["is <x> right?"]
        config = {"configurable": {"thread_id": f"{run}:0"}}
        result = await pool.ainvoke(Command(resume="yes"), config)
        assert (result["said"], result["answer"]) == ("yes", "<yes <x>>")
        with pytest.raises(RunnerStateError):
            await pool.ainvoke(Command(resume="yes"), {"configurable": {"thread_id": "no thread"}})


async def test_several_bridges(postgres, provider):
    other = Provider()

    async def both(state: State):
        one, two = await asyncio.gather(wait(state["q"], batcher="one"), wait(state["q"], batcher="two"))
        return {"answer": one + two}

    pool = made(postgres, provider, both, [provider.bridge("one"), other.bridge("two")])
    async with working(pool):
        results = await pool.abatch([{"q": str(each)} for each in range(5)], run_id=run_id())
    assert [each["answer"] for each in results] == [f"<{each}><{each}>" for each in range(5)]
    assert [sorted(each) for each in provider.batches + other.batches] == [list("01234")] * 2


async def test_a_parked_thread_that_was_never_announced_is_found(postgres, provider):
    pool, run = made(postgres, provider), run_id()
    async with pool:
        await pool.submit([{"q": "lost"}], run_id=run)
        await pool._leg(f"{run}:0")
        assert (await pool.status(run))["parked"] == 1
        with psycopg.connect(postgres, autocommit=True) as connection:
            assert connection.execute("DELETE FROM store WHERE prefix LIKE '%inbox%'").rowcount == 1
    async with working(pool):
        assert [each["answer"] for each in await pool.results(run)] == ["<again <lost>>"]


async def test_a_leg_that_was_taken_for_dead_changes_nothing(postgres, provider):
    pool, run = made(postgres, provider), run_id()
    async with pool:
        await pool.submit([{"q": "slow"}], run_id=run)
        _, token = await pool._threads.take(f"{run}:0")
        await pool._leg(f"{run}:0")  # by another process
        async with pool._connections.connection() as connection:
            was_last = await pool._threads.leave(
                connection, f"{run}:0", token, ThreadResult("", 0, "done", None, None, None)
            )
        assert not was_last
        assert (await pool.status(run))["parked"] == 1


async def test_a_quiet_tick_costs_few_statements(postgres, provider, monkeypatch):
    pool, run, execute = made(postgres, provider), [], psycopg.AsyncCursor.execute

    async def counted(self, query, *given, **options):
        run.append(str(query).split())
        return await execute(self, query, *given, **options)

    async with pool:
        server = PoolServer(pool._threads, pool._connections, pool._saver.serde)
        hosts = {"bridge": provider.bridge().host_in("bridge", server)}
        ticker = Ticker(postgres, "quiet", hosts, AsyncPostgresStore(pool._connections), pool._is_idle)
        for _ in range(2):
            await ticker.tick("bridge", hosts["bridge"], "tick")
        monkeypatch.setattr(psycopg.AsyncCursor, "execute", counted)
        await ticker.tick("bridge", hosts["bridge"], "tick")
    assert 0 < len(run) < 10, run
