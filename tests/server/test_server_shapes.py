"""Every shape in which nodes wait, on a real server: each thread gets its own answers, in as few rounds as it can."""

import asyncio
from collections import Counter
from collections.abc import Iterator

import pytest
from deployed import Deployed

from batch_bridge import is_bridge_interrupt


@pytest.fixture(scope="module")
def deployed(tmp_path_factory) -> Iterator[Deployed]:
    with Deployed("shapes", tmp_path_factory.mktemp("shapes"), jobs=30) as running:
        yield running


SHAPES = {
    "one": (["{}!"], 1),
    "three": (["{} a!", "{} b!", "{} c!", "{} last!"], 2),
    "fan": (["{} a part!", "{} b part!", "{} b part!", "{} c part!"], 1),
    "nested": (["{} a!", "{} b!", "{} c!", "{} last!"], 2),
    "loop": (["{} turn!"] * 3, 3),
    "sync": (["{} sync!", "{} then!"], 2),
    "many": (["{} x!", "RequestFailed", "{} z!"], 1),
    "functional": (["{} a!", "{} b!", "{} c!"], 1),
    "shuffled": (["{} a!", "{} b!", "{} c!", "{} d!"], 1),
    "retried": (["fail {}!"], 2),  # a retry after a failure asks again
}
"""What each graph's threads end with, and in how many rounds."""


@pytest.fixture(scope="module")
def ended(deployed) -> dict[str, list[tuple[str, list[str], int]]]:
    """Of each shape some threads, all run together: id, answers, rounds."""

    async def run() -> dict[str, list[tuple[str, list[str], int]]]:
        async with deployed.client() as client:
            started = {graph: [await client.start(graph) for _ in range(3)] for graph in SHAPES}
            done = await client.ended(*(thread for threads in started.values() for thread in threads))
            answers = {seen["thread_id"]: seen["values"]["out"] for seen in done}
            return {
                graph: [(thread, answers[thread], await client.rounds(thread)) for thread in threads]
                for graph, threads in started.items()
            }

    return asyncio.run(run())


@pytest.mark.parametrize("graph", SHAPES)
def test_a_shape_ends_with_its_own_answers_and_no_round_too_many(deployed, ended, graph) -> None:
    wanted, most = SHAPES[graph]
    for thread, answers, rounds in ended[graph]:
        own = [each.format(thread) for each in wanted]
        assert answers == own
        assert rounds == most
        asked = Counter(answer.removesuffix("!") for answer in own if answer != "RequestFailed")
        if graph == "many":
            asked[f"broken {thread}"] = 1
        if graph == "retried":
            asked[f"fail {thread}"] = 2
        assert deployed.sent(thread) == asked


async def test_a_hundred_threads_get_each_its_own_answer(deployed) -> None:
    async with deployed.client() as client:
        threads = await asyncio.gather(*(client.start("one") for _ in range(100)))
        ended = await client.ended(*threads)
    assert [seen["values"]["out"] for seen in ended] == [[f"{thread}!"] for thread in threads]
    assert all(deployed.sent(thread) == {thread: 1} for thread in threads)


async def test_a_human_beside_a_wait_is_left_alone_and_answered_by_a_human(deployed) -> None:
    async with deployed.client() as client:
        thread = await client.start("beside_human")
        raised = await client.human(thread)
        assert raised["value"] == {"approve": thread}
        assert await client.rounds(thread) == 2
        await client.run("beside_human", thread, input=None, command={"resume": {raised["id"]: "yes"}})
        (ended,) = await client.ended(thread)
    assert sorted(ended["values"]["out"]) == sorted(
        [f"{thread} a!", f"{thread} b!", f"{thread} c!", f"{thread} last!", "human said yes"]
    )
    assert set(deployed.sent(thread).values()) == {1}


async def test_a_human_may_answer_before_the_bridge_does(deployed) -> None:
    deployed.hold("bridge")
    async with deployed.client() as client:
        try:
            thread = await client.start("beside_human")
            await client.shows(in_flight=3)
            (raised,) = [each for each in await client.interrupts(thread) if not is_bridge_interrupt(each)]
            await client.run("beside_human", thread, input=None, command={"resume": {raised["id"]: "early"}})
            await client.ended(thread, status="interrupted")
        finally:
            deployed.let_go("bridge")
        (ended,) = await client.ended(thread)
    assert "human said early" in ended["values"]["out"]
    assert f"{thread} last!" in ended["values"]["out"]
    assert set(deployed.sent(thread).values()) == {1}


async def test_a_human_after_a_wait_in_the_same_node(deployed) -> None:
    async with deployed.client() as client:
        thread = await client.start("before_human")
        raised = await client.human(thread)
        assert raised["value"] == {"approve": f"{thread} first!"}
        await client.run("before_human", thread, input=None, command={"resume": {raised["id"]: "go"}})
        (ended,) = await client.ended(thread)
    assert ended["values"]["out"] == [f"{thread} first!", "human said go", f"{thread} after go!"]
    assert set(deployed.sent(thread).values()) == {1}


async def test_what_a_run_was_started_with_is_still_there_after_it_was_resumed(deployed) -> None:
    async with deployed.client() as client:
        thread = await client.start(
            "settings",
            context={"tone": "dry"},
            config={"recursion_limit": 7, "tags": ["mine"]},
            metadata={"note": "kept"},
        )
        other = await client.start("settings", config={"configurable": {"flavour": "sour"}, "recursion_limit": 9})
        ended = await client.ended(thread, other)
    told, others = (seen["values"]["out"][2] for seen in ended)
    assert told["tone"] == "dry"
    assert told["recursion_limit"] == 7
    assert told["tags"] == ["mine"]
    assert others["flavour"] == "sour"
    assert others["recursion_limit"] == 9
