"""A run that goes on: under its `run_id`, after a failure, for a human, in another process, after it was cancelled."""

import asyncio
import gc
import subprocess
import sys
import warnings
from collections import Counter
from datetime import UTC, datetime

import pytest
from helpers import Desk, again, answers_of, ask, chain, config_of, inputs_of, memory, one_node, run, within
from langchain_core.messages import HumanMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.graph import MessagesState
from langgraph.store.memory import InMemoryStore
from langgraph.store.sqlite.aio import AsyncSqliteStore
from langgraph.types import Command, interrupt

from batch_bridge import FlushPolicy, RequestFailed, Runner, wait
from batch_bridge.errors import RunMismatchError, RunnerStateError
from batch_bridge.runner._threads.recovery import digest_of

# -- continuing -----------------------------------------------------------------------------------------------------


async def test_a_run_that_has_finished_is_read_again_and_no_node_is_run():
    executions = Counter()

    async def node(state):
        executions[state["x"]] += 1
        return await ask(state)

    desk = Desk()
    async with memory(one_node(node), desk.bridge()) as runner:
        before = await within(runner.abatch(inputs_of("a", "b"), run_id="r"))
        executed = +executions
        assert await within(runner.abatch(inputs_of("a", "b"), run_id="r")) == before
        assert executions == executed
        more = await within(runner.abatch(inputs_of("a", "b", "c"), run_id="r"))
    assert answers_of(more) == [["a!"], ["b!"], ["c!"]]
    assert desk.batches == [["a", "b"], ["c"]]


async def test_other_inputs_under_the_same_run_id_are_refused_with_their_index():
    desk = Desk()
    async with memory(one_node(ask), desk.bridge()) as runner:
        await within(runner.abatch(inputs_of("a", "b", "c"), run_id="r"))
        with pytest.raises(RunMismatchError, match="input 1") as caught:
            await within(runner.abatch(inputs_of("a", "x", "c"), run_id="r"))
        assert caught.value.index == 1
        assert answers_of(await within(runner.abatch(inputs_of("a", "b", "c"), run_id="r")))
    assert desk.sizes == [3]


async def test_the_same_inputs_are_recognised_though_langgraph_has_given_them_ids():
    async def node(state):
        return {"messages": [await wait(state["messages"][-1].content)]}

    desk = Desk()
    inputs = [{"messages": [HumanMessage("hi")]}]
    async with memory(one_node(node, MessagesState), desk.bridge()) as runner:
        first = await within(runner.abatch(inputs, run_id="r"))
        assert await within(runner.abatch(inputs, run_id="r")) == first
        fresh = [{"messages": [HumanMessage("hi")]}]
        assert await within(runner.abatch(fresh, run_id="r")) == first
        with pytest.raises(RunMismatchError):
            await within(runner.abatch([{"messages": [HumanMessage("ho")]}], run_id="r"))
    assert desk.batches == [["hi"]]


async def test_threads_that_failed_are_run_again_and_ask_again_for_what_failed():
    works = False
    desk = Desk(lambda item: f"{item}!" if works or item != "bad" else ValueError("no"))

    async def node(state):
        return {"out": await asyncio.gather(wait(f"good {state['x']}"), wait(state["x"]))}

    inputs = inputs_of("a", "bad")
    async with memory(one_node(node), desk.bridge()) as runner:
        first, error = await within(runner.abatch(inputs, run_id="r", return_exceptions=True))
        assert isinstance(error, RequestFailed)
        _, error = await within(runner.abatch(inputs, run_id="r", return_exceptions=True))
        assert isinstance(error, RequestFailed)
        works = True
        results = await within(runner.abatch(inputs, run_id="r"))
        assert answers_of(results) == [["good a!", "a!"], ["good bad!", "bad!"]]
        assert await within(runner.abatch(inputs, run_id="r")) == results
    assert results[0] == first
    assert desk.sizes == [4, 1, 1]
    assert desk.counts["bad"] == 3


async def test_threads_that_failed_by_themselves_keep_their_answers():
    works = False

    async def node(state):
        answer = await wait(state["x"])
        if not works:
            raise ValueError("mine")
        return {"out": [answer]}

    desk = Desk()
    async with memory(one_node(node), desk.bridge()) as runner:
        [error] = await within(runner.abatch(inputs_of("a"), run_id="r", return_exceptions=True))
        assert isinstance(error, ValueError)
        works = True
        assert answers_of(await within(runner.abatch(inputs_of("a"), run_id="r"))) == [["a!"]]
    assert desk.batches == [["a"]]


async def test_a_thread_that_waits_for_a_human_is_returned_goes_on_and_is_then_read_again():
    async def approve(state):
        answer = await wait(state["x"])
        return {"out": [answer, interrupt(f"{answer} ok?") if state["x"] == "ask me" else "unasked"]}

    inputs = inputs_of("a", "ask me")
    desk = Desk()
    async with memory(one_node(approve), desk.bridge()) as runner:
        for _ in range(2):
            done, waiting = await within(runner.abatch(inputs, run_id="r"))
            assert done["out"] == ["a!", "unasked"]
            [human] = waiting["__interrupt__"]
            assert human.value == "ask me! ok?"
        result = await within(runner.ainvoke(Command(resume={human.id: "yes"}), config_of("r:1")))
        assert result["out"] == ["ask me!", "yes"]
        assert answers_of(await within(runner.abatch(inputs, run_id="r"))) == [done["out"], result["out"]]
        with pytest.raises(RunMismatchError):
            await within(runner.abatch(inputs_of("a", "other"), run_id="r"))
    assert desk.batches == [["a", "ask me"]]


async def test_ainvoke_on_a_thread_that_has_ended_is_its_next_turn():
    desk = Desk()
    async with memory(one_node(ask), desk.bridge()) as runner:
        assert (await within(runner.ainvoke({"x": "a"}, config_of("t"))))["out"] == ["a!"]
        assert (await within(runner.ainvoke({"x": "a"}, config_of("t"))))["out"] == ["a!", "a!"]
        assert (await within(runner.ainvoke({"x": "b"}, config_of("t"))))["out"] == ["a!", "a!", "b!"]
    assert desk.batches == [["a"], ["a"], ["b"]]


async def test_ainvoke_on_a_thread_that_waits_goes_on_with_its_own_input_or_none_and_refuses_another():
    async def first_leg(runner, desk):
        call = asyncio.create_task(runner.ainvoke({"x": "a"}, config_of("t")))
        await within(desk.submitted.wait())
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)

    for value in ({"x": "a"}, None):
        desk = Desk().hold()
        async with memory(one_node(ask), desk.bridge()) as runner:
            await first_leg(runner, desk)
            desk.let_go()
            with pytest.raises(RunMismatchError):
                await within(runner.ainvoke({"x": "b"}, config_of("t")))
            assert (await within(runner.ainvoke(value, config_of("t"))))["out"] == ["a!"]
        assert desk.batches == [["a"]]


# -- where things are kept ------------------------------------------------------------------------------------------


async def test_a_compiled_graph_keeps_its_own_checkpointer():
    saver = InMemorySaver()
    graph = one_node(ask).compile(checkpointer=saver)
    async with memory(graph, Desk().bridge()) as runner:
        await within(runner.abatch(inputs_of("a"), run_id="r"))
    assert (await graph.aget_state(config_of("r:0"))).values["out"] == ["a!"]


async def test_a_compiled_graph_without_a_checkpointer_gets_the_runner_s():
    desk = Desk()
    graph = one_node(ask).compile()
    assert answers_of(await run(graph, desk.bridge(), inputs=inputs_of("a"))) == [["a!"]]
    assert graph.checkpointer is None


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
async def test_a_given_checkpointer_and_store_are_used_and_no_file_is_made(kind, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    desk = Desk()

    async def use(saver, store):
        for _ in range(2):
            async with Runner(one_node(ask), desk.bridge(), checkpointer=saver, store=store, progress=False) as runner:
                results = await within(runner.abatch(inputs_of("a", "b"), run_id="r"))
                assert answers_of(results) == [["a!"], ["b!"]]

    if kind == "memory":
        await use(InMemorySaver(), InMemoryStore())
    else:
        async with (
            AsyncSqliteSaver.from_conn_string(":memory:") as saver,
            AsyncSqliteStore.from_conn_string(":memory:") as store,
        ):
            await store.setup()
            await use(saver, store)
    assert list(tmp_path.iterdir()) == []
    assert desk.sizes == [2]


async def test_a_runner_on_the_same_file_goes_on_where_the_last_one_stopped(tmp_path):
    path = tmp_path / "run.db"
    desk = Desk().hold()
    executions = Counter()

    async def node(state):
        executions[state["x"]] += 1
        return await ask(state)

    graph = chain(node, again)
    async with Runner(graph, desk.bridge(), path=path, progress=False) as runner:
        call = asyncio.create_task(runner.abatch(inputs_of("a", "b"), run_id="r"))
        await within(desk.submitted.wait())
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
    desk.let_go()
    for _ in range(2):
        async with Runner(graph, desk.bridge(), path=path, progress=False) as runner:
            results = await within(runner.abatch(inputs_of("a", "b"), run_id="r"))
            assert answers_of(results) == [["a!", "a!!"], ["b!", "b!!"]]
    assert desk.sizes == [2, 2]
    assert executions == {"a": 2, "b": 2}


def test_an_input_is_recognised_by_another_process():
    value = {"words": {"a", "b", "c", "d", "e"}, "more": [frozenset("vwxyz")], "at": datetime(2026, 1, 2, tzinfo=UTC)}
    program = (
        f"import datetime\nfrom batch_bridge.runner._threads.recovery import digest_of\nprint(digest_of({value!r}))"
    )
    other = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, text=True)
    assert other.stdout.strip() == digest_of(value)


# -- cancelling and closing -----------------------------------------------------------------------------------------


async def test_a_call_that_is_cancelled_leaves_everything_to_be_continued():
    desk = Desk().hold()
    running = asyncio.Event()
    gate = asyncio.Event()

    async def node(state):
        if state["x"] == "runs" and not gate.is_set():
            running.set()
            await gate.wait()
        return await ask(state)

    inputs = inputs_of("a", "b", "runs")
    bridge = desk.bridge(flush=FlushPolicy(max_requests=2))
    async with memory(chain(node, again), bridge) as runner:
        call = asyncio.create_task(runner.abatch(inputs, run_id="r"))
        await within(desk.submitted.wait())
        await within(running.wait())
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        desk.let_go()
        gate.set()
        results = await within(runner.abatch(inputs, run_id="r"))
    assert answers_of(results) == [["a!", "a!!"], ["b!", "b!!"], ["runs!", "runs!!"]]
    assert set(desk.counts.values()) == {1}
    assert len(desk.requests) == 6


async def test_what_a_cancelled_call_has_left_in_the_queue_is_not_sent_until_somebody_asks_again():
    desk = Desk()
    running = asyncio.Event()
    gate = asyncio.Event()

    async def node(state):
        if state["x"] == "runs":
            running.set()
            await gate.wait()
        return await ask(state)

    async with memory(one_node(node), desk.bridge()) as runner:
        call = asyncio.create_task(runner.abatch(inputs_of("a", "runs"), run_id="r"))
        await within(running.wait())
        while not runner._opened.session.traffic.queued:
            await asyncio.sleep(0.01)
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
        for engine_loop in runner._opened.session._engine_loops.values():
            engine_loop.wake()
        for _ in range(20):
            await asyncio.sleep(0)
        assert desk.batches == []
        gate.set()
        assert answers_of(await within(runner.abatch(inputs_of("a", "runs"), run_id="r"))) == [["a!"], ["runs!"]]
    assert desk.sizes == [2]


async def test_a_call_that_its_runner_is_closed_under_ends_with_an_error():
    desk = Desk().hold()
    async with memory(one_node(ask), desk.bridge()) as runner:
        call = asyncio.create_task(runner.abatch(inputs_of("a")))
        await within(desk.submitted.wait())
    with pytest.raises(RunnerStateError, match="closed"):
        await within(call)


async def test_a_submission_under_way_is_brought_to_its_end_before_the_runner_is_closed(tmp_path):
    desk = Desk()
    entered, gate = asyncio.Event(), asyncio.Event()

    async def submit(items):
        entered.set()
        await gate.wait()
        return await desk.submit(items)

    path = tmp_path / "run.db"

    async def begin_and_leave():
        async with Runner(one_node(ask), desk.bridge(submit=submit), path=path, progress=False) as runner:
            call = asyncio.create_task(runner.abatch(inputs_of("a"), run_id="r"))
            await within(entered.wait())
            call.cancel()

    leaving = asyncio.create_task(begin_and_leave())
    await within(entered.wait())
    gate.set()
    await within(leaving)
    async with Runner(one_node(ask), desk.bridge(submit=submit), path=path, progress=False) as runner:
        assert answers_of(await within(runner.abatch(inputs_of("a"), run_id="r"))) == [["a!"]]
    assert desk.batches == [["a"]]


async def test_a_runner_can_be_opened_again_after_it_was_closed():
    desk = Desk()
    runner = memory(one_node(ask), desk.bridge())
    for _ in range(2):
        async with runner:
            assert answers_of(await within(runner.abatch(inputs_of("a")))) == [["a!"]]
    assert desk.sizes == [1, 1]


async def test_nothing_is_left_behind_that_asyncio_complains_of(caplog):
    gc.collect()  # else a client that an earlier test left open is collected here, and closes itself in a task
    await asyncio.sleep(0)
    before = asyncio.all_tasks()
    desk = Desk(lambda item: ValueError("no") if item == "bad" else item)

    async def node(state):
        return {"out": await asyncio.gather(wait(state["x"]), wait("b"))}

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        async with memory(one_node(node), desk.bridge()) as runner:
            await within(runner.abatch(inputs_of("a", "bad", "c"), return_exceptions=True))
            call = asyncio.create_task(runner.abatch(inputs_of("a", "b")))
            await asyncio.sleep(0)
            call.cancel()
            await asyncio.gather(call, return_exceptions=True)
            del call
        gc.collect()
    assert [str(each.message) for each in caught if issubclass(each.category, RuntimeWarning)] == []
    assert [each.message for each in caplog.records if each.name == "asyncio"] == []
    assert asyncio.all_tasks() - before == set()
