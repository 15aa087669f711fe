"""What the bridge's thread shows, and what a person may tell it to do."""

import asyncio
from collections.abc import Iterator
from datetime import datetime

import pytest
from deployed import Deployed, until

from batch_bridge._node.platform.client import bridge_thread


@pytest.fixture(scope="module")
def deployed(tmp_path_factory) -> Iterator[Deployed]:
    with Deployed("mixed", tmp_path_factory.mktemp("state"), jobs=20) as running:
        yield running


async def test_it_shows_what_waits_what_is_in_flight_and_that_all_is_done(deployed) -> None:
    deployed.hold("patient")
    async with deployed.client() as client:
        threads = [await client.start("patiently") for _ in range(7)]
        shown = await client.shows("patient", waiting=7)
        assert (shown["in_flight"], shown["batches"], shown["undelivered"]) == (0, 0, 0)
        assert datetime.fromisoformat(shown["next_tick"]).tzinfo is not None
        await client.tick("patient", flush=True)
        shown = await client.shows("patient", in_flight=7)
        assert (shown["waiting"], shown["batches"], shown["last_error"]) == (0, 1, "")
        assert not shown["flush"]
        late = await client.start("patiently")  # what came after the order waits for its time
        await client.shows("patient", waiting=1, in_flight=7)
        deployed.let_go("patient")
        await client.ended(*threads)
        await client.shows("patient", waiting=1, in_flight=0, batches=0, undelivered=0, dead_letters=[])
        assert (await client.look(late))["status"] == "interrupted"
        await client.tick("patient", flush=True)
        await client.ended(late)
        shown = await client.shows("patient", waiting=0, in_flight=0, undelivered=0)
        assert shown["cost"]["requests"] in (7, 8)  # of the last batch once a tick has counted it
        assert shown["cost"]["paid"] is None  # a pair of functions has no prices
    assert [len(items) for bridge, items in deployed.batches if bridge == "patient"] == [7, 1]


async def test_it_shows_what_failed_last(deployed) -> None:
    async with deployed.client() as client:
        thread = await client.start("item", input={"name": "x", "batcher": "no_submit", "do": "x"})
        await client.error(thread)

        async def said() -> bool:
            return "the desk is closed" in (await client.bridge("no_submit")).get("last_error", "")

        await until(said, "the error is shown", say=lambda: client.bridge("no_submit"))


async def test_a_run_by_hand_on_another_thread_does_no_second_tick(deployed) -> None:
    deployed.hold("bridge")
    async with deployed.client() as client:
        threads = [await client.start("one") for _ in range(5)]
        await asyncio.gather(*(client.tick() for _ in range(10)))
        await client.shows(in_flight=5)
        await asyncio.gather(*(client.tick(flush=True) for _ in range(5)))
        deployed.let_go("bridge")
        await client.ended(*threads)
        assert all(deployed.sent(thread) == {thread: 1} for thread in threads)
        by_hand = (await client.threads.create())["thread_id"]
        shown = await client.runs.wait(by_hand, "bridge", input={})
        assert "own thread" in shown["next_tick"]
        ours = await client.runs.list(bridge_thread("bridge"), limit=100)
        assert any(run["metadata"]["batch_bridge"] == "hand" for run in ours)


async def test_a_bridge_that_nobody_waits_for_goes_to_sleep(deployed) -> None:
    async with deployed.client() as client:
        await client.ended(await client.start("one"))
        await client.shows(waiting=0, in_flight=0, undelivered=0, next_tick="")

        async def quiet() -> bool:
            runs = await client.runs.list(bridge_thread("bridge"), limit=100)
            return not any(run["status"] in ("pending", "running") for run in runs)

        await until(quiet, "no run is left")
        await client.shows(next_tick="")
