"""Threads that are deleted, cancelled or given something else to do while they wait."""

from collections.abc import Iterator

import pytest
from deployed import Deployed, until
from langgraph_sdk.errors import NotFoundError


@pytest.fixture(scope="module")
def deployed(tmp_path_factory) -> Iterator[Deployed]:
    with Deployed("mixed", tmp_path_factory.mktemp("gone"), jobs=20, env={"MOST_FAILURES": "1"}) as running:
        yield running


async def test_requests_that_nobody_waits_for_any_more_are_not_sent(deployed) -> None:
    async with deployed.client() as client:
        stays, deleted = await client.start("patiently"), await client.start("patiently")
        asks = {do: await client.start("on_demand", input={"name": do, "do": "x"}) for do in ("human", "end", "other")}
        await client.shows("patient", waiting=5)
        await client.threads.delete(deleted)
        for do, thread in asks.items():
            await client.run("on_demand", thread, input={"name": do, "do": do})
        await client.ended(asks["end"])
        await client.human(asks["human"])
        await client.ended(asks["other"], status="interrupted")
        # A note for each new wait is taken in before the flush.
        await client.tick("patient", flush=True)
        await client.ended(stays, asks["other"])
        await client.shows("patient", waiting=0, in_flight=0, undelivered=0, dead_letters=[])
        assert await client.out(asks["other"]) == ["other other!"]
        assert await client.out(asks["end"]) == ["ended"]
    sent = deployed.sent()
    assert sent[stays] == 1
    assert deleted not in sent
    assert {item for item in sent if item.startswith(("human", "end", "other"))} == {"other other"}


async def test_a_thread_that_is_deleted_in_flight_is_a_dead_letter_and_stops_nobody(deployed) -> None:
    deployed.hold("bridge")
    async with deployed.client() as client:
        stays, deleted = await client.start("one"), await client.start("one")
        await client.shows(in_flight=2)
        await client.threads.delete(deleted)
        deployed.let_go("bridge")
        await client.ended(stays)
        shown = await client.shows(in_flight=0, undelivered=0)
        (letter,) = shown["dead_letters"]
        assert letter["thread"] == deleted
        assert "does not exist" in letter["reason"]
        assert deleted in shown["last_error"]
        await client.tick(replay="all")  # still not there
        shown = await client.shows(undelivered=0)
        assert [each["thread"] for each in shown["dead_letters"]] == [deleted]
        late = await client.start("one")
        await client.ended(late)
    assert deployed.sent(deleted) == {deleted: 1}


async def test_a_dead_letter_can_be_delivered_again(deployed) -> None:
    """Its assistant is deleted, so the server refuses to resume it; then it is there again."""
    deployed.hold("bridge")
    async with deployed.client() as client:
        assistant = (await client.sdk.assistants.create("one"))["assistant_id"]
        thread = await client.start(assistant)
        await client.parked(thread)
        await client.shows(in_flight=1)
        await client.sdk.assistants.delete(assistant)
        deployed.let_go("bridge")

        async def dead() -> bool:
            return thread in {each["thread"] for each in (await client.bridge()).get("dead_letters", [])}

        await until(dead, "a dead letter", say=client.bridge)
        assert (await client.look(thread))["status"] == "interrupted"
        await client.sdk.assistants.create("one", assistant_id=assistant)
        (request,) = [each["request"] for each in (await client.bridge())["dead_letters"] if each["thread"] == thread]
        await client.tick(replay=[request])
        (ended,) = await client.ended(thread)
        assert ended["values"]["out"] == [f"{thread}!"]
        await client.shows(undelivered=0)
        assert not await dead()
    assert deployed.sent(thread) == {thread: 1}


async def test_a_thread_that_is_deleted_right_after_it_ended_is_no_news(deployed) -> None:
    async with deployed.client() as client:
        before = len((await client.bridge()).get("dead_letters", []))
        thread = await client.start("one")
        await client.ended(thread)
        await client.threads.delete(thread)
        await client.tick()
        shown = await client.shows(undelivered=0, in_flight=0)
        assert len(shown["dead_letters"]) <= before + 1
        with pytest.raises(NotFoundError):
            await client.look(thread)


async def test_a_run_that_is_cancelled_behind_its_wait_costs_no_second_request(deployed) -> None:
    async with deployed.client() as client:
        thread = await client.start("slow")

        async def resumed() -> str | None:
            runs = await client.runs.list(thread, status="running")
            return runs[0]["run_id"] if runs and len(await client.runs.list(thread)) > 1 else None

        run = await until(resumed, "the thread was resumed")
        await client.runs.cancel(thread, run, wait=True)
        (ended,) = await client.ended(thread)  # the answer is there still, and is delivered again
        assert ended["values"]["out"] == [f"{thread}!"]
    assert deployed.sent(thread) == {thread: 1}


async def test_a_parked_thread_that_is_asked_again_is_asked_again(deployed) -> None:
    """New input discards the interrupt: its answer comes to nobody, the new one to its own wait."""
    deployed.hold("bridge")
    async with deployed.client() as client:
        thread, stays = await client.start("one", "old"), await client.start("one")
        await client.shows(in_flight=2)
        await client.run("one", thread, "new")
        await client.parked(thread)
        await client.shows(in_flight=3)
        deployed.let_go("bridge")
        await client.ended(thread, stays)
        assert await client.out(thread) == ["new!"]
        await client.shows(in_flight=0, undelivered=0)
    assert deployed.sent("old") == {"old": 1}
    assert deployed.sent("new") == {"new": 1}
