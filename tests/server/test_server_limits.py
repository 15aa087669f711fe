"""Limits of one input hold over the runs that the bridge makes of it on a real server, as they do at once."""

from collections.abc import Iterator

import pytest
from deployed import Deployed


@pytest.fixture(scope="module")
def deployed(tmp_path_factory) -> Iterator[Deployed]:
    with Deployed("limits", tmp_path_factory.mktemp("limits")) as running:
        yield running


LIMIT = {"recursion_limit": 4}


async def test_an_endless_loop_ends_with_the_recursion_limit(deployed) -> None:
    async with deployed.client() as client:
        thread = await client.start("endless", config=LIMIT)
        await client.ended(thread, status="error")
        (run, *_) = await client.runs.list(thread)
        assert "Recursion limit of 4 reached" in str((await client.look(thread)).get("error")) + str(run)
        out = await client.out(thread)
    assert out == [[f"{thread} turn {i}!", 4 - i - 1, i] for i in range(4)]
    assert sum(deployed.sent(thread).values()) == 4


async def test_a_subgraph_counts_its_own_steps(deployed) -> None:
    """Each invocation has its own, and adds what it was given to the parent's; the parent's end the thread."""
    async with deployed.client() as client:
        thread = await client.start("nested", config=LIMIT)
        await client.ended(thread, status="error")
        out = await client.out(thread)
    plain: list[list[int]] = []
    for inner in ([[3, 0], [2, 1], [1, 2]], [[3, 3]], [[3, 4]], [[3, 5]]):
        plain += [*plain, *inner]
    assert [each[1:] for each in out] == plain


async def test_a_counter_of_one_s_own_ends_a_loop(deployed) -> None:
    async with deployed.client() as client:
        thread = await client.start("counting")
        await client.ended(thread)
        assert [each[2] for each in await client.out(thread)] == [0, 1, 2]


async def test_a_human_s_answer_starts_limits_and_counters_again(deployed) -> None:
    async with deployed.client() as client:
        thread = await client.start("asking", config=LIMIT)
        question = await client.human(thread)
        await client.run("asking", thread, input=None, command={"resume": {question["id"]: "yes"}}, config=LIMIT)
        await client.ended(thread, status="error")
        out = await client.out(thread)
    plain = [
        [3, 0],
        [2, 1],
        [5, None],
        [4, 0],
        [3, 1],
        [2, 2],
        [1, 3],
        [0, 4],
    ]  # a resume's first step has one more left
    assert [each[1:] for each in out] == plain


async def test_a_model_s_call_limit_holds(deployed) -> None:
    async with deployed.client() as client:
        thread = (await client.threads.create())["thread_id"]
        for turn in (1, 2):  # the second has a limit of its own
            message = {"role": "user", "content": f"{thread} {turn}"}
            await client.runs.create(thread, "agent", input={"messages": [message]})
            (seen,) = await client.ended(thread)
            assert "limit" in seen["values"]["messages"][-1]["content"]
            assert sum(deployed.sent(thread).values()) == 3 * turn


async def test_what_no_checkpoint_holds_survives_in_the_server_s_process(deployed) -> None:
    async with deployed.client() as client:
        thread = await client.start("holding")
        await client.ended(thread)
        assert await client.out(thread) == [f"{thread} first!", f"{thread} second!", thread]


async def test_over_a_restart_limits_and_counters_hold_and_what_is_lost_is_named(tmp_path) -> None:
    with Deployed("limits", tmp_path) as deployed:
        deployed.hold("bridge", "")
        async with deployed.client() as client:
            endless, counting = await client.start("endless", config=LIMIT), await client.start("counting")
            holding = await client.start("holding")
            for thread in (endless, counting, holding):
                await client.parked(thread)
            await client.shows(in_flight=3)
        deployed.restart()
        deployed.let_go("bridge")
        async with deployed.client() as client:
            await client.ended(counting)
            assert [each[2] for each in await client.out(counting)] == [0, 1, 2]
            await client.ended(endless, status="error")
            assert [each[1] for each in await client.out(endless)] == [3, 2, 1, 0]
            await client.ended(holding, status="error")
            found = await client.look(holding)
            assert "LostStateError" in str(found["error"])
            assert "'thing'" in str(found["error"])
            assert holding in str(found["error"])
