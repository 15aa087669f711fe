"""`astream` shows a thread as LangGraph would whose answers come at once; `abatch` takes inputs that come in time."""

import asyncio
import contextlib
import operator
from typing import Annotated, TypedDict

import pytest
from helpers import Desk, config_of, memory, one_node, within
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, interrupt

from batch_bridge import FlushPolicy, RequestFailed, Runner, wait
from batch_bridge.errors import ThreadUnderWayError


class State(TypedDict, total=False):
    x: str
    out: Annotated[list, operator.add]


def graph_of(ask):
    """Two nodes side by side, one of which waits twice; then one that waits in a subgraph; then one that does not."""

    async def left(state):
        return {"out": [await ask(await ask(state["x"]))]}

    async def right(state):
        return {"out": ["right"]}

    async def inner(state):
        return {"out": [await ask(state["out"][0])]}

    async def last(state):
        return {"out": ["last"]}

    below = StateGraph(State).add_node("inner", inner).add_edge(START, "inner").compile()
    graph = StateGraph(State).add_node("left", left).add_node("right", right).add_node("below", below)
    graph.add_node("last", last).add_edge(START, "left").add_edge(START, "right").add_edge(["left", "right"], "below")
    return graph.add_edge("below", "last").add_edge("last", END)


async def at_once(item):
    return f"{item}!"


def told(chunks):
    """Siblings of one step finish in any order, and namespaces have ids that differ."""
    return sorted(repr(chunk) if not isinstance(chunk, tuple) else repr(chunk[-1]) for chunk in chunks)


@pytest.mark.parametrize("subgraphs", [False, True])
@pytest.mark.parametrize("mode", ["values", "updates", ["values", "updates"]])
async def test_a_stream_is_what_it_would_be_if_the_answers_came_at_once(mode, subgraphs):
    options = {"stream_mode": mode, "subgraphs": subgraphs}
    plain = graph_of(at_once).compile(checkpointer=InMemorySaver())
    expected = [chunk async for chunk in plain.astream({"x": "a"}, config_of("t"), **options)]
    async with memory(graph_of(wait), Desk().bridge()) as runner:
        seen = [chunk async for chunk in runner.astream({"x": "a"}, config_of("t"), **options)]
    assert told(seen) == told(expected)


async def test_a_stream_in_the_newer_form_too():
    options = {"stream_mode": ["values", "updates"], "version": "v2"}
    plain = graph_of(at_once).compile(checkpointer=InMemorySaver())
    expected = [chunk async for chunk in plain.astream({"x": "a"}, config_of("t"), **options)]
    async with memory(graph_of(wait), Desk().bridge()) as runner:
        seen = [chunk async for chunk in runner.astream({"x": "a"}, config_of("t"), **options)]
    assert told(seen) == told(expected)


async def test_chunks_come_while_the_thread_waits():
    desk = Desk().hold()
    async with memory(graph_of(wait), desk.bridge()) as runner:
        stream = runner.astream({"x": "a"}, config_of("t"), stream_mode="updates")
        assert await within(anext(stream)) == {"right": {"out": ["right"]}}
        await within(desk.submitted.wait())
        with pytest.raises(ThreadUnderWayError):
            await anext(runner.astream({"x": "a"}, config_of("t")))
        await stream.aclose()
        desk.let_go()
        rest = [chunk async for chunk in runner.astream(None, config_of("t"), stream_mode="updates")]
        assert [list(chunk)[-1] for chunk in rest][-3:] == ["left", "below", "last"]
    assert desk.counts["a"] == 1


async def test_a_humans_question_shows_and_a_failure_is_raised():
    async def node(state):
        return {"out": [await wait(interrupt("who?"))]}

    desk = Desk(lambda item: ValueError("no") if item == "bad" else f"{item}!")
    async with memory(one_node(node), desk.bridge(attempts=1)) as runner:
        asked = [chunk async for chunk in runner.astream({"x": "a"}, config_of("t"), stream_mode="updates")]
        assert asked[0]["__interrupt__"][0].value == "who?"
        answered = [
            chunk async for chunk in runner.astream(Command(resume="me"), config_of("t"), stream_mode="updates")
        ]
        assert answered == [{"node": {"out": ["me!"]}}]
        async for _ in runner.astream({"x": "b"}, config_of("u")):
            pass
        with pytest.raises(RequestFailed):
            async for _ in runner.astream(Command(resume="bad"), config_of("u")):
                pass


async def ask(state):
    return {"out": [await wait(state["x"])]}


async def test_inputs_may_come_asynchronously_and_are_read_when_there_is_room():
    read, running, most = [], 0, 0

    async def inputs():
        for i in range(9):
            read.append(i)
            await asyncio.sleep(0)
            yield {"x": str(i)}

    async def node(state):
        nonlocal running, most
        running += 1
        most = max(most, running)
        for _ in range(5):
            await asyncio.sleep(0)
        running -= 1
        return {"out": [state["x"]]}

    async with memory(one_node(node), Desk().bridge()) as runner:
        seen = []
        async for index, result in runner.abatch_as_completed(inputs(), max_concurrency=2):
            seen.append((index, result["out"]))
            assert len(read) <= len(seen) + 2 + 1 + 1  # running, and one read ahead, and its turn
        assert sorted(seen) == [(i, [str(i)]) for i in range(9)]
    assert most == 2


async def test_what_has_come_is_sent_while_the_next_input_is_awaited():
    more = asyncio.Event()

    async def inputs():
        yield {"x": "a"}
        yield {"x": "b"}
        await more.wait()
        yield {"x": "c"}

    desk = Desk()
    async with memory(one_node(ask), desk.bridge(flush=FlushPolicy(max_idle=0.05))) as runner:
        results = []
        async for index, result in runner.abatch_as_completed(inputs()):
            results.append((index, result["out"]))
            more.set()
    assert sorted(results) == [(0, ["a!"]), (1, ["b!"]), (2, ["c!"])]
    assert desk.sizes == [2, 1]


async def test_the_end_of_the_inputs_sends_at_once():
    async def inputs():
        for each in "abc":
            yield {"x": each}

    desk = Desk()
    async with memory(one_node(ask), desk.bridge(flush=FlushPolicy(max_age=None, max_idle="1h"))) as runner:
        assert len(await within(runner.abatch(inputs()))) == 3
    assert desk.sizes == [3]


async def test_a_source_that_fails_ends_the_call_and_one_that_is_left_is_stopped(tmp_path):
    closed = asyncio.Event()

    async def failing():
        yield {"x": "a"}
        raise OSError("the source is gone")

    async def endless():
        try:
            yield {"x": "a"}
            await asyncio.Event().wait()
        finally:
            closed.set()

    async with Runner(one_node(ask), Desk().bridge(), path=tmp_path / "run.db", progress=False) as runner:
        with pytest.raises(OSError, match="the source is gone"):
            await within(runner.abatch(failing(), run_id="r"))
        async with contextlib.aclosing(runner.abatch_as_completed(endless(), run_id="r")) as results:
            assert (await within(anext(results)))[1]["out"] == ["a!"]
        await within(closed.wait())
