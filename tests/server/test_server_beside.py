"""A person who answers beside a wait, on a real server: the batch's answer arrives, and so does the person's, once."""

from collections.abc import Iterator
from typing import Any

import pytest
from deployed import Client, Deployed, until

from batch_bridge import is_bridge_interrupt


@pytest.fixture(scope="module")
def deployed(tmp_path_factory) -> Iterator[Deployed]:
    with Deployed("beside", tmp_path_factory.mktemp("beside"), jobs=20) as running:
        yield running


async def start_parked(client: Client, deployed: Deployed, graph: str, **given: Any) -> str:
    """Start a thread whose wait is on its way or queued, and whose person is asked."""
    name = f"of {graph} {len(deployed.sent())}"
    thread = await client.start(graph, input={"name": name, **given})
    await client.parked(thread)
    return thread


async def answer(client: Client, graph: str, thread: str, resume: Any) -> None:
    await client.run(graph, thread, input=None, command={"resume": resume})


async def refused(client: Client, graph: str, thread: str, resume: Any) -> None:
    """Answer with a plain value, which LangGraph refuses while a wait is pending."""
    await answer(client, graph, thread, resume)
    await client.ended(thread, status="error")


async def question(client: Client, thread: str) -> dict[str, Any]:
    (raised,) = [each for each in await client.interrupts(thread) if not is_bridge_interrupt(each)]
    return raised


async def pending(client: Client, thread: str, part: str) -> dict[str, Any] | None:
    """Return the interrupt of a task that has not finished and has `part` in what it shows."""
    tasks = (await client.threads.get_state(thread))["tasks"]
    found = [each for task in tasks for each in task["interrupts"] if part in str(each["value"])]
    return dict(found[0]) if found else None


async def test_a_plain_answer_beside_a_batch_arrives_with_the_batch_s_and_is_given_to_one_question(deployed) -> None:
    deployed.hold("bridge")
    async with deployed.client() as client:
        thread = await start_parked(client, deployed, "beside")
        await client.shows(in_flight=1)
        await refused(client, "beside", thread, "no")
        await refused(client, "beside", thread, "yes")  # what was said last counts
        deployed.let_go("bridge")
        raised = await client.human(thread)
        assert raised["value"] == "really, after yes?"  # it is asked, and not answered with the first answer
        assert (await client.out(thread)) == []
        await answer(client, "beside", thread, {raised["id"]: "sure"})
        (ended,) = await client.ended(thread)
        name = ended["values"]["name"]
        assert sorted(ended["values"]["out"]) == sorted([f"{name}!", "first yes", "second sure"])
        await client.shows(in_flight=0, undelivered=0, dead_letters=[])
    assert deployed.sent(name) == {name: 1}


async def test_what_waits_to_be_sent_is_sent_though_a_plain_answer_was_refused(deployed) -> None:
    async with deployed.client() as client:
        thread = await start_parked(client, deployed, "beside", batcher="patient")
        await client.shows("patient", waiting=1)
        await refused(client, "beside", thread, {"approved": True})
        await client.tick("patient", flush=True)
        raised = await client.human(thread)
        assert raised["value"] == "really, after {'approved': True}?"


async def test_an_answer_by_id_after_a_plain_one_is_the_only_one(deployed) -> None:
    deployed.hold("bridge")
    async with deployed.client() as client:
        thread = await start_parked(client, deployed, "beside")
        await client.shows(in_flight=1)
        await refused(client, "beside", thread, "no")
        await answer(client, "beside", thread, {(await question(client, thread))["id"]: "yes"})
        await client.ended(thread, status="interrupted")
        deployed.let_go("bridge")
        raised = await client.human(thread)
        assert raised["value"] == "really, after yes?"


async def test_a_plain_answer_to_two_questions_answers_none_and_holds_up_no_batch(deployed) -> None:
    deployed.hold("bridge")
    async with deployed.client() as client:
        thread = await start_parked(client, deployed, "two_humans")
        await client.shows(in_flight=1)
        await refused(client, "two_humans", thread, "yes")
        deployed.let_go("bridge")

        async def people_alone() -> Any:
            left = await client.interrupts(thread)
            rests = (await client.look(thread))["status"] == "interrupted"
            return left if rests and not any(map(is_bridge_interrupt, left)) else None

        left = await until(people_alone, "the batch's answer has arrived", say=client.bridge)
        assert sorted(each["value"].partition(",")[0] for each in left) == ["is it good?", "may I"]
        await answer(client, "two_humans", thread, {each["id"]: "by id" for each in left})
        raised = await until(lambda: pending(client, thread, "really"), "the next question")
        await client.tick()  # the server goes on showing what its finished task has asked for; it has taken it
        await client.shows(undelivered=0, dead_letters=[])
        assert len([run for run in await client.runs.list(thread) if run["metadata"].get("batch_bridge")]) == 1
        await answer(client, "two_humans", thread, {raised["id"]: "sure"})
        (ended,) = await client.ended(thread)
    assert "review by id" in ended["values"]["out"]
    assert f"{ended['values']['name']}!" in ended["values"]["out"]


async def test_a_node_that_has_failed_is_run_again_by_its_owner_alone(deployed) -> None:
    deployed.hold("bridge")
    async with deployed.client() as client:
        thread = await start_parked(client, deployed, "failing")
        await client.shows(in_flight=1)
        await answer(client, "failing", thread, {(await question(client, thread))["id"]: "yes"})
        await client.ended(thread, status="error")
        assert any(map(is_bridge_interrupt, await client.interrupts(thread)))
        deployed.let_go("bridge")
        await client.shows(in_flight=0, undelivered=0)
        assert (await client.look(thread))["status"] == "error"
        assert await client.rounds(thread) == 1
        await client.run("failing", thread, input=None)
        (ended,) = await client.ended(thread)
        name = ended["values"]["name"]
        assert sorted(ended["values"]["out"]) == sorted([f"{name}!", "yes, 2 times"])
    assert deployed.sent(name) == {name: 1}


@pytest.mark.parametrize("graph", ["swallows", "swallows_sync", "swallows_inside", "swallows_beside"])
async def test_a_swallowed_interrupt_fails_the_run_and_leaves_no_wrong_answer(deployed, graph) -> None:
    async with deployed.client() as client:
        thread = await client.start(graph)
        error = await client.error(thread)
        (run,) = await client.runs.list(thread)
        assert run["status"] == "error"
        assert not await client.out(thread)
    assert "SwallowedInterruptError" in error
    assert f"of thread '{thread}' caught the interrupt" in error
    assert not deployed.sent(thread)


async def test_an_interrupt_that_a_library_wraps_says_the_way_out(deployed) -> None:
    async with deployed.client() as client:
        thread = await client.start("wraps", "a secret prompt")
        error = await client.error(thread)
    assert "SwallowedInterruptError" in error
    assert "retry_if_not_exception_type(GraphBubbleUp)" in error
    assert "secret" not in error
    assert not deployed.sent("a secret prompt")


async def test_what_is_no_swallowing_is_left_alone(deployed) -> None:
    """New input, a run that is cancelled, and one that is rolled back take a thread away from its wait."""
    deployed.hold("bridge")
    async with deployed.client() as client:
        threads = [await client.start("groups") for _ in range(3)]
        await client.shows(in_flight=3)
        again, cancelled, rolled_back = threads
        await client.run("groups", again, "again")
        await client.run("groups", cancelled, input=None, command={"resume": {"0" * 32: "to nobody"}}, after_seconds=60)
        (waiting,) = await client.runs.list(cancelled, status="pending")
        await client.runs.cancel(cancelled, waiting["run_id"])
        await client.run("groups", rolled_back, "rolled back", multitask_strategy="rollback")
        await client.shows(in_flight=5)
        deployed.let_go("bridge")
        ended = await client.ended(*threads)

        async def silent() -> bool:
            return not (await client.bridge())["undelivered"]

        await until(silent, "all is delivered", say=client.bridge)
    assert [each["values"]["out"] for each in ended] == [["again!"], [f"{cancelled}!"], ["rolled back!"]]
