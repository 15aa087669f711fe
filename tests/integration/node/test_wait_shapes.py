"""A wait is one wait in every shape that a graph can have."""

import asyncio
import operator
from dataclasses import dataclass, field
from typing import Annotated, TypedDict

import pytest
from helpers import Desk, State, chain, config_of, memory, one_node, run, within
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
from langchain_core.runnables import RunnableLambda
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.func import entrypoint, task
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.runtime import Runtime
from langgraph.types import Command, RetryPolicy, Send, interrupt
from pydantic import BaseModel

import batch_bridge
from batch_bridge import RequestError, RequestFailed, wait, wait_many, wait_many_sync, wait_sync


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


# -- shapes of graphs -----------------------------------------------------------------------------------------------


async def test_every_branch_of_a_send_fan_out_gets_its_own_answer_in_one_round():
    graph = StateGraph(State)
    graph.add_node("plan", lambda state: {})
    graph.add_node("ask", ask)
    graph.add_conditional_edges("plan", lambda state: [Send("ask", {"x": each}) for each in "abcab"], ["ask"])
    graph.add_edge(START, "plan").add_edge("ask", END)
    desk = Desk()
    [result] = await run(graph, desk.bridge())
    assert result["out"] == ["a!", "b!", "c!", "a!", "b!"]
    assert desk.sizes == [5]


async def test_a_loop_that_asks_the_same_item_again_sends_it_again():
    serial = iter(range(10))
    desk = Desk(lambda item: [item, next(serial)])
    graph = StateGraph(State).add_node("ask", ask).add_edge(START, "ask")
    graph.add_conditional_edges("ask", lambda state: "ask" if len(state["out"]) < 3 else END, ["ask", END])
    [result] = await run(graph, desk.bridge(), inputs=[{"x": "a"}])
    assert result["out"] == [["a", 0], ["a", 1], ["a", 2]]
    assert desk.batches == [["a"], ["a"], ["a"]]


async def test_a_command_goto_node_waits_and_goes_where_the_answer_says():
    async def route(state):
        return Command(goto=await wait(state["x"]))

    graph = StateGraph(State).add_node("route", route, destinations=("left", "right")).add_edge(START, "route")
    graph.add_node("left", lambda state: {"out": ["left"]}).add_node("right", lambda state: {"out": ["right"]})
    desk = Desk(lambda item: item)
    results = await run(graph, desk.bridge(), inputs=[{"x": "right"}, {"x": "left"}])
    assert [result["out"] for result in results] == [["right"], ["left"]]
    assert desk.sizes == [2]


class Out(TypedDict, total=False):
    out: list


class Inner(TypedDict, total=False):
    question: str
    answers: Annotated[list, operator.add]


async def test_a_wait_in_a_subgraph_of_a_subgraph_is_one_round():
    innermost = one_node(ask).compile()
    graph = one_node(one_node(innermost).compile())
    desk = Desk()
    results = await run(graph, desk.bridge(), inputs=[{"x": "a"}, {"x": "b"}])
    assert [result["out"] for result in results] == [["a!"], ["b!"]]
    assert desk.sizes == [2]


async def test_a_subgraph_with_its_own_state_that_a_node_calls_keeps_its_waits():
    async def first(state):
        return {"answers": [await wait(state["question"])]}

    async def second(state):
        return {"answers": [await wait(state["answers"][-1])]}

    sub = chain(first, second, schema=Inner).compile()

    async def node(state):
        before = await wait("before")
        inner = await sub.ainvoke({"question": state["x"]})
        return {"out": [before, *inner["answers"], await wait("after")]}

    desk = Desk()
    [result] = await run(one_node(node), desk.bridge(), inputs=[{"x": "q"}])
    assert result["out"] == ["before!", "q!", "q!!", "after!"]
    assert desk.batches == [["before"], ["q"], ["q!"], ["after"]]


async def test_a_subgraph_with_checkpoints_of_its_own_keeps_its_waits():
    sub = one_node(ask).compile(checkpointer=True)
    desk = Desk()
    [result] = await run(one_node(sub), desk.bridge(), inputs=[{"x": "a"}])
    assert result["out"] == ["a!"]
    assert desk.batches == [["a"]]


async def test_parallel_subgraphs_share_a_round():
    sub = StateGraph(State, output_schema=Out).add_node("ask", ask).add_edge(START, "ask").compile()
    graph = StateGraph(State)
    for name in ("left", "right"):
        graph.add_node(name, sub).add_edge(START, name).add_edge(name, END)
    desk = Desk()
    [result] = await run(graph, desk.bridge(), inputs=[{"x": "a"}])
    assert result["out"] == ["a!", "a!"]
    assert desk.batches == [["a", "a"]]


async def test_an_entrypoint_with_tasks_waits_in_both():
    @task
    async def double(item):
        return (await wait(item)) * 2

    @entrypoint()
    async def flow(item):
        return [await wait(item), await double(item), await double(item)]

    desk = Desk()
    results = await run(flow, desk.bridge(), inputs=["a", "b"])
    assert results == [["a!", "a!a!", "a!a!"], ["b!", "b!b!", "b!b!"]]
    assert desk.sizes == [2, 2, 2]


async def test_an_entrypoint_that_has_finished_is_read_again():
    calls = []

    @entrypoint()
    async def flow(item):
        calls.append(item)
        return await wait(item)

    desk = Desk()
    async with memory(flow, desk.bridge()) as runner:
        assert await within(runner.abatch(["a"], run_id="r")) == ["a!"]
        executed = len(calls)
        assert await within(runner.abatch(["a"], run_id="r")) == ["a!"]
    assert len(calls) == executed
    assert desk.batches == [["a"]]


class Model(BaseModel):
    x: str
    out: Annotated[list, operator.add] = []


@dataclass
class Data:
    x: str
    out: Annotated[list, operator.add] = field(default_factory=list)


@pytest.mark.parametrize("schema", [Model, Data])
async def test_a_state_schema_may_be_a_class(schema):
    async def node(state):
        return {"out": [await wait(state.x)]}

    desk = Desk()
    async with memory(one_node(node, schema), desk.bridge()) as runner:
        for _ in range(2):
            results = await within(runner.abatch([schema(x="a"), schema(x="b")], run_id="r"))
            assert [result["out"] for result in results] == [["a!"], ["b!"]]
    assert desk.sizes == [2]


async def test_a_wait_inside_a_tool_that_a_node_calls():
    @tool
    async def look_up(word: str) -> str:
        """Look a word up."""
        return await wait(word)

    async def node(state):
        return {"out": await asyncio.gather(*(look_up.ainvoke({"word": each}) for each in "ab"))}

    desk = Desk()
    [result] = await run(one_node(node), desk.bridge())
    assert result["out"] == ["a!", "b!"]
    assert desk.batches == [["a", "b"]]


async def test_a_wait_inside_a_runnable_inside_a_runnable():
    inner = RunnableLambda(wait) | RunnableLambda(lambda answer: answer + "?")

    async def node(state):
        return {"out": await inner.abatch(["a", "b"])}

    desk = Desk()
    [result] = await run(one_node(node), desk.bridge())
    assert result["out"] == ["a!?", "b!?"]
    assert desk.batches == [["a", "b"]]


# -- several bridges ------------------------------------------------------------------------------------------------


async def test_parallel_branches_that_are_answered_at_different_times_each_go_on_by_themselves():
    went_on = asyncio.Event()

    def branch(bridge):
        async def node(state):
            answer = await wait("a", batcher=bridge)
            if bridge == "fast":
                went_on.set()
            return {"out": [f"{bridge} {answer}"]}

        return node

    graph = StateGraph(State)
    for name in ("slow", "fast"):
        graph.add_node(name, branch(name)).add_edge(START, name).add_edge(name, END)
    fast, slow = Desk(), Desk().hold()
    async with memory(graph, fast.bridge(name="fast"), slow.bridge(name="slow")) as runner:
        call = asyncio.create_task(runner.abatch([{}]))
        await within(went_on.wait())
        slow.let_go()
        [result] = await within(call)
    assert sorted(result["out"]) == ["fast a!", "slow a!"]
    assert (fast.batches, slow.batches) == ([["a"]], [["a"]])


async def test_a_node_that_waits_on_two_bridges_gets_the_faster_answer_first():
    fast_came = asyncio.Event()

    async def chained():
        answer = await wait("a", batcher="fast")
        fast_came.set()
        return await wait(answer, batcher="fast")

    async def node(state):
        return {"out": await asyncio.gather(wait("a", batcher="slow"), chained())}

    fast, slow = Desk(), Desk().hold()
    async with memory(one_node(node), fast.bridge(name="fast"), slow.bridge(name="slow")) as runner:
        call = asyncio.create_task(runner.abatch([{}]))
        await within(fast_came.wait())
        slow.let_go()
        [result] = await within(call)
    assert result["out"] == ["a!", "a!!"]
    assert (fast.batches, slow.batches) == ([["a"], ["a!"]], [["a"]])


async def test_a_bridge_may_be_named_or_handed_over():
    desk = Desk()
    bridge = desk.bridge(name="mine")

    async def node(state):
        return {"out": [await wait("a", batcher=bridge), await wait("b", batcher="mine")]}

    [result] = await run(one_node(node), bridge)
    assert result["out"] == ["a!", "b!"]


# -- failures and retries -------------------------------------------------------------------------------------------


async def test_a_retry_after_a_failed_request_asks_anew_and_keeps_what_was_answered():
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
    tries = iter(range(10))

    async def node(state):
        answer = await wait("a")
        if next(tries) < 2:
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


# -- sync nodes, wait_many ------------------------------------------------------------------------------------------


async def test_wait_sync_parks_a_sync_node():
    def node(state):
        first = wait_sync(state["x"])
        return {"out": [first, wait_sync(first)]}

    desk = Desk()
    results = await run(one_node(node), desk.bridge(), inputs=[{"x": "a"}, {"x": "b"}])
    assert [result["out"] for result in results] == [["a!", "a!!"], ["b!", "b!!"]]
    assert desk.sizes == [2, 2]


async def test_wait_many_sync_costs_one_round_and_keeps_the_order():
    def node(state):
        return {"out": wait_many_sync(["c", "bad", "a"], return_exceptions=True)}

    desk = Desk(refuse_bad)
    [result] = await run(one_node(node), desk.bridge())
    assert [result["out"][0], type(result["out"][1]), result["out"][2]] == ["c!", RequestFailed, "a!"]
    assert desk.batches == [["c", "bad", "a"]]


async def test_wait_many_raises_the_first_failure_in_order_unless_told_to_return_them():
    async def node(state):
        return {"out": await wait_many(["a", "bad", "c", "bad"], return_exceptions=state["x"])}

    desk = Desk(refuse_bad)
    inputs = [{"x": True}, {"x": False}]
    result, error = await run(one_node(node), desk.bridge(), inputs=inputs, return_exceptions=True)
    assert [str(each) for each in result["out"]] == ["a!", "ValueError: no good", "c!", "ValueError: no good"]
    assert isinstance(error, RequestFailed)
    assert desk.sizes == [8]


async def test_wait_many_of_nothing_is_nothing():
    async def node(state):
        return {"out": await wait_many([])}

    desk = Desk()
    [result] = await run(one_node(node), desk.bridge())
    assert result["out"] == []
    assert desk.batches == []


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


# -- items ----------------------------------------------------------------------------------------------------------


async def test_a_key_names_the_request_where_the_node_is_not_deterministic():
    serial = iter(range(100))

    async def node(state):
        first, second = await asyncio.gather(
            wait({"nonce": next(serial)}, key="first"), wait({"nonce": next(serial)}, key="second")
        )
        third = await wait({"nonce": next(serial)}, key="third")
        return {"out": [first, second, third]}

    desk = Desk(lambda item: item["nonce"])
    [result] = await run(one_node(node), desk.bridge())
    assert result["out"][:2] == [0, 1]
    assert desk.sizes == [2, 1]


async def test_the_same_key_twice_is_two_requests():
    async def node(state):
        return {"out": [await wait("a", key="k"), await wait("b", key="k")]}

    desk = Desk()
    [result] = await run(one_node(node), desk.bridge())
    assert result["out"] == ["a!", "b!"]
    assert desk.batches == [["a"], ["b"]]


async def test_messages_travel_as_messages_and_their_ids_do_not_count():
    async def node(state):
        fresh = [SystemMessage("be brief", id=None), HumanMessage(state["messages"][-1].content)]
        fresh[0].id = f"another every time {next(serial)}"
        answer = await wait(fresh)
        return {"messages": [answer]}

    serial = iter(range(100))
    seen = []

    def answer(item):
        seen.append(item)
        return AIMessage(f"{item[-1].content}!", id="given")

    desk = Desk(answer)
    [result] = await run(one_node(node, MessagesState), desk.bridge(), inputs=[{"messages": [HumanMessage("hi")]}])
    assert [type(each) for each in seen[0]] == [SystemMessage, HumanMessage]
    assert isinstance(result["messages"][-1], AIMessage)
    assert (result["messages"][-1].content, result["messages"][-1].id) == ("hi!", "given")
    assert desk.sizes == [1]


async def test_answers_are_given_as_they_came():
    answers = [None, 0, "", [], {}, False, {"deep": [1.5, {"er": None}]}, "é\u0000", [[], [{}]]]

    async def node(state):
        return {"out": await wait_many(list(range(len(answers))))}

    [result] = await run(one_node(node), Desk(lambda item: answers[item]).bridge())
    assert result["out"] == answers


async def test_an_item_is_what_it_was_when_the_wait_began():
    async def node(state):
        item = {"words": ["a"]}
        waiting = asyncio.ensure_future(wait(item))
        await asyncio.sleep(0)
        item["words"].append("b")
        first = await waiting
        return {"out": [first, await wait(item)]}

    desk = Desk(lambda item: len(item["words"]))
    [result] = await run(one_node(node), desk.bridge())
    assert result["out"] == [1, 2]
    assert desk.batches == [[{"words": ["a"]}], [{"words": ["a", "b"]}]]


# -- options of the graph -------------------------------------------------------------------------------------------


async def test_options_reach_the_graph_and_a_thread_parks_whatever_they_make_of_the_result():
    async def results(**options):
        desk = Desk()
        [result] = await run(chain(ask, named("again")), desk.bridge(), inputs=[{"x": "a"}], **options)
        assert desk.batches == [["a"], ["a"]]
        return result

    assert (await results(durability="exit"))["out"] == ["a!", "a!"]
    assert (await results(durability="sync"))["out"] == ["a!", "a!"]
    assert (await results(version="v2")).value["out"] == ["a!", "a!"]
    assert await results(output_keys="out") == ["a!", "a!"]
    assert (await results(stream_mode="values"))["out"] == ["a!", "a!"]
    updates = [each for each in await results(stream_mode="updates") if "__interrupt__" not in each]
    assert updates == [{"ask": {"out": ["a!"]}}, {"again": {"out": ["a!"]}}]
    assert await results(stream_mode="custom") == []
    both = await results(stream_mode=["custom", "values"])
    assert both[-1][1]["out"] == ["a!", "a!"]


async def test_context_reaches_the_nodes_in_every_leg():
    @dataclass
    class Context:
        tail: str

    async def node(state, runtime: Runtime[Context]):
        return {"out": [await wait(state["x"] + runtime.context.tail)]}

    graph = StateGraph(State, context_schema=Context).add_node("node", node).add_edge(START, "node")
    desk = Desk()
    [result] = await run(graph, desk.bridge(), inputs=[{"x": "a"}], context=Context("?"))
    assert result["out"] == ["a?!"]
