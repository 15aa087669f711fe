"""Beside Aegra, with a ticker apart from its servers: threads of users go on as theirs, and runs of the bridge command it."""

import asyncio
import time
from pathlib import Path

import pytest
from aegra_world import LONG, World, free_port, redis, require
from langgraph_sdk import get_client
from postgres import cluster

from batch_bridge.testing import BatchServer

PROJECT = Path(__file__).with_name("aegra_project")
TOKEN = "the token of the service"


@pytest.fixture(scope="module")
def machines():
    require()
    with cluster() as postgres, redis() as queue:
        yield postgres, queue


@pytest.fixture
def world(machines, tmp_path, request):
    """An Aegra server, and a ticker apart from it. `request.param` are settings and the file of the configuration."""
    settings, config = request.param
    postgres, queue = machines
    number = len(tmp_path.name) + sum(map(ord, request.node.name))
    port = free_port()
    with BatchServer(latency=0.5) as batches:
        made = World(
            postgres.create(f"users{number}"),
            f"{queue}/{number % 16}",
            batches,
            tmp_path,
            PROJECT,
            AEGRA_CONFIG=str(PROJECT / config),
            SERVER_URL=f"http://127.0.0.1:{port}",
            **settings,
        )
        try:
            made.server = made.serve(port)
            made.tick("app.py:bridge")
            made.wait(made.has_ticker)
            yield made
        finally:
            made.end()


def client_of(world, token=""):
    return get_client(url=world.server.url, api_key=None, headers={"Authorization": f"Bearer {token}"} if token else {})


async def begin(client, q, **options):
    thread = (await client.threads.create())["thread_id"]
    await client.runs.create(thread, "agent", input={"q": q}, **options)
    return thread


async def until(client, thread, *statuses):
    limit = time.monotonic() + LONG
    while (found := await client.threads.get(thread))["status"] not in statuses:
        assert time.monotonic() < limit, found
        await asyncio.sleep(0.2)
    return found["status"]


@pytest.mark.timeout(900)
@pytest.mark.parametrize("world", [({"BRIDGE_TOKEN": TOKEN, "BRIDGE_QUIET_SECONDS": "1"}, "users.json")], indirect=True)
async def test_a_thread_goes_on_as_its_user_and_with_its_context(world):
    ada, bob = client_of(world, "ada"), client_of(world, "bob")
    begun = [(ada, "ada", await begin(ada, "a", context={"colour": "red"})), (bob, "bob", await begin(bob, "b"))]
    for client, user, thread in begun:
        assert await until(client, thread, "idle", "error") == "idle"
        values = (await client.threads.get_state(thread))["values"]
        assert values["user"] == user
        assert values["answer"].endswith(f"You asked: {values['q']}")
        assert values["colour"] == ("red" if user == "ada" else "")
    assert (world.batches.stats.paid, world.batches.stats.batches) == (2, 1)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("world", [({"BRIDGE_QUIET_SECONDS": "1"}, "users.json")], indirect=True)
async def test_without_a_service_token_the_first_wait_says_what_is_missing(world):
    ada = client_of(world, "ada")
    thread = await begin(ada, "a")
    assert await until(ada, thread, "idle", "error") == "error"
    [run] = await ada.runs.list(thread)
    assert "threads belong to users" in run["error_message"]
    assert "client=lambda user: get_client(" in run["error_message"]
    assert world.batches.stats.paid == 0


@pytest.mark.timeout(900)
@pytest.mark.parametrize("world", [({"BRIDGE_QUIET_SECONDS": "3600"}, "aegra.json")], indirect=True)
async def test_a_run_of_the_bridge_gives_commands(world):
    client = client_of(world)
    dropped, kept = await begin(client, "dropped"), await begin(client, "kept")
    for each in (dropped, kept):
        await until(client, each, "interrupted")
    await command(client, {"cancel": {"thread_id": dropped}})
    assert await until(client, dropped, "idle", "error") == "error"
    await command(client, {"flush": True})
    assert await until(client, kept, "idle", "error") == "idle"
    assert world.batches.stats.paid == 1


async def command(client, given):
    thread = (await client.threads.create())["thread_id"]
    await client.runs.create(thread, "bridge", input=given)
    assert await until(client, thread, "idle", "error") == "idle"
