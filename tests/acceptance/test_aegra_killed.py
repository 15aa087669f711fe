"""The bridge beside Aegra: real servers on a real Postgres and Redis, of which one is killed; each answer is paid once."""

import asyncio
import contextlib
import time

import pytest
from aegra_world import LONG, World, redis, require
from langgraph_sdk import get_client
from postgres import cluster

from batch_bridge.testing import BatchServer

THREADS = 100
SIDE_BY_SIDE = 8


@pytest.fixture(scope="module")
def machines():
    require()
    with cluster() as postgres, redis() as queue:
        yield postgres, queue


async def start(servers, count):
    """Begin threads, on one server and the next in turn, and return their ids by what they are about."""
    clients = [get_client(url=each.url, api_key=None) for each in servers]
    gate, begun = asyncio.Semaphore(SIDE_BY_SIDE), {}

    async def one(number):
        client = clients[number % len(clients)]
        async with gate:
            thread = await client.threads.create()
            await client.runs.create(thread["thread_id"], "reviewer", input={"text": f"text {number}"})
        begun[f"text {number}"] = thread["thread_id"]

    await asyncio.gather(*map(one, range(count)))
    for each in clients:
        await each.aclose()
    return begun


async def until_ended(server, begun):
    """Wait until all threads have ended, and return their states."""
    client, until = get_client(url=server.url, api_key=None), time.monotonic() + LONG
    gate = asyncio.Semaphore(SIDE_BY_SIDE)

    async def state_of(thread):
        async with gate:
            return (await client.threads.get_state(thread))["values"]

    while True:
        threads = await client.threads.search(limit=1000)
        failed = [each["thread_id"] for each in threads if each["status"] == "error"]
        assert not failed, failed
        if len([each for each in threads if each["status"] == "idle"]) == len(begun):
            break
        assert time.monotonic() < until, {each["status"] for each in threads}
        await asyncio.sleep(0.5)
    states = await asyncio.gather(*map(state_of, begun.values()))
    await client.aclose()
    return dict(zip(begun, states, strict=True))


def check(states):
    """Check that each thread has its own answers: each repeats how its question begins, and each summary is unique."""
    for text, state in states.items():
        assert state["summary"].endswith(f"You asked: Summarise: {text}"), state
        _, _, repeated = state["review"].partition("You asked: ")
        assert len(repeated) > len("Is this a good summary? [stand-in answer 000000]"), state
        assert f"Is this a good summary? {state['summary']}".startswith(repeated), state


@pytest.mark.timeout(900)
@pytest.mark.parametrize("killed", ["none", "the one that ticks", "the other one"])
async def test_all_answers_are_own_and_each_is_paid_once(killed, machines, tmp_path):
    postgres, queue = machines
    number = ["none", "the one that ticks", "the other one"].index(killed)
    with BatchServer(latency=2.0) as batches:
        world = World(postgres.create(f"aegra{number}"), f"{queue}/{number}", batches, tmp_path)
        with contextlib.ExitStack() as stack:
            stack.callback(world.end)
            first = world.serve()
            world.wait(world.has_ticker)
            second = world.serve()
            begun = await start([first, second], THREADS)
            if killed != "none":
                world.wait(lambda: batches.stats.batches >= 1)
                (first if killed == "the one that ticks" else second).end()
            left = second if killed == "the one that ticks" else first
            check(await until_ended(left, begun))
            world.end()
            check(await until_ended(world.serve(), begun))  # a further process opens the store
            world.wait(world.has_ticker)
            await asyncio.sleep(3)
        stats = batches.stats
    assert (stats.paid, stats.paid_twice, stats.bodies_repeated) == (2 * THREADS, 0, 0)
    if killed == "none":
        assert stats.batches <= THREADS // 5, "threads that a busy machine begins late are sent later, but together"
