"""The table of rounds: how many batches a node costs under a Runner, whose bridge sends only when all wait."""

import asyncio
import operator
import random
from typing import Annotated, TypedDict

import pytest
from helpers import Desk, memory, one_node, run, within
from langchain_core.runnables import RunnableLambda
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.func import entrypoint, task
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command

import batch_bridge
from batch_bridge import wait, wait_many


async def test_a_gather_of_three_and_a_wait_that_depends_on_them_cost_two_rounds():
    async def node(state):
        three = await asyncio.gather(*(wait(each) for each in "abc"))
        return {"out": [*three, await wait("+".join(three))]}

    desk = Desk()
    [result] = await run(one_node(node), desk.bridge())
    assert result["out"] == ["a!", "b!", "c!", "a!+b!+c!!"]
    assert desk.batches == [["a", "b", "c"], ["a!+b!+c!"]]


async def test_two_chains_of_two_dependent_waits_cost_two_rounds():
    async def link(first):
        return await wait(await wait(first))

    async def node(state):
        return {"out": await asyncio.gather(link("a"), link("b"))}

    desk = Desk()
    [result] = await run(one_node(node), desk.bridge())
    assert result["out"] == ["a!!", "b!!"]
    assert [sorted(batch) for batch in desk.batches] == [["a", "b"], ["a!", "b!"]]


async def test_an_abatch_of_a_runnable_inside_a_node_costs_one_round():
    async def node(state):
        return {"out": await RunnableLambda(wait).abatch(["p", "q", "r"])}

    desk = Desk()
    [result] = await run(one_node(node), desk.bridge())
    assert result["out"] == ["p!", "q!", "r!"]
    assert desk.batches == [["p", "q", "r"]]


async def grouped(state):
    async with batch_bridge.TaskGroup() as group:
        tasks = [group.create_task(wait(each)) for each in "abc"]
    return {"out": [each.result() for each in tasks]}


@pytest.mark.parametrize("nested", [False, True], ids=["in a node", "in a subgraph"])
async def test_a_task_group_of_three_costs_one_round(nested):
    graph = one_node(one_node(grouped).compile()) if nested else one_node(grouped)
    desk = Desk()
    [result] = await run(graph, desk.bridge())
    assert result["out"] == ["a!", "b!", "c!"]
    assert desk.batches == [["a", "b", "c"]]


async def test_a_task_group_raises_everything_but_interrupts_as_asyncio_does():
    async def fail():
        raise ValueError("mine")

    async def node(state):
        async with batch_bridge.TaskGroup() as group:
            group.create_task(fail())
            group.create_task(wait("a"))

    desk = Desk()
    [error] = await run(one_node(node), desk.bridge(), return_exceptions=True)
    assert isinstance(error, ExceptionGroup)
    assert [str(each) for each in error.exceptions] == ["mine"]
    assert desk.batches == []


async def test_waits_in_another_order_on_each_execution_get_their_own_answers_in_one_round():
    draws = random.Random(7)
    orders = []

    async def node(state):
        items = ["a", "b", "c", "d", "e"]
        draws.shuffle(items)
        orders.append(tuple(items))
        answers = dict(zip(items, await asyncio.gather(*map(wait, items)), strict=True))
        return {"out": [answers]}

    desk = Desk()
    results = await run(one_node(node), desk.bridge(), inputs=[{}] * 5)
    assert len(set(orders)) > 5
    assert [result["out"] for result in results] == [[{each: f"{each}!" for each in "abcde"}]] * 5
    assert desk.sizes == [25]


async def test_two_equal_items_are_two_requests_of_one_round():
    serial = iter(range(100))
    desk = Desk(lambda item: [item, next(serial)])

    async def node(state):
        return {"out": await asyncio.gather(wait("a"), wait("b"), wait("a"))}

    [result] = await run(one_node(node), desk.bridge())
    assert sorted(result["out"]) == [["a", 0], ["a", 2], ["b", 1]]
    assert desk.batches == [["a", "b", "a"]]


async def test_slow_siblings_cost_up_to_a_round_each_and_get_their_own_answers():
    def slow(io):
        async def ask(name):
            for _ in range(io):
                await asyncio.sleep(0)
            return await wait(name)

        return ask

    async def node(state):
        return {"out": await asyncio.gather(slow(0)("a"), slow(20)("b"), slow(40)("c"))}

    desk = Desk()
    [result] = await run(one_node(node), desk.bridge())
    assert result["out"] == ["a!", "b!", "c!"]
    assert sorted(desk.requests) == ["a", "b", "c"]
    assert 1 <= len(desk.batches) <= 3


async def test_siblings_whose_pace_changes_between_executions_are_not_taken_for_nondeterminism():
    executions = iter(range(100))

    async def node(state):
        fast = next(executions) % 2 == 0

        async def ask(name, early):
            for _ in range(0 if early else 30):
                await asyncio.sleep(0.005)
            return await wait(name)

        first = ask("a", fast)

        async def two():
            return await wait(await ask("b", not fast))

        return {"out": await asyncio.gather(first, two())}

    desk = Desk()
    [result] = await run(one_node(node), desk.bridge())
    assert result["out"] == ["a!", "b!!"]
    assert desk.counts == {"a": 1, "b": 1, "b!": 1}


async def test_wait_many_costs_one_round_and_so_does_one_beside_another():
    async def node(state):
        first, second = await asyncio.gather(wait_many(["a", "b"]), wait_many(["c"]))
        return {"out": [*first, *second]}

    desk = Desk()
    [result] = await run(one_node(node), desk.bridge())
    assert result["out"] == ["a!", "b!", "c!"]
    assert desk.batches == [["a", "b", "c"]]


async def test_waits_one_after_the_other_cost_a_round_each():
    async def node(state):
        return {"out": [await wait(each) for each in "abc"]}

    desk = Desk()
    [result] = await run(one_node(node), desk.bridge())
    assert result["out"] == ["a!", "b!", "c!"]
    assert desk.batches == [["a"], ["b"], ["c"]]


@task
async def ask(item):
    return await wait(item)


async def test_three_gathered_tasks_of_the_functional_api_cost_three_rounds():
    @entrypoint()
    async def flow(items):
        return await asyncio.gather(*map(ask, items))

    desk = Desk()
    results = await run(flow, desk.bridge(), inputs=[["a", "b", "c"]])
    assert results == [["a!", "b!", "c!"]]
    assert sorted(desk.requests) == ["a", "b", "c"]
    assert len(desk.batches) == 3


async def test_three_tasks_under_the_gather_of_batch_bridge_cost_one_round():
    @entrypoint()
    async def flow(items):
        return await batch_bridge.gather(*map(ask, items))

    desk = Desk()
    results = await run(flow, desk.bridge(), inputs=[["a", "b", "c"], ["d"]])
    assert results == [["a!", "b!", "c!"], ["d!"]]
    assert desk.sizes == [4]


async def test_gather_raises_a_plain_error_before_it_parks():
    async def fail():
        raise ValueError("mine")

    async def node(state):
        return {"out": await batch_bridge.gather(wait("a"), fail())}

    desk = Desk()
    [error] = await run(one_node(node), desk.bridge(), return_exceptions=True)
    assert isinstance(error, ValueError)
    assert desk.batches == []


async def test_branches_and_threads_share_a_round():
    class Branches(TypedDict):
        out: Annotated[list, operator.add]

    def branch(name):
        async def node(state):
            return {"out": [await wait(name)]}

        return node

    graph = StateGraph(Branches)
    for name in "abc":
        graph.add_node(name, branch(name)).add_edge(START, name).add_edge(name, END)
    desk = Desk()
    results = await run(graph, desk.bridge(), inputs=[{"out": []}] * 10)
    assert [result["out"] for result in results] == [["a!", "b!", "c!"]] * 10
    assert desk.sizes == [30]


async def test_the_rounds_are_the_same_without_a_runner():
    async def node(state):
        return {"out": await asyncio.gather(wait("a"), wait("b"))}

    graph = one_node(node).compile(checkpointer=InMemorySaver())
    config = {"configurable": {"thread_id": "t"}}
    parked = await graph.ainvoke({}, config)
    [interrupt] = parked["__interrupt__"]
    assert batch_bridge.is_bridge_interrupt(interrupt)
    assert [each["item"] for each in interrupt.value["requests"]] == ["a", "b"]
    outcomes = {each["id"]: {"kind": "succeeded", "answer": each["item"] * 2} for each in interrupt.value["requests"]}
    answer = {"batch_bridge": 1, "outcomes": outcomes}
    result = await graph.ainvoke(Command(resume={interrupt.id: answer}), config)
    assert result["out"] == ["aa", "bb"]


async def test_a_wait_that_is_answered_does_not_wait_for_its_siblings_in_vain():
    """A node that only uses the first answer still gets it in one round."""

    async def node(state):
        waits = [asyncio.ensure_future(wait(each)) for each in "ab"]
        try:
            return {"out": [await waits[0]]}
        finally:
            for each in waits:
                each.cancel()
            await asyncio.gather(*waits, return_exceptions=True)

    desk = Desk()
    async with memory(one_node(node), desk.bridge()) as runner:
        result = await within(runner.ainvoke({}))
    assert result["out"] == ["a!"]
    assert desk.batches == [["a", "b"]]
