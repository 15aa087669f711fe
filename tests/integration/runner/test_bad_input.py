"""What can be wrong, and what one is told: the thing, the cause, the next action. Neighbours get their answers."""

import asyncio
from datetime import UTC, datetime

import pytest
from helpers import Desk, config_of, inputs_of, memory, one_node, run, says, within
from langchain_core.runnables import RunnableLambda
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.store.memory import InMemoryStore

from batch_bridge import (
    BatchFailed,
    RequestFailed,
    wait,
    wait_many,
    wait_many_sync,
    wait_sync,
)
from batch_bridge.errors import (
    JSONError,
    NoCheckpointerError,
    NondeterministicNodeError,
    OutsideGraphError,
    RunnerStateError,
    UnknownBatcherError,
)


async def ask(state):
    return {"out": [await wait(state["x"], batcher=state.get("batcher", "bridge"))]}


async def with_neighbours(node, desk, x="bad", *, grace=None, **options):
    """Run a node over what is bad between two neighbours, who must get their answers; return what came of the bad one."""
    first, result, last = await run(
        one_node(node, **options), desk.bridge(), inputs=inputs_of("a", x, "c"), return_exceptions=True, grace=grace
    )
    assert (first["out"], last["out"]) == (["a!"], ["c!"])
    return result


# -- items ----------------------------------------------------------------------------------------------------------


class Strange:
    pass


@pytest.mark.parametrize(
    ("item", "path", "cause"),
    [
        ({"messages": [{"when": datetime(2026, 1, 1, tzinfo=UTC)}]}, "['messages'][0]['when']", "datetime"),
        ({"a": {1: "x"}}, "['a']", "the key 1"),
        ([1, float("nan")], "[1]", "nan"),
        ({"n": 2**70}, "['n']", "64 bits"),
        ({"o": [Strange()]}, "['o'][0]", "Strange"),
        ({"b": b"bytes"}, "['b']", "bytes"),
        ({"s": {"x"}}, "['s']", "set"),
    ],
)
async def test_an_item_that_json_cannot_carry_is_refused_in_the_node_with_the_path_to_it(item, path, cause):
    async def node(state):
        return {"out": [await wait(item if state["x"] == "bad" else state["x"])]}

    desk = Desk()
    error = await with_neighbours(node, desk)
    assert isinstance(error, JSONError)
    assert error.path == path
    assert says(error, path, cause, "cannot be sent")
    assert sorted(desk.requests) == ["a", "c"]


async def test_a_cyclic_item_and_a_lone_surrogate_are_refused_too():
    cyclic = []
    cyclic.append(cyclic)

    async def node(state):
        return {"out": [await wait({"cyclic": cyclic, "lone": "\ud800"}.get(state["x"], state["x"]))]}

    desk = Desk()
    assert says(await with_neighbours(node, desk, "cyclic"), "nested deeper")
    assert says(await with_neighbours(node, desk, "lone"), "surrogate")


async def test_one_bad_item_of_many_sends_none_of_them():
    async def node(state):
        return {"out": await wait_many(["x", object()] if state["x"] == "bad" else [state["x"]])}

    desk = Desk()
    assert isinstance(await with_neighbours(node, desk), JSONError)
    assert sorted(desk.requests) == ["a", "c"]


# -- where and whom one asks ----------------------------------------------------------------------------------------


async def test_a_wait_outside_of_a_graph_says_so():
    for call in (lambda: wait("a"), lambda: wait_many(["a"])):
        with pytest.raises(OutsideGraphError, match="inside a node"):
            await call()
    for call in (lambda: wait_sync("a"), lambda: wait_many_sync(["a"])):
        with pytest.raises(OutsideGraphError, match="inside a node"):
            call()
    with pytest.raises(OutsideGraphError):
        await RunnableLambda(wait).ainvoke("a")


async def test_a_wait_in_a_graph_without_a_checkpointer_says_so():
    for config in (None, config_of("t")):
        with pytest.raises(NoCheckpointerError, match="run the graph with a Runner"):
            await one_node(ask).compile().ainvoke({"x": "a"}, config)


async def test_an_unknown_batcher_is_named_with_those_that_there_are():
    async def node(state):
        return {"out": [await wait(state["x"], batcher="brigde" if state["x"] == "bad" else "bridge")]}

    error = await with_neighbours(node, Desk())
    assert isinstance(error, UnknownBatcherError)
    assert says(error, "'brigde'", "'bridge'")


async def test_a_thread_that_waits_for_a_bridge_that_is_gone_names_it_and_its_neighbours_go_on():
    saver, store = InMemorySaver(), InMemoryStore()
    old, new = Desk().hold(), Desk()
    inputs = [{"x": "a", "batcher": "old"}, {"x": "b", "batcher": "new"}]
    async with memory(
        one_node(ask), old.bridge(name="old"), new.bridge(name="new"), checkpointer=saver, store=store
    ) as runner:
        call = asyncio.create_task(runner.abatch(inputs, run_id="r"))
        await within(old.submitted.wait())
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
    async with memory(one_node(ask), new.bridge(name="new"), checkpointer=saver, store=store) as runner:
        error, result = await within(runner.abatch(inputs, run_id="r", return_exceptions=True))
    assert isinstance(error, UnknownBatcherError)
    assert says(error, "'old'", "'new'", "'r:0'")
    assert result["out"] == ["b!"]
    old.let_go()
    async with memory(
        one_node(ask), old.bridge(name="old"), new.bridge(name="new"), checkpointer=saver, store=store
    ) as runner:
        results = await within(runner.abatch(inputs, run_id="r"))
    assert [each["out"] for each in results] == [["a!"], ["b!"]]
    assert (old.batches, new.batches) == ([["a"]], [["b"]])


async def test_a_wait_in_a_subgraph_that_cannot_keep_it_is_an_error_and_is_paid_once():
    sub = one_node(ask).compile(checkpointer=False)

    async def node(state):
        return await (sub.ainvoke(state) if state["x"] == "bad" else ask(state))

    desk = Desk()
    error = await with_neighbours(node, desk, grace=0.2)
    assert isinstance(error, NondeterministicNodeError)
    assert says(error, "checkpointer=False")
    assert desk.counts == {"a": 1, "bad": 1, "c": 1}


# -- nodes that are not deterministic -------------------------------------------------------------------------------


@pytest.mark.parametrize("beside", [False, True], ids=["alone", "beside a deterministic sibling"])
async def test_a_node_that_asks_for_something_else_each_time_pays_for_one_request_too_many_at_most(beside):
    serial = iter(range(100))

    async def node(state):
        if state["x"] != "bad":
            return await ask(state)
        waits = [wait(f"random {next(serial)}"), *([wait("same")] if beside else [])]
        return {"out": await asyncio.gather(*waits)}

    desk = Desk()
    error = await with_neighbours(node, desk, grace=0.2)
    assert isinstance(error, NondeterministicNodeError)
    assert says(error, "each time", 'key="…"', "node before")
    assert sum(each.startswith("random") for each in desk.requests) <= 2
    assert desk.counts["same"] == (1 if beside else 0)


async def test_a_node_that_asks_for_something_else_after_a_wait_that_is_stable_is_stopped_too():
    serial = iter(range(100))

    async def node(state):
        if state["x"] != "bad":
            return await ask(state)
        stable = await wait("stable")
        return {"out": [stable, await wait(f"random {next(serial)}")]}

    desk = Desk()
    assert isinstance(await with_neighbours(node, desk, grace=0.2), NondeterministicNodeError)
    assert sum(each.startswith("random") for each in desk.requests) <= 2


async def test_slow_siblings_are_no_false_alarm():
    def slow(turns):
        async def one(name):
            for _ in range(turns):
                await asyncio.sleep(0.01)
            return await wait(await wait(name))

        return one

    async def node(state):
        return {"out": await asyncio.gather(slow(12)("a"), slow(0)("b"), slow(5)("c"), slow(1)("d"))}

    desk = Desk()
    [result] = await run(one_node(node), desk.bridge())
    assert result["out"] == ["a!!", "b!!", "c!!", "d!!"]
    assert set(desk.counts.values()) == {1}


async def test_siblings_that_are_slower_than_before_are_no_false_alarm():
    executions = iter(range(100))

    async def node(state):
        slow_today = next(executions) > 0

        async def one():
            if slow_today:
                await asyncio.sleep(0.5)
            return await wait("one")

        async def other():
            await asyncio.sleep(0.05)
            return await wait(await wait("other"))

        return {"out": await asyncio.gather(one(), other())}

    desk = Desk()
    [result] = await run(one_node(node), desk.bridge(), grace=0.1)
    assert result["out"] == ["one!", "other!!"]
    assert set(desk.counts.values()) == {1}


# -- submit and poll ------------------------------------------------------------------------------------------------


async def beside_a_good_bridge(broken, inputs=("a",), **options):
    """Run over a broken bridge, and beside it over a good one whose threads must get their answers."""
    good = Desk()
    asked = [{"x": each, "batcher": "broken"} for each in inputs] + [{"x": "b", "batcher": "good"}]
    *results, neighbour = await run(
        one_node(ask), broken, good.bridge(name="good"), inputs=asked, return_exceptions=True, **options
    )
    assert neighbour["out"] == ["b!"]
    return results


def raises(items):
    raise ConnectionError("no route")


async def araises(items):
    raise ConnectionError("no route")


async def cancels(items):
    raise asyncio.CancelledError


@pytest.mark.parametrize(
    ("submit", "parts", "code"),
    [
        (raises, ["ConnectionError", "no route"], "submit_failed"),
        (araises, ["ConnectionError", "no route"], "submit_failed"),
        (cancels, ["CancelledError", "cancels"], "submit_failed"),
        (lambda items: ConnectionError("no route"), ["ConnectionError", "no route"], "submit_failed"),
        (
            lambda items: object(),
            ["handle that submit() returned", "object", "may still have been created"],
            "handle_not_json",
        ),
        (lambda items: {"at": datetime.now(UTC)}, ["submit()", "['at']", "datetime"], "handle_not_json"),
    ],
    ids=["raises", "raises async", "raises CancelledError", "returns an exception", "no JSON", "no JSON inside"],
)
async def test_a_submit_that_fails_fails_the_requests_of_its_batch(submit, parts, code):
    desk = Desk()
    errors = await beside_a_good_bridge(desk.bridge(name="broken", submit=submit), inputs="ac")
    for error in errors:
        assert isinstance(error, RequestFailed)
        assert says(error, *parts)
        assert error.code == code


async def poll_has_failed(handle):
    raise BatchFailed("no quota", code="quota")


@pytest.mark.parametrize(
    ("poll", "parts", "code"),
    [
        (lambda handle: TimeoutError("too late"), ["TimeoutError", "too late"], "batch_failed"),
        (poll_has_failed, ["no quota"], "quota"),
    ],
    ids=["returns an exception", "raises BatchFailed"],
)
async def test_a_poll_that_says_that_the_batch_has_failed_fails_its_requests(poll, parts, code):
    desk = Desk()
    errors = await beside_a_good_bridge(desk.bridge(name="broken", poll=poll), inputs="ac")
    for error in errors:
        assert isinstance(error, RequestFailed)
        assert says(error, *parts)
        assert error.code == code
    assert desk.sizes == [2]


async def test_an_exception_as_one_element_fails_that_request_alone():
    desk = Desk(lambda item: ValueError("no good") if item == "bad" else f"{item}!")
    error = await with_neighbours(ask, desk)
    assert isinstance(error, RequestFailed)
    assert says(error, "ValueError: no good")
    assert (error.code, error.retryable, len(error.request_id)) == ("request_failed", False, 32)
    assert desk.sizes == [3]


async def test_an_answer_that_json_cannot_carry_fails_that_request_alone():
    desk = Desk(lambda item: {"at": datetime.now(UTC)} if item == "bad" else f"{item}!")
    error = await with_neighbours(ask, desk)
    assert says(error, "poll()", "['at']", "datetime")
    assert error.code == "answer_not_json"


async def test_a_dict_that_misses_one_position_fails_that_request_alone():
    desk = Desk()
    answers = {0: "a!", "2": "c!"}
    async with memory(one_node(ask), desk.bridge(poll=lambda handle: answers)) as runner:
        first, error, last = await within(runner.abatch(inputs_of("a", "b", "c"), return_exceptions=True))
    assert (first["out"], last["out"]) == (["a!"], ["c!"])
    assert says(error, "without this request's position")


async def test_a_batch_that_fails_leaves_the_next_one_alone():
    desk = Desk()
    fails = iter([True, False])

    async def submit(items):
        if next(fails):
            raise ConnectionError("no route")
        return await desk.submit(items)

    async with memory(one_node(ask), desk.bridge(submit=submit)) as runner:
        [error] = await within(runner.abatch(inputs_of("a"), run_id="r", return_exceptions=True))
        assert isinstance(error, RequestFailed)
        [result] = await within(runner.abatch(inputs_of("a"), run_id="r"))
    assert result["out"] == ["a!"]
    assert desk.batches == [["a"]]


class FailingStore(InMemoryStore):
    """A store whose disk is full, once told so."""

    full = False

    async def abatch(self, ops):
        if self.full:
            raise OSError("disk full")
        return await super().abatch(ops)


async def test_a_store_that_fails_ends_the_calls_with_its_error_and_nothing_is_paid_twice():
    saver, store, desk = InMemorySaver(), FailingStore(), Desk().hold()

    async def run_until_the_disk_is_full():
        async with memory(one_node(ask), desk.bridge(), checkpointer=saver, store=store, store_patience=0.05) as runner:
            call = asyncio.create_task(runner.abatch(inputs_of("a", "b"), run_id="r"))
            await within(desk.submitted.wait())
            await asyncio.sleep(0)
            store.full = True
            desk.let_go()
            await within(call)

    with pytest.raises(OSError, match="disk full"):
        await run_until_the_disk_is_full()
    store.full = False
    async with memory(one_node(ask), desk.bridge(), checkpointer=saver, store=store, store_patience=0.05) as runner:
        results = await within(runner.abatch(inputs_of("a", "b"), run_id="r"))
    assert [each["out"] for each in results] == [["a!"], ["b!"]]
    assert desk.sizes == [2]


# -- inputs and configs ---------------------------------------------------------------------------------------------


async def test_inputs_that_raise_half_way_end_the_call_and_it_can_be_continued():
    def inputs(broken):
        yield from inputs_of("a", "b")
        if broken:
            raise KeyError("mine")
        yield {"x": "c"}

    desk = Desk()
    async with memory(one_node(ask), desk.bridge()) as runner:
        with pytest.raises(KeyError, match="mine"):
            await within(runner.abatch(inputs(broken=True), run_id="r", return_exceptions=True))
        results = await within(runner.abatch(inputs(broken=False), run_id="r"))
    assert [each["out"] for each in results] == [["a!"], ["b!"], ["c!"]]
    assert desk.counts == {"a": 1, "b": 1, "c": 1}


async def test_a_config_list_that_is_too_short_says_so():
    desk = Desk()
    async with memory(one_node(ask), desk.bridge()) as runner:
        with pytest.raises(ValueError, match=r"a list of 1, and there is an input 1.*one for all"):
            await within(runner.abatch(inputs_of("a", "b"), [{}]))
        with pytest.raises(ValueError, match="names thread 't' for all inputs"):
            await within(runner.abatch(inputs_of("a", "b"), config_of("t")))
        with pytest.raises(RunnerStateError, match="'t' is under way"):
            await within(runner.abatch(inputs_of("a", "b"), [config_of("t"), config_of("t")]))
        with pytest.raises(ValueError, match="max_concurrency=0"):
            await within(runner.abatch(inputs_of("a"), max_concurrency=0))
        assert (await within(runner.ainvoke({"x": "z"}, config_of("t2"))))["out"] == ["z!"]
    assert desk.counts["z"] == 1
