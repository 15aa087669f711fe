"""A human answers a thread of a Runner that waits for a batch too, or has answered before, or was not asked by the Runner."""

import asyncio
from collections import Counter

import pytest
from helpers import Desk, State, config_of, memory, one_node, within
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, StateGraph
from langgraph.types import Command, interrupt

from batch_bridge import Runner, is_bridge_interrupt, wait
from batch_bridge._compat.langgraph import NULL_TASK_ID, RESUME
from batch_bridge.errors import RequestFailed


async def asks(state):
    said = interrupt("A?")
    return {"out": [f"human said {said}", await wait(f"after {said}"), interrupt("B?")]}


async def waits(state):
    return {"out": [await wait("x")]}


def both():
    return StateGraph(State).add_node(asks).add_node(waits).add_edge(START, "asks").add_edge(START, "waits")


async def parked_at_both(saver):
    """Run the graph by hand until it waits for a human and for a batch."""
    graph = both().compile(checkpointer=saver)
    found = await graph.ainvoke({}, config_of("t"))
    assert len(found["__interrupt__"]) == 2
    return graph


@pytest.mark.parametrize("durability", ["async", "exit"])
async def test_a_plain_answer_beside_a_wait_is_for_the_human_question(durability) -> None:
    graph, desk = await parked_at_both(InMemorySaver()), Desk()
    async with Runner(graph, desk.bridge(), path=":memory:", progress=False) as runner:
        found = await within(runner.ainvoke(Command(resume="yes"), config_of("t"), durability=durability))
        assert [each.value for each in found["__interrupt__"]] == ["B?"]
        ended = await within(runner.ainvoke(Command(resume="no"), config_of("t"), durability=durability))
    assert Counter(ended["out"]) == Counter(["human said yes", "after yes!", "no", "x!"])
    assert desk.counts == {"x": 1, "after yes": 1}


async def test_an_answer_that_nobody_asks_for_is_not_kept_for_the_next_question() -> None:
    saver = InMemorySaver()
    graph = one_node(asks).compile(checkpointer=saver)
    await graph.ainvoke({}, config_of("t"))
    waiting = await graph.ainvoke(Command(resume="yes"), config_of("t"))
    assert all(map(is_bridge_interrupt, waiting["__interrupt__"]))
    async with Runner(graph, Desk().bridge(), path=":memory:", progress=False) as runner:
        found = await within(runner.ainvoke(Command(resume="yes, yes!"), config_of("t")))
        assert [each.value for each in found["__interrupt__"]] == ["B?"]
        ended = await within(runner.ainvoke(Command(resume="no"), config_of("t")))
    assert ended["out"] == ["human said yes", "after yes!", "no"]


async def test_a_wait_does_not_take_the_answer_that_a_slower_sibling_has_asked_for() -> None:
    """The sibling failed in the run that asked the human, so it waits for the first time in the one that is answered."""
    runs = []

    async def asks_slowly(state):
        runs.append("run")
        await turns(0 if len(runs) == 1 else 20)
        return {"out": [interrupt("A?")]}

    async def waits_second(state):
        if len(runs) == 1:
            await turns(20)
            raise ValueError("the first time")
        return {"out": [await wait("x")]}

    graph = StateGraph(State).add_node(asks_slowly).add_node(waits_second)
    graph = graph.add_edge(START, "asks_slowly").add_edge(START, "waits_second")
    async with memory(graph, Desk().bridge()) as runner:
        with pytest.raises(ValueError, match="the first time"):
            await within(runner.ainvoke({}, config_of("t")))
        ended = await within(runner.ainvoke(Command(resume="yes"), config_of("t")))
        assert "__interrupt__" not in ended, "the human was asked again"
    assert Counter(ended["out"]) == Counter(["yes", "x!"])


async def turns(number):
    """Let others run."""
    for _ in range(number):
        await asyncio.sleep(0)


async def test_a_runner_takes_away_what_others_have_left_in_the_checkpoint() -> None:
    """A thread that was driven by a program whose nodes did not know of this: the answer is still in its checkpoint."""
    saver = InMemorySaver()
    graph = one_node(asks).compile(checkpointer=saver)
    await graph.ainvoke({}, config_of("t"))
    await graph.ainvoke(Command(resume="yes"), config_of("t"))
    saved = await saver.aget_tuple(config_of("t"))
    await saver.aput_writes(saved.config, [(RESUME, "yes")], NULL_TASK_ID)
    async with Runner(graph, Desk().bridge(), path=":memory:", progress=False) as runner:
        found = await within(runner.ainvoke(None, config_of("t")))
    assert [each.value for each in found["__interrupt__"]] == ["B?"]
    saved = await saver.aget_tuple(config_of("t"))
    assert [value for task, _, value in saved.pending_writes if task == NULL_TASK_ID] == [None]


async def test_a_thread_that_was_run_again_and_stands_at_a_question_keeps_what_it_has_behind_it() -> None:
    """It failed, was run again, and asks the human: his answer does not bring the failure back."""
    failed = []

    def answer(item):
        failed.append(item)
        return RuntimeError("the first time") if len(failed) == 1 else f"{item}!"

    async def node(state):
        return {"out": [await wait("x"), interrupt("A?")]}

    async with memory(one_node(node), Desk(answer).bridge()) as runner:
        with pytest.raises(RequestFailed, match="the first time"):
            await within(runner.ainvoke({}, config_of("t")))
        await within(runner.ainvoke(None, config_of("t")))
        ended = await within(runner.ainvoke(Command(resume="yes"), config_of("t")))
    assert ended["out"] == ["x!", "yes"]
