"""A wait that is asked again: after failures, in replays and in forks, and around what a human says."""

import asyncio

from helpers import Desk, State, chain, config_of, memory, one_node, run, within
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, RetryPolicy, interrupt

import batch_bridge
from batch_bridge import RequestError, RequestFailed, wait


async def ask(state):
    return {"out": [await wait(state["x"])]}


def refuse_bad(item):
    return ValueError("no good") if item == "bad" else f"{item}!"


def by_turns(*answers):
    """An answerer that gives an item its first answer first, and its last one from then on."""
    given = {}

    def answer(item):
        given[item] = given.get(item, -1) + 1
        return answers[min(given[item], len(answers) - 1)]

    return answer


QUICK = RetryPolicy(initial_interval=0.001, backoff_factor=1, jitter=False, max_attempts=3)


# -- failures and retries -------------------------------------------------------------------------------------------


async def test_a_retry_after_a_failed_request_asks_again_and_keeps_what_was_answered():
    good = iter(range(10))
    desk = Desk(lambda item: f"good{next(good)}" if item == "good" else bad(item))
    bad = by_turns(ValueError("busy"), ValueError("busy"), "at last")

    async def node(state):
        return {"out": await asyncio.gather(wait("good"), wait("bad"))}

    [result] = await run(one_node(node, retry_policy=QUICK), desk.bridge())
    assert result["out"] == ["good0", "at last"]
    assert desk.batches == [["good", "bad"], ["bad"], ["bad"]]


async def test_retries_are_bounded_by_max_attempts_and_then_the_request_s_error_is_raised():
    desk = Desk(refuse_bad)
    [error] = await run(one_node(ask, retry_policy=QUICK), desk.bridge(), inputs=[{"x": "bad"}], return_exceptions=True)
    assert isinstance(error, RequestFailed)
    assert "no good" in str(error)
    assert desk.batches == [["bad"], ["bad"], ["bad"]]


async def test_a_retry_beside_branches_that_succeeded_asks_only_for_what_failed():
    desk = Desk(by_turns(ValueError("busy"), "ok"))
    graph = StateGraph(State).add_node("bad", ask, retry_policy=QUICK)
    graph.add_node("good", lambda state: {"out": ["good"]})
    for name in ("good", "bad"):
        graph.add_edge(START, name).add_edge(name, END)
    [result] = await run(graph, desk.bridge(), inputs=[{"x": "a"}])
    assert sorted(result["out"]) == ["good", "ok"]
    assert desk.batches == [["a"], ["a"]]


async def test_a_retry_after_an_error_of_the_node_itself_keeps_the_answer():
    attempts = iter(range(10))

    async def node(state):
        answer = await wait("a")
        if next(attempts) < 2:
            raise ConnectionError("mine")
        return {"out": [answer]}

    desk = Desk()
    [result] = await run(one_node(node, retry_policy=QUICK), desk.bridge())
    assert result["out"] == ["a!"]
    assert desk.batches == [["a"]]


async def test_a_failed_request_that_the_node_catches_is_final():
    async def node(state):
        try:
            await wait("bad")
        except RequestError as error:
            return {"out": [error.code, error.request_id != "", await wait("instead")]}

    desk = Desk(refuse_bad)
    [result] = await run(one_node(node), desk.bridge())
    assert result["out"] == ["request_failed", True, "instead!"]
    assert desk.batches == [["bad"], ["instead"]]


async def test_a_failed_request_fails_its_thread_alone():
    desk = Desk(refuse_bad)
    inputs = [{"x": "a"}, {"x": "bad"}, {"x": "c"}]
    first, error, third = await run(one_node(ask), desk.bridge(), inputs=inputs, return_exceptions=True)
    assert (first["out"], third["out"]) == (["a!"], ["c!"])
    assert isinstance(error, RequestFailed)
    assert desk.sizes == [3]


# -- replay and fork ------------------------------------------------------------------------------------------------


async def test_a_replay_from_an_earlier_checkpoint_asks_again_and_gets_new_answers():
    serial = iter(range(10))
    desk = Desk(lambda item: f"{item}{next(serial)}")

    async def one(state):
        return {"out": [await wait("one")]}

    async def two(state):
        return {"out": [await wait("two")]}

    graph = chain(one, two).compile(checkpointer=InMemorySaver())
    async with memory(graph, desk.bridge()) as runner:
        assert (await within(runner.ainvoke({}, config_of("t"))))["out"] == ["one0", "two1"]
        history = [each async for each in graph.aget_state_history(config_of("t"))]
        before_two, before_one = (each for each in history if each.next in (("one",), ("two",)))
        assert (await within(runner.ainvoke(None, before_two.config)))["out"] == ["one0", "two2"]
        assert (await within(runner.ainvoke(None, before_one.config)))["out"] == ["one3", "two4"]
    assert desk.batches == [["one"], ["two"], ["two"], ["one"], ["two"]]


async def test_a_fork_with_another_state_asks_again_and_leaves_the_original_s_answers_alone():
    serial = iter(range(10))
    desk = Desk(lambda item: f"{item}{next(serial)}")
    graph = chain(ask, named("again")).compile(checkpointer=InMemorySaver())
    async with memory(graph, desk.bridge()) as runner:
        assert (await within(runner.ainvoke({"x": "a"}, config_of("t"))))["out"] == ["a0", "a1"]
        history = [each async for each in graph.aget_state_history(config_of("t"))]
        before = next(each for each in history if each.next == ("again",))
        fork = await graph.aupdate_state(before.config, {"x": "b"})
        assert (await within(runner.ainvoke(None, fork)))["out"] == ["a0", "b2"]
    assert desk.batches == [["a"], ["a"], ["b"]]


def named(name):
    async def node(state):
        return await ask(state)

    node.__name__ = name
    return node


# -- a human's own interrupts ---------------------------------------------------------------------------------------


async def test_a_human_before_between_and_after_waits_is_asked_by_langgraph_and_never_answered_by_the_bridge():
    async def node(state):
        before = interrupt("before?")
        one = await wait("one")
        between = interrupt("between?")
        two = await wait("two")
        after = interrupt("after?")
        return {"out": [before, one, between, two, after]}

    desk = Desk()
    config = config_of("t")
    async with memory(one_node(node), desk.bridge()) as runner:
        result = await within(runner.ainvoke({}, config))
        for question, batches in (("before?", 0), ("between?", 1), ("after?", 2)):
            [asked] = result["__interrupt__"]
            assert asked.value == question
            assert len(desk.batches) == batches
            result = await within(runner.ainvoke(Command(resume={asked.id: question.upper()}), config))
    assert result["out"] == ["BEFORE?", "one!", "BETWEEN?", "two!", "AFTER?"]
    assert desk.batches == [["one"], ["two"]]


async def test_a_human_in_a_parallel_branch_is_returned_once_the_bridge_has_nothing_more_to_do():
    graph = StateGraph(State).add_node("ask", ask).add_node("again", ask)
    graph.add_node("human", lambda state: {"out": [interrupt("ok?")]})
    graph.add_edge(START, "ask").add_edge(START, "human").add_edge(["ask", "human"], "again").add_edge("again", END)
    desk = Desk()
    config = config_of("t")
    async with memory(graph, desk.bridge()) as runner:
        result = await within(runner.ainvoke({"x": "a"}, config))
        [asked] = result["__interrupt__"]
        assert not batch_bridge.is_bridge_interrupt(asked)
        assert desk.batches == [["a"]]
        result = await within(runner.ainvoke(Command(resume={asked.id: "yes"}), config))
    assert sorted(result["out"]) == ["a!", "a!", "yes"]
    assert desk.batches == [["a"], ["a"]]
