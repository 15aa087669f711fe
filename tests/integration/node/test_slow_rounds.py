"""Waits that one execution starts side by side: nothing is printed of them, and a node that spends rounds is told so."""

import asyncio
import gc
import logging
import operator
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import Annotated, TypedDict

import pytest
from helpers import Desk, memory, one_node, run, within
from langgraph.func import entrypoint, task
from langgraph.graph import START, StateGraph

from batch_bridge import gather, wait, wait_many, wait_sync
from batch_bridge._node import slow_rounds as _slow_rounds

ITEMS = [f"SECRET {number}" for number in range(5)]
ANSWERS = [f"{item}!" for item in ITEMS]


@pytest.fixture(autouse=True)
def _nothing_was_said():
    _slow_rounds._said.clear()
    _slow_rounds._late.clear()


async def shouted(item):
    return await wait(item, batcher="bridge")


async def nested(item):
    """A task whose interrupt comes from a task of its own."""
    (answer,) = await asyncio.gather(shouted(item))
    return answer


async def as_completed(ask):
    return sorted([await each for each in asyncio.as_completed([ask(item) for item in ITEMS])])


async def wait_for_all(ask):
    done, _ = await asyncio.wait([asyncio.create_task(ask(item)) for item in ITEMS])
    return sorted(each.result() for each in done)


async def wait_for_the_first(ask):
    pending = {asyncio.create_task(ask(item)) for item in ITEMS}
    answers = []
    while pending:
        done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
        answers += [each.result() for each in done]
    return sorted(answers)


async def one_after_the_other(ask):
    tasks = [asyncio.create_task(ask(item)) for item in ITEMS]
    return sorted([await each for each in tasks])


async def in_threads(_):
    return sorted([await each for each in asyncio.as_completed([asyncio.to_thread(wait_sync, item) for item in ITEMS])])


@pytest.mark.parametrize("way", [as_completed, wait_for_all, wait_for_the_first, one_after_the_other, in_threads])
@pytest.mark.parametrize("ask", [shouted, nested])
async def test_waits_that_no_caller_looks_at_again_print_nothing(way, ask, caplog, capsys):
    async def node(state):
        return {"out": await way(ask)}

    desk = Desk()
    (result,) = await run(one_node(node), desk.bridge())
    gc.collect()
    await asyncio.sleep(0)
    assert result["out"] == ANSWERS
    assert sorted(desk.requests) == ITEMS
    assert way is in_threads or desk.sizes == [5]
    # A thread may come when another one has parked the task, if the machine is busy; then it is right to say so.
    assert way is in_threads or not [each for each in caplog.records if each.levelno >= logging.WARNING]
    assert "SECRET" not in caplog.text + "".join(capsys.readouterr())


async def test_what_else_is_never_retrieved_is_told_as_before(caplog):
    told = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(repr(context["exception"])))

    async def fails():
        raise ValueError("of the user's")

    async def node(state):
        asyncio.create_task(fails())  # noqa: RUF006
        return {"out": await as_completed(shouted)}

    await run(one_node(node), Desk().bridge())
    gc.collect()
    assert set(told) == {'ValueError("of the user\'s")'}


# -- what costs rounds ---------------------------------------------------------------------------------------------


def warnings(caplog):
    return [
        each.getMessage()
        for each in caplog.records
        if each.name.startswith("batch_bridge") and "in a row" in each.message
    ]


async def test_a_semaphore_that_spends_rounds_is_told_once_for_a_node(caplog):
    async def slow(state):
        limit = asyncio.Semaphore(1)

        async def ask(item):
            async with limit:
                return await wait(item)

        return {"out": await asyncio.gather(*map(ask, ITEMS))}

    graph = StateGraph(dict).add_node(slow).add_edge(START, "slow")
    desk = Desk()
    results = await run(graph, desk.bridge(), inputs=[{}, {}])
    assert [each["out"] for each in results] == [ANSWERS, ANSWERS]
    (said,) = warnings(caplog)
    assert "'slow'" in said
    assert "wait_many" in said
    assert "SECRET" not in said


async def test_a_pool_of_one_thread_is_told_of_too(caplog):
    def node(state):
        with ThreadPoolExecutor(1) as pool:
            asked = [pool.submit(copy_context().run, wait_sync, item) for item in ITEMS]
            return {"out": [each.result() for each in asked]}

    (result,) = await run(one_node(node), Desk().bridge())
    assert result["out"] == ANSWERS
    assert len(warnings(caplog)) == 1


@task
async def asked(item):
    return await wait(item)


async def test_tasks_awaited_one_by_one_are_told_of_and_gather_is_the_cure(caplog):
    @entrypoint()
    async def slow(_):
        started = [asked(item) for item in ITEMS]
        return [await each for each in started]

    @entrypoint()
    async def cured(_):
        return await gather(*map(asked, ITEMS))

    desk = Desk()
    async with memory(cured, desk.bridge()) as runner:
        assert await within(runner.abatch([{}])) == [ANSWERS]
    assert (desk.sizes, warnings(caplog)) == ([5], [])
    async with memory(slow, Desk().bridge()) as runner:
        assert await within(runner.abatch([{}])) == [ANSWERS]
    (said,) = warnings(caplog)
    assert "asked" in said
    assert "batch_bridge.gather" in said


async def test_subgraphs_gathered_by_asyncio_are_told_of(caplog):
    inner = one_node(_inner).compile()

    async def outer(state):
        results = await asyncio.gather(*(inner.ainvoke({"x": item}) for item in ITEMS))
        return {"out": [each["out"][0] for each in results]}

    async def cured(state):
        results = await gather(*(inner.ainvoke({"x": item}) for item in ITEMS))
        return {"out": [each["out"][0] for each in results]}

    desk = Desk()
    (result,) = await run(one_node(cured), desk.bridge())
    assert (result["out"], desk.sizes, warnings(caplog)) == (ANSWERS, [5], [])
    (result,) = await run(one_node(outer), Desk().bridge())
    assert result["out"] == ANSWERS
    assert len(warnings(caplog)) == 1


async def _inner(state):
    return {"out": [await wait(state["x"])]}


# -- no false alarms -----------------------------------------------------------------------------------------------


async def chain(state):
    said = "a"
    for _ in range(5):
        said = await wait(said)
    return {"out": [said]}


async def chains_side_by_side(state):
    async def talk(said):
        for _ in range(5):
            said = await wait(said)
        return said

    return {"out": await asyncio.gather(talk("a"), talk("b"))}


async def one_round(state):
    return {"out": await wait_many(ITEMS)}


async def late_once(state):
    """Four dependent waits; at the last a sibling comes late."""
    for number in range(4):
        await wait(f"first {number}")
    limit = asyncio.Semaphore(1)

    async def ask(item):
        async with limit:
            return await wait(item)

    return {"out": await asyncio.gather(ask("b"), ask("c"))}


@pytest.mark.parametrize("node", [chain, chains_side_by_side, one_round, late_once])
async def test_what_cannot_be_asked_earlier_is_no_reason_to_warn(node, caplog):
    await run(one_node(node), Desk().bridge(), inputs=[{}, {}])
    assert warnings(caplog) == []


class Fan(TypedDict, total=False):
    out: Annotated[list, operator.add]


async def test_branches_of_a_graph_that_park_side_by_side_are_no_reason_to_warn(caplog):
    graph = StateGraph(Fan)
    for name in ("a", "b", "c"):
        graph.add_node(name, chain).add_edge(START, name)
    await run(graph, Desk().bridge())
    assert warnings(caplog) == []
