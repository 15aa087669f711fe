"""Two Runners in two processes on one store: each request is paid once, and the ledger opens afterwards."""

import asyncio
import subprocess
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
import warm
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.store.postgres.aio import AsyncPostgresStore
from langgraph.store.sqlite.aio import AsyncSqliteStore
from test_postgres import database  # noqa: F401  # a fixture
from two_runners import REFUSED

from batch_bridge.testing import BatchServer

SCRIPT = Path(__file__).parents[1].joinpath("two_runners.py")
COUNT = 12


@pytest.fixture(scope="module")
def server():
    with BatchServer(latency=0.3) as server:
        yield server


@pytest.fixture(params=["sqlite", "postgres"])
def place(request, tmp_path, server):
    """Where the store is; and all counters are at zero."""
    kind = request.param
    dsn = str(tmp_path / "store.db") if kind == "sqlite" else _new_database(request.getfixturevalue("database"))
    asyncio.run(_set_up(kind, dsn))
    server.reset_stats()
    return kind, dsn


def _new_database(server):
    """Make a database of its own: a run that another test has done would be found there, and not be paid again."""
    name = f"t{uuid4().hex}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')
    return f"{server.rpartition('/')[0]}/{name}"


async def _set_up(kind, dsn):
    if kind == "sqlite":
        async with AsyncSqliteSaver.from_conn_string(f"{dsn}.saver") as saver:
            await saver.setup()
        async with AsyncSqliteStore.from_conn_string(dsn) as store:
            await store.setup()
        return
    async with AsyncPostgresSaver.from_conn_string(dsn) as saver:
        await saver.setup()
    async with AsyncPostgresStore.from_conn_string(dsn) as store:
        await store.setup()


def start(place, server, run_id, patience=0.0):
    command = [SCRIPT, *place, server.base_url, run_id, str(COUNT), str(patience)]
    return warm.start(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def wait_for(process, code=0):
    said, _ = process.communicate("go\n", timeout=90)
    assert process.returncode == code, said
    return said


def check_paid(server, requests):
    assert (server.stats.paid, server.stats.paid_twice) == (requests, 0)


@pytest.mark.sampled(most=1)
def test_a_second_one_is_refused_and_the_first_goes_on(place, server):
    first = start(place, server, "refused")
    assert first.stdout.readline() == "owns\n"
    said = wait_for(start(place, server, "refused"), REFUSED)
    assert f"process {first.pid} on" in said
    wait_for(first)
    check_paid(server, 2 * COUNT)


@pytest.mark.sampled(most=2)
@pytest.mark.parametrize("same", [True, False], ids=["same_run", "other_run"])
def test_a_rolling_deploy_waits_for_the_one_before(place, server, same):
    first = start(place, server, f"deploy {same}")
    assert first.stdout.readline() == "owns\n"
    second = start(place, server, f"deploy {same}" if same else "another", patience=60)
    wait_for(first)
    wait_for(second)
    check_paid(server, 2 * COUNT if same else 4 * COUNT)


@pytest.mark.sampled(most=1)
def test_one_that_is_killed_is_followed_at_once_on_the_same_machine(place, server):
    first = start(place, server, "killed")
    assert first.stdout.readline() == "owns\n"
    second = start(place, server, "killed", patience=60)
    first.stdin.write("go\n")
    first.stdin.flush()
    while not server.stats.batches:
        assert first.poll() is None
    first.kill()
    first.wait(timeout=60)
    wait_for(second)
    wait_for(start(place, server, "killed"))
    check_paid(server, 2 * COUNT)
