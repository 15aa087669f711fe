"""A Runner behind web requests: single calls pool, two calls for one thread are one, and nobody need stay to be answered."""

import asyncio
from datetime import timedelta

import pytest
from helpers import Desk, State, chain, config_of, memory, one_node, within
from langgraph.types import Command, interrupt

from batch_bridge import FlushPolicy, RequestFailed, Runner, wait
from batch_bridge.errors import RunMismatchError, RunnerStateError, SubmittedThreadError, UnknownThreadError


async def ask(state: State) -> State:
    return {"out": [await wait(state["x"])]}


async def again(state: State) -> State:
    return {"out": [await wait(state["out"][-1])]}


async def parked(runner, thread_id):
    """Wait until a thread is parked."""
    async with asyncio.timeout(20):
        while not (await runner._opened.session.graph.aget_state(config_of(thread_id))).interrupts:
            await asyncio.sleep(0.005)


async def test_single_calls_that_come_one_after_the_other_share_a_batch():
    desk = Desk()
    async with memory(one_node(ask), desk.bridge(flush=FlushPolicy())) as runner:
        assert runner._opened.session._activity._quiet == timedelta(seconds=1)
        runner._opened.session._activity._quiet = timedelta(hours=1)
        calls = []
        for name in "abc":
            calls.append(asyncio.create_task(runner.ainvoke({"x": name}, config_of(name))))
            await parked(runner, name)
        await within(parked_of(runner, 3))
        assert desk.batches == []
        runner._opened.session._activity._quiet = timedelta(seconds=0.01)
        runner._opened.session._engine_loops["bridge"].wake()
        results = await within(asyncio.gather(*calls))
    assert [each["out"] for each in results] == [["a!"], ["b!"], ["c!"]]
    assert [sorted(batch) for batch in desk.batches] == [["a", "b", "c"]]


async def test_a_single_call_is_sent_after_a_second():
    desk = Desk()
    async with memory(one_node(ask), desk.bridge(flush=FlushPolicy())) as runner:
        assert (await within(runner.ainvoke({"x": "a"})))["out"] == ["a!"]
    assert desk.batches == [["a"]]


async def test_a_call_of_many_inputs_does_not_wait_for_quiet():
    desk = Desk()
    loop = asyncio.get_running_loop()
    async with memory(chain(ask, again), desk.bridge(flush=FlushPolicy(max_idle=1000))) as runner:
        began = loop.time()
        await within(runner.abatch([{"x": "a"}, {"x": "b"}]))
        assert loop.time() - began < 1000
    assert desk.sizes == [2, 2]


async def test_a_call_of_many_inputs_takes_the_single_ones_along():
    desk = Desk()
    async with memory(one_node(ask), desk.bridge(flush=FlushPolicy(max_idle=1000))) as runner:
        single = asyncio.create_task(runner.ainvoke({"x": "s"}, config_of("s")))
        await parked(runner, "s")
        await within(runner.abatch([{"x": "a"}, {"x": "b"}]))
        await within(single)
    assert desk.sizes == [3]


async def test_when_idle_says_outright_whether_single_calls_wait():
    desk = Desk()
    async with memory(one_node(ask), desk.bridge(flush=FlushPolicy(max_idle=1000, when_idle=True))) as runner:
        await within(runner.ainvoke({"x": "a"}))
    assert desk.sizes == [1]


async def test_when_idle_false_leaves_it_to_size_and_age():
    desk = Desk()
    policy = FlushPolicy(max_requests=3, max_age=None, when_idle=False)
    async with memory(one_node(ask), desk.bridge(flush=policy)) as runner:
        many = asyncio.create_task(runner.abatch([{"x": "a"}, {"x": "b"}]))
        await within(parked_of(runner, 2))
        assert desk.batches == []
        await within(runner.ainvoke({"x": "c"}))
        await within(many)
    assert desk.sizes == [3]


async def parked_of(runner, count):
    while runner._opened.session.traffic.queued < count:
        await asyncio.sleep(0.005)


def test_when_idle_is_a_boolean_or_none():
    with pytest.raises(TypeError, match="when_idle=1"):
        FlushPolicy(when_idle=1)


# -- two calls for one thread ----------------------------------------------------------------------------------------


async def test_two_calls_for_one_thread_return_one_result():
    desk = Desk()
    async with memory(one_node(ask), desk.bridge()) as runner:
        calls = [runner.ainvoke({"x": "a"}, config_of("t")) for _ in range(3)]
        results = await within(asyncio.gather(*calls, runner.ainvoke(None, config_of("t"))))
    assert [each["out"] for each in results] == [["a!"]] * 4
    assert desk.batches == [["a"]]


async def test_a_call_that_joins_goes_on_with_the_thread_when_the_first_is_cancelled():
    desk = Desk().hold()
    async with memory(one_node(ask), desk.bridge()) as runner:
        first = asyncio.create_task(runner.ainvoke({"x": "a"}, config_of("t")))
        await within(desk.submitted.wait())
        second = asyncio.create_task(runner.ainvoke({"x": "a"}, config_of("t")))
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        desk.let_go()
        assert (await within(second))["out"] == ["a!"]
    assert desk.batches == [["a"]]


async def test_a_call_with_another_input_is_refused_and_attach_false_refuses_any():
    desk = Desk().hold()
    async with memory(one_node(ask), desk.bridge()) as runner:
        first = asyncio.create_task(runner.ainvoke({"x": "a"}, config_of("t")))
        await within(desk.submitted.wait())
        with pytest.raises(RunMismatchError):
            await within(runner.ainvoke({"x": "b"}, config_of("t")))
        with pytest.raises(RunnerStateError, match="'t' is under way"):
            await within(runner.ainvoke({"x": "a"}, config_of("t"), attach=False))
        with pytest.raises(RunnerStateError, match="'t' is under way"):
            await within(runner.ainvoke(Command(resume="x"), config_of("t")))
        desk.let_go()
        assert (await within(first))["out"] == ["a!"]


async def test_a_failed_thread_fails_for_all_who_wait():
    desk = Desk(lambda item: ValueError("no"))
    async with memory(one_node(ask), desk.bridge(attempts=1)) as runner:
        calls = [runner.ainvoke({"x": "a"}, config_of("t")) for _ in range(2)]
        results = await within(asyncio.gather(*calls, return_exceptions=True))
    assert [type(each) for each in results] == [RequestFailed, RequestFailed]
    assert desk.batches == [["a"]]


# -- submit and result -----------------------------------------------------------------------------------------------


async def test_a_submitted_thread_runs_and_anybody_may_ask_for_its_result():
    desk = Desk().hold()
    async with memory(chain(ask, again), desk.bridge()) as runner:
        handle = await runner.submit({"x": "a"}, thread_id="t")
        assert handle == "t"
        assert await runner.submit({"x": "a"}, thread_id="t") == "t"
        await within(desk.submitted.wait())
        gone = asyncio.create_task(runner.result(handle))
        await asyncio.sleep(0)
        gone.cancel()
        await asyncio.gather(gone, return_exceptions=True)
        joined = asyncio.create_task(runner.ainvoke({"x": "a"}, config_of("t")))
        desk.let_go()
        results = await within(asyncio.gather(runner.result(handle), runner.result(handle), joined))
        assert [each["out"] for each in results] == [["a!", "a!!"]] * 3
        assert (await within(runner.result(handle)))["out"] == ["a!", "a!!"]
        await runner.submit({"x": "a"}, thread_id="t")
        assert (await within(runner.result(handle)))["out"] == ["a!", "a!!"]
        with pytest.raises(RunMismatchError):
            await runner.submit({"x": "b"}, thread_id="t")
    assert desk.batches == [["a"], ["a!"]]


async def test_the_next_runner_goes_on_with_what_was_submitted(tmp_path):
    desk = Desk().hold()
    path = tmp_path / "run.db"
    async with Runner(one_node(ask), desk.bridge(), path=path, progress=False) as runner:
        handles = [await runner.submit({"x": name}) for name in "abc"]
        waiting = asyncio.create_task(runner.result(handles[0]))
        await within(desk.submitted.wait())
    with pytest.raises(RunnerStateError, match="closed while thread"):
        await within(waiting)
    desk.let_go()
    async with Runner(one_node(ask), desk.bridge(), path=path, progress=False) as runner:
        results = await within(asyncio.gather(*map(runner.result, handles)))
    assert [each["out"] for each in results] == [["a!"], ["b!"], ["c!"]]
    assert desk.counts == {"a": 1, "b": 1, "c": 1}


async def test_a_submitted_thread_that_fails_says_so_until_it_is_submitted_again(tmp_path):
    answers = iter([ValueError("no"), "yes"])
    desk = Desk(lambda item: next(answers)).hold()
    path = tmp_path / "run.db"
    async with Runner(one_node(ask), desk.bridge(attempts=1), path=path, progress=False) as runner:
        handle = await runner.submit({"x": "a"})
        waiting = asyncio.create_task(runner.result(handle))
        await within(desk.submitted.wait())
        desk.let_go()
        with pytest.raises(RequestFailed):
            await within(waiting)
    async with Runner(one_node(ask), desk.bridge(attempts=1), path=path, progress=False) as runner:
        for _ in range(2):
            with pytest.raises(SubmittedThreadError, match=r"RequestFailed: .*no") as failed:
                await within(runner.result(handle))
            assert failed.value.thread_id == handle
        await runner.submit({"x": "a"}, thread_id=handle)
        assert (await within(runner.result(handle)))["out"] == ["yes"]
    assert desk.batches == [["a"], ["a"]]


async def test_a_handle_that_nobody_has_submitted_is_refused():
    async with memory(one_node(ask), Desk().bridge()) as runner:
        with pytest.raises(UnknownThreadError, match="'t'"):
            await runner.result("t")
        with pytest.raises(TypeError, match="continues a thread"):
            await runner.submit(Command(resume=1), thread_id="t")


async def test_a_submitted_thread_that_waits_for_a_human_is_returned_and_goes_on_with_the_answer():
    async def node(state: State) -> State:
        return {"out": [interrupt("sure?"), await wait(state["x"])]}

    desk = Desk()
    async with memory(one_node(node), desk.bridge()) as runner:
        handle = await runner.submit({"x": "a"})
        (question,) = (await within(runner.result(handle)))["__interrupt__"]
        assert question.value == "sure?"
        assert (await within(runner.ainvoke(Command(resume="yes"), config_of(handle))))["out"] == ["yes", "a!"]
        assert (await within(runner.result(handle)))["out"] == ["yes", "a!"]


async def test_a_deadline_that_would_pass_within_the_quiet_is_not_waited_through():
    desk = Desk()

    async def node(state: State) -> State:
        return {"out": [await wait(state["x"], deadline=600)]}

    async with memory(one_node(node), desk.bridge(flush=FlushPolicy())) as runner:
        runner._opened.session._activity._quiet = timedelta(hours=1)
        assert (await within(runner.ainvoke({"x": "a"})))["out"] == ["a!"]
    assert desk.batches == [["a"]]
