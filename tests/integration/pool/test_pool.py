"""A pool in one process, on a real PostgreSQL: what a Runner gives, it gives."""

import asyncio
import contextlib
from datetime import timedelta
from typing import TypedDict
from uuid import uuid4

import psycopg
import pytest
from langgraph.graph import StateGraph
from langgraph.store.base import SearchOp
from langgraph.store.postgres.aio import AsyncPostgresStore
from langgraph.types import Command, interrupt
from postgres import cluster
from procrastinate.exceptions import ConnectorException

from batch_bridge import Bridge, wait
from batch_bridge._server.ticker import Ticker
from batch_bridge.errors import RunMismatchError, RunnerStateError, SubmittedThreadError, UnknownThreadError
from batch_bridge.pool import Pool
from batch_bridge.pool._server import PoolServer
from batch_bridge.pool._thread_table import ThreadResult


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
        assert not await pool._threads.leave(token, ThreadResult(f"{run}:0", 0, "done", None, None, None), [])
        assert (await pool.status(run))["parked"] == 1


async def test_a_leg_that_was_taken_for_dead_does_not_change_what_its_thread_asks_for(postgres, provider):
    legs, go = [], asyncio.Event()

    async def slow(state: State):
        legs.append(number := len(legs))
        if number == 0:
            await go.wait()
        return {"answer": await wait(f"{state['q']} {number}")}

    pool, run = made(postgres, provider, slow), run_id()
    async with pool:
        await pool.submit([{"q": "a"}], run_id=run)
        first = asyncio.create_task(pool._leg(f"{run}:0"))
        while not legs:
            await asyncio.sleep(0.01)
        await pool._leg(f"{run}:0")  # by another process
        server = PoolServer(pool._threads, pool._connections, pool._saver.serde)
        before = await server.parked(0, None)
        go.set()
        await first
        assert await server.parked(0, None) == before
        assert [each.item for view in before[0] for each in view.asks("bridge")] == ["a 1"]
        assert (await pool.status(run))["parked"] == 1
        assert await pool._rows.abatch([SearchOp(("batch_bridge_failures",))]) == [[]], "nor is a failure noted"


@pytest.mark.parametrize("arrives", [False, True])
async def test_a_job_is_finished_though_the_connection_is_lost_at_that_moment(postgres, provider, monkeypatch, arrives):
    lost = []
    async with working(made(postgres, provider)) as pool:
        execute = pool._app.connector.execute_query_async

        async def losing(query, **given):
            if "finish_job" in query and not lost:
                lost.append(query)
                if arrives:
                    await execute(query=query, **given)
                raise ConnectorException("the connection was lost")
            return await execute(query=query, **given)

        monkeypatch.setattr(pool._app.connector, "execute_query_async", losing)
        async with asyncio.timeout(100):
            (result,) = await pool.abatch([{"q": "a"}], run_id=run_id())
    assert (result["answer"], len(lost)) == ("<again <a>>", 1)


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


@pytest.mark.parametrize("command", [Command(update={"q": "other"}), Command(resume="yes", goto="node")])
async def test_a_command_that_does_more_than_answer_is_refused(postgres, provider, command):
    run = run_id()
    async with made(postgres, provider) as pool:
        with pytest.raises(ValueError, match=r"Command\(resume=…\)"):
            await pool.ainvoke(command, {"configurable": {"thread_id": f"{run}:0"}})
        for call in (pool.submit, pool.abatch):
            with pytest.raises(ValueError, match=r"Command\(resume=…\)"):
                await call([{"q": "x"}, command], run_id=run)
        assert not any((await pool.status()).values()), "nothing was begun"


async def test_nothing_is_begun_with_inputs_of_which_one_is_another(postgres, provider):
    run = run_id()
    async with made(postgres, provider) as pool:
        await pool.submit([{"q": "a"}, {"q": "b"}], run_id=run)
        with pytest.raises(RunMismatchError) as caught:
            await pool.submit([{"q": "a"}, {"q": "other"}, {"q": "new"}], run_id=run)
        assert caught.value.index == 1
        assert (await pool.status(run))["running"] == 2, "the third was not begun"
        with pytest.raises(RunMismatchError):
            await pool.ainvoke({"q": "other"}, {"configurable": {"thread_id": f"{run}:0"}})


def named(*threads):
    return [{"configurable": {"thread_id": thread}} for thread in threads]


async def test_a_call_is_given_the_results_of_its_own_inputs(postgres, provider):
    run = run_id()
    one, two, three = (f"{run} {each}" for each in "abc")
    async with working(made(postgres, provider)) as pool:
        await pool.submit([{"q": "a"}, {"q": "b"}, {"q": "c"}], named(one, two, three), run_id=run)
        results = await pool.abatch([{"q": "c"}, {"q": "a"}], named(three, one), run_id=run)
        assert [each["answer"] for each in results] == ["<again <c>>", "<again <a>>"]
        with pytest.raises(RunMismatchError, match="belongs to run"):
            await pool.submit([{"q": "new"}, {"q": "b"}], named(f"{run} d", two), run_id=run_id())
        assert sum((await pool.status()).values()) == 3, "nothing was begun"


async def test_a_pool_does_not_touch_the_threads_of_another(postgres, provider):
    run, inputs = run_id(), [{"q": "a"}]
    config = {"configurable": {"thread_id": f"{run}:0"}}
    other = made(postgres, provider)
    async with made(postgres, provider) as pool, other:
        await pool.submit(inputs, run_id=run)
        for call in (other.submit(inputs, run_id=run), other.ainvoke(inputs[0], config)):
            with pytest.raises(RunnerStateError, match="belongs to the pool"):
                await call
        with psycopg.connect(postgres, autocommit=True) as connection:
            connection.execute("UPDATE batch_bridge_threads SET state = 'failed' WHERE thread = %s", (f"{run}:0",))
        with pytest.raises(RunnerStateError, match="belongs to the pool"):
            await other.ainvoke(Command(resume="yes"), config)
        with pytest.raises(UnknownThreadError):
            await other.results(run)
        await other._leg(f"{run}:0")
        assert ((await pool.status())["failed"], sum((await other.status()).values())) == (1, 0)


async def test_a_leg_that_cannot_go_on_fails_its_thread(postgres, provider):
    run = run_id()
    first = made(postgres, provider)
    async with first:
        await first.submit([{"q": "a"}, {"q": "b"}], run_id=run)
        await first._leg(f"{run}:0")
        renamed = StateGraph(State).add_node("other", node).add_edge("__start__", "other")
        pool = Pool(renamed, provider.bridge(), dsn=postgres, name=first._name)
        with psycopg.connect(postgres, autocommit=True) as connection:
            connection.execute("UPDATE batch_bridge_threads SET given = '\\xc1' WHERE thread = %s", (f"{run}:1",))
            connection.execute("UPDATE batch_bridge_threads SET state = 'ready' WHERE thread = %s", (f"{run}:0",))
        async with pool:
            await pool._leg(f"{run}:0")
            await pool._leg(f"{run}:1")
            results = await pool.results(run, return_exceptions=True)
            assert all(isinstance(each, SubmittedThreadError) for each in results)
            assert "GraphChangedError" in str(results[0])
            assert (await pool.status(run))["failed"] == 2
            assert await pool._threads.is_idle()


async def test_an_error_that_no_text_of_postgres_can_hold_is_kept_without_it(postgres, provider):
    async def failing(state: State):
        raise ValueError("a\0b \udc80 c")

    run = run_id()
    async with made(postgres, provider, failing) as pool:
        await pool.submit([{"q": "a"}], run_id=run)
        await pool._leg(f"{run}:0")
        (result,) = await pool.results(run, return_exceptions=True)
    assert "ValueError: ab ? c" in str(result)


async def test_a_leg_whose_database_is_away_is_run_again(postgres, provider, monkeypatch):
    run = run_id()

    async def away(*_):
        raise psycopg.OperationalError("the database is away")

    async with made(postgres, provider) as pool:
        await pool.submit([{"q": "a"}], run_id=run)
        monkeypatch.setattr(pool, "_go", away)
        with pytest.raises(psycopg.OperationalError):
            await pool._leg(f"{run}:0")
        assert (await pool.status(run))["running"] == 1


class Host:
    """A bridge whose every pass takes its cancellation for an error, as a library in between may."""

    def __init__(self):
        self.begun = []

    async def begin(self, store, tick, *, alone):
        self.begun.append(alone)
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            raise ValueError("cancelled") from None

    async def beat(self):
        pass

    async def fail(self, error):
        return None


async def test_a_ticker_whose_lock_is_lost_ends_though_a_tick_swallows_that_it_is_cancelled(monkeypatch):
    class Connection:
        async def execute(self, query):
            raise psycopg.OperationalError("the connection was ended")

    async def is_idle(_):
        return False

    host = Host()
    ticker = Ticker("", "lost", {"bridge": host}, None, is_idle, beat=0.05)
    with pytest.raises(ExceptionGroup):
        async with asyncio.timeout(5):
            await ticker._hold(Connection())
    assert host.begun == [True]


async def test_the_pause_after_failed_ticks_grows(postgres, provider, monkeypatch):
    async def broken(*_):
        raise psycopg.OperationalError("the database is away")

    async with made(postgres, provider) as pool:
        server = PoolServer(pool._threads, pool._connections, pool._saver.serde)
        hosts = {"bridge": provider.bridge().host_in("bridge", server)}
        ticker = Ticker(postgres, "failing", hosts, AsyncPostgresStore(pool._connections), pool._is_idle)
        monkeypatch.setattr(hosts["bridge"], "collect", broken)
        pauses = [await ticker.tick("bridge", hosts["bridge"], "tick") for _ in range(4)]
    assert pauses == sorted(pauses)
    assert pauses[-1] > timedelta(seconds=10)
