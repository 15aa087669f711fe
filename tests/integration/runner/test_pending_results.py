"""Park and end: a call that returns once all threads wait, and goes on when it is made again."""

from datetime import UTC, datetime

import pytest
from helpers import Desk, chain, config_of, memory, one_node, within

from batch_bridge import FlushPolicy, Pending, RequestFailed, Runner, wait
from batch_bridge.errors import ProviderUnavailable


async def ask(state):
    return {"out": [await wait(state["x"])]}


async def again(state):
    return {"out": [await wait(state["out"][-1])]}


async def third(state):
    return {"out": [await wait(state["out"][-1])]}


INPUTS = [{"x": each} for each in "abc"]


def runner_on(path, desk, graph=None, **options):
    return Runner(graph or chain(ask, again, third), desk.bridge(**options), path=path, progress=False)


async def test_each_call_ends_once_parked_and_the_next_goes_on_to_the_next_wave(tmp_path):
    desk = Desk().hold()
    path = tmp_path / "run.db"
    began = datetime.now(UTC)
    for wave in (1, 2, 3):
        async with runner_on(path, desk) as runner:
            desk.hold()
            for _ in range(2):
                results = await within(runner.abatch(INPUTS, run_id="r", on_pending="return"))
                assert [type(each) for each in results] == [Pending] * 3
                assert {batch.handle for each in results for batch in each.batches} == {wave - 1}
                assert [each.thread_id for each in results] == ["r:0", "r:1", "r:2"]
                assert all(began <= each.since <= datetime.now(UTC) and each.queued == 0 for each in results)
        desk.let_go()
    async with runner_on(path, desk) as runner:
        results = await within(runner.abatch(INPUTS, run_id="r", on_pending="return"))
    assert [each["out"] for each in results] == [["a!", "a!!", "a!!!"], ["b!", "b!!", "b!!!"], ["c!", "c!!", "c!!!"]]
    assert desk.sizes == [3, 3, 3]


async def test_what_has_ended_comes_with_what_waits(tmp_path):
    desk = Desk().hold()

    async def node(state):
        return {"out": ["at once"]} if state["x"] == "b" else await ask(state)

    async with runner_on(tmp_path / "run.db", desk, one_node(node)) as runner:
        seen = []
        async for index, result in runner.abatch_as_completed(INPUTS, run_id="r", on_pending="return"):
            seen.append((index, type(result)))
        assert sorted(seen) == [(0, Pending), (1, dict), (2, Pending)]
        assert seen[0] == (1, dict)


async def test_a_thread_that_failed_is_raised_though_others_wait(tmp_path):
    desk = Desk(lambda item: ValueError("no") if item == "a" else f"{item}!")
    path = tmp_path / "run.db"
    options = {"flush": FlushPolicy(max_requests=1), "attempts": 1}
    async with runner_on(path, desk, one_node(ask), **options) as runner:
        failed = await within(runner.abatch(INPUTS[:1], run_id="r", return_exceptions=True))
        assert isinstance(failed[0], RequestFailed)


async def test_a_single_thread_too():
    desk = Desk().hold()
    async with memory(one_node(ask), desk.bridge()) as runner:
        result = await within(runner.ainvoke({"x": "a"}, config_of("t"), on_pending="return"))
        assert isinstance(result, Pending)
        assert result.batches[0].requests == 1
        handle = await runner.submit({"x": "b"})
        assert isinstance(await within(runner.result(handle, on_pending="return")), Pending)
        desk.let_go()
        assert (await within(runner.result(handle)))["out"] == ["b!"]
        assert (await within(runner.result(handle, on_pending="return")))["out"] == ["b!"]
        assert (await within(runner.ainvoke(None, config_of("t"))))["out"] == ["a!"]


async def test_what_nobody_could_go_on_with_is_refused():
    async with memory(one_node(ask), Desk().bridge()) as runner:
        with pytest.raises(ValueError, match="no name to continue by"):
            await runner.abatch(INPUTS, on_pending="return")
        with pytest.raises(ValueError, match="no name to continue by"):
            await runner.ainvoke({"x": 1}, on_pending="return")
        with pytest.raises(ValueError, match="on_pending='later'"):
            await runner.abatch(INPUTS, run_id="r", on_pending="later")


async def test_a_provider_that_is_down_is_waited_for_until_all_is_sent(tmp_path):
    desk = Desk().hold()
    failures = iter([True, True])

    async def submit(items):
        if next(failures, False):
            raise ProviderUnavailable("down")
        return await desk.submit(items)

    async with runner_on(tmp_path / "run.db", desk, one_node(ask), submit=submit) as runner:
        results = await within(runner.abatch(INPUTS, run_id="r", on_pending="return"))
    assert [each.batches[0].requests for each in results] == [1, 1, 1]
    assert desk.sizes == [3]


async def test_a_thread_that_still_runs_is_waited_for(tmp_path):
    desk = Desk().hold()

    async def node(state):
        if state["x"] == "b":
            await desk.submitted.wait()
        return await ask(state)

    flush = FlushPolicy(max_requests=2)
    async with runner_on(tmp_path / "run.db", desk, one_node(node), flush=flush) as runner:
        results = await within(runner.abatch(INPUTS, run_id="r", on_pending="return"))
    assert [type(each) for each in results] == [Pending] * 3
    assert desk.sizes == [2, 1]
