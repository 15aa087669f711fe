"""A wait is one wait in every shape that a graph can have."""

import asyncio
import operator
from dataclasses import dataclass, field
from typing import Annotated, TypedDict

import pytest
from helpers import Desk, State, chain, memory, one_node, run, within
from langchain_core.runnables import RunnableLambda
from langchain_core.tools import tool
from langgraph.func import entrypoint, task
from langgraph.graph import END, START, StateGraph
from langgraph.runtime import Runtime
from langgraph.types import Command, Send
from pydantic import BaseModel

from batch_bridge import wait


async def ask(state):
    return {"out": [await wait(state["x"])]}


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


# -- options of the graph -------------------------------------------------------------------------------------------


async def test_options_reach_the_graph_and_a_thread_parks_whatever_they_make_of_the_result():
    async def again(state):
        return await ask(state)

    async def results(**options):
        desk = Desk()
        [result] = await run(chain(ask, again), desk.bridge(), inputs=[{"x": "a"}], **options)
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
