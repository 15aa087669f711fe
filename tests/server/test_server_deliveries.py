"""Answers that come twice, late, or to a thread that has moved on: nothing changes."""

from collections.abc import Iterator
from typing import Any

import pytest
from deployed import Client, Deployed, until

OUTBOX = ("batch_bridge", "bridge", "outbox")


@pytest.fixture(scope="module")
def deployed(tmp_path_factory) -> Iterator[Deployed]:
    with Deployed("mixed", tmp_path_factory.mktemp("deliveries"), jobs=20) as running:
        yield running


async def outbox(client: Client) -> list[list[str]]:
    rows = (await client.store.search_items(OUTBOX, limit=100))["items"]
    return [entry for row in rows for entry in row["value"]["entries"]]


def asked(raised: list[dict[str, Any]]) -> list[str]:
    return [each["id"] for one in raised for each in one["value"]["requests"]]


async def put_back(client: Client, entries: list[list[str]]) -> None:
    """Put requests into the outbox whose answers were delivered already."""
    await client.store.put_item(OUTBOX, "000000000000", {"entries": entries})


async def next_wait(client: Client, thread: str, before: dict[str, Any]) -> list[dict[str, Any]]:
    """Return what a thread waits for, once it waits for something else than before."""

    async def there() -> Any:
        raised = await client.parked(thread)
        return raised if asked(raised) != asked([before]) else None

    return await until(there, f"{thread} waits for something else")


async def settled(client: Client) -> None:
    """Wait until the bridge has done with all that is in its outbox."""

    async def empty() -> bool:
        return not await outbox(client)

    await until(empty, "the outbox is empty", say=client.bridge)


async def test_an_answer_that_is_delivered_again_changes_nothing(deployed) -> None:
    deployed.hold("bridge")
    async with deployed.client() as client:
        twice, human, ended = await client.start("twice"), await client.start("human"), await client.start("one")
        ids = {thread: asked(await client.parked(thread)) for thread in (twice, human, ended)}
        await client.shows(in_flight=3)
        deployed.hold("bridge", "second")
        await client.ended(ended)
        raised = await client.human(human)
        await client.shows(in_flight=1, undelivered=0)
        second = await client.parked(twice)
        assert asked(second) != ids[twice]
        runs = {thread: await client.rounds(thread) for thread in ids}
        await settled(client)
        await put_back(client, [[request, thread] for thread, some in ids.items() for request in some])
    deployed.restart()
    async with deployed.client() as client:
        assert len(await outbox(client)) == 3
        await client.tick()
        await settled(client)
        assert await client.parked(twice) == second
        assert await client.human(human) == raised
        assert {thread: await client.rounds(thread) for thread in ids} == runs
        deployed.let_go("bridge")
        (done,) = await client.ended(twice)
        assert done["values"]["out"] == [f"{twice} first!", f"{twice} second!"]
        await client.run("human", human, input=None, command={"resume": {raised["id"]: "yes"}})
        (done,) = await client.ended(human)
        assert done["values"]["out"] == [f"{human} first!", "yes"]
        assert await client.out(ended) == [f"{ended}!"]
        assert all(set(deployed.sent(thread).values()) == {1} for thread in ids)


async def test_an_answer_that_was_on_its_way_when_the_server_stopped_arrives_once(deployed) -> None:
    """The outbox still holds what a resume that is enqueued already brings."""
    deployed.hold("bridge")
    async with deployed.client() as client:
        thread = await client.start("human")
        (first,) = await client.parked(thread)
        await client.shows(in_flight=1)
        answer = {"kind": "succeeded", "answer": f"{thread} first!"}
        early = {first["id"]: {"batch_bridge": 1, "outcomes": {asked([first])[0]: answer}}}
        await client.run("human", thread, input=None, command={"resume": early}, after_seconds=2)
        deployed.let_go("bridge")
        raised = await client.human(thread)
        await client.shows(in_flight=0, undelivered=0)
        assert await client.human(thread) == raised
        assert deployed.sent(thread) == {f"{thread} first": 1}


async def test_an_old_answer_that_somebody_sends_to_the_next_wait_is_put_aside(deployed) -> None:
    deployed.hold("bridge")
    async with deployed.client() as client:
        thread = await client.start("twice")
        (first,) = await client.parked(thread)
        await client.shows(in_flight=1)
        deployed.hold("bridge", "second")
        second = await next_wait(client, thread, first)
        answer = {"kind": "succeeded", "answer": "an old one"}
        old = {first["id"]: {"batch_bridge": 1, "outcomes": {asked([first])[0]: answer}}}
        for _ in range(2):
            await client.run("twice", thread, input=None, command={"resume": old})
            await client.ended(thread, status="interrupted")
        assert asked(await client.parked(thread)) == asked(second)
        deployed.let_go("bridge")
        (done,) = await client.ended(thread)
    assert done["values"]["out"] == [f"{thread} first!", f"{thread} second!"]
    assert set(deployed.sent(thread).values()) == {1}
