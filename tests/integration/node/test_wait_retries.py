"""What a retried node is handed: on every LangGraph that is supported, what its earlier attempts took."""

import asyncio
from itertools import count

import pytest
from helpers import config_of, one_node
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, StateGraph
from langgraph.types import Command, RetryPolicy, interrupt
from test_wait_envelopes import asked, envelope

from batch_bridge import wait, wait_many_sync, wait_sync

QUICK = RetryPolicy(initial_interval=0.001, backoff_factor=1, jitter=False, max_attempts=3)
BUSY = {"kind": "errored", "code": "busy", "message": "busy", "retryable": True}


def saved(node, **options):
    return one_node(node, retry_policy=QUICK, **options).compile(checkpointer=InMemorySaver())


def failed(request_id, **answers):
    """An envelope in which one request failed."""
    brought = envelope(**answers)
    brought["outcomes"][request_id] = BUSY
    return brought


async def both(state):
    return {"out": await asyncio.gather(wait("good"), wait("bad"))}


def both_sync(state):
    return {"out": wait_many_sync(["good", "bad"])}


@pytest.mark.parametrize("node", [both, both_sync])
async def test_a_retry_that_parks_keeps_what_its_failed_attempt_took_though_nothing_delivers_it_again(node):
    graph, config = saved(node), config_of("t")
    address, [good, bad] = asked(await graph.ainvoke({}, config))
    answers = failed(bad["id"], **{good["id"]: "kept"})
    address, [again] = asked(await graph.ainvoke(Command(resume={address: answers}), config))
    assert (again["item"], again["id"] != bad["id"]) == ("bad", True)
    address, [third] = asked(await graph.ainvoke(Command(resume={address: failed(again["id"])}), config))
    assert len({bad["id"], again["id"], third["id"]}) == 3
    result = await graph.ainvoke(Command(resume={address: envelope(**{third["id"]: "at last"})}), config)
    assert result["out"] == ["kept", "at last"]


async def test_a_retry_after_several_rounds_is_handed_all_of_them():
    tries = count()

    async def node(state):
        one = await wait("one")
        out = [one, *await asyncio.gather(wait("two"), wait("three"))]
        if next(tries) < 2:
            raise ConnectionError("mine")
        return {"out": [*out, await wait("four")]}

    graph, config = saved(node), config_of("t")
    address, [one] = asked(await graph.ainvoke({}, config))
    address, [two, three] = asked(await graph.ainvoke(Command(resume={address: envelope(**{one["id"]: 1})}), config))
    brought = envelope(**{two["id"]: 2, three["id"]: 3})
    address, [four] = asked(await graph.ainvoke(Command(resume={address: brought}), config))
    assert four["item"] == "four"
    result = await graph.ainvoke(Command(resume={address: envelope(**{four["id"]: 4})}), config)
    assert result["out"] == [1, 2, 3, 4]


async def test_a_retry_that_failed_before_it_took_all_is_handed_the_rest_too():
    tries = count()

    def node(state):
        one = wait_sync("one")
        if next(tries) == 2:
            raise ConnectionError("mine")
        return {"out": [one, wait_sync("two"), wait_sync("three")]}

    graph, config = saved(node), config_of("t")
    address, [one] = asked(await graph.ainvoke({}, config))
    address, [two] = asked(await graph.ainvoke(Command(resume={address: envelope(**{one["id"]: 1})}), config))
    address, [three] = asked(await graph.ainvoke(Command(resume={address: envelope(**{two["id"]: 2})}), config))
    result = await graph.ainvoke(Command(resume={address: envelope(**{three["id"]: 3})}), config)
    assert result["out"] == [1, 2, 3]
    assert next(tries) == 4


async def test_a_human_s_answer_after_a_wait_is_handed_to_a_retry_too():
    tries = count()

    async def node(state):
        out = [await wait("one"), interrupt("sure?")]
        if next(tries) < 1:
            raise ConnectionError("mine")
        return {"out": [*out, await wait("two")]}

    graph, config = saved(node), config_of("t")
    address, [one] = asked(await graph.ainvoke({}, config))
    result = await graph.ainvoke(Command(resume={address: envelope(**{one["id"]: 1})}), config)
    assert [each.value for each in result["__interrupt__"]] == ["sure?"]
    address, [two] = asked(await graph.ainvoke(Command(resume={result["__interrupt__"][0].id: "yes"}), config))
    result = await graph.ainvoke(Command(resume={address: envelope(**{two["id"]: 2})}), config)
    assert result["out"] == [1, "yes", 2]


async def test_branches_that_are_retried_side_by_side_keep_their_own_answers():
    names = ("a", "b", "c")

    def node(name):
        async def branch(state):
            return {"out": [await wait(f"{name}1"), await wait(f"{name}2")]}

        return branch

    graph = StateGraph(one_node(both).state_schema)
    for name in names:
        graph.add_node(name, node(name), retry_policy=QUICK).add_edge(START, name)
    plain, config = graph.compile(checkpointer=InMemorySaver()), config_of("t")
    result, failures = await plain.ainvoke({}, config), set()
    while "__interrupt__" in result:
        answers = {}
        for pending in result["__interrupt__"]:
            [request] = pending.value["requests"]
            if request["item"] in failures:
                answers[pending.id] = envelope(**{request["id"]: request["item"] + "!"})
            else:
                answers[pending.id] = failed(request["id"])
                failures.add(request["item"])
        result = await plain.ainvoke(Command(resume=answers), config)
    assert result["out"] == ["a1!", "a2!", "b1!", "b2!", "c1!", "c2!"]
