"""Answers that come late, twice, from strangers or to the wrong place; and what is left behind: nothing."""

import asyncio
import gc

import pytest
from helpers import Desk, State, config_of, memory, one_node, within
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, RetryPolicy, interrupt

import batch_bridge
from batch_bridge import wait
from batch_bridge._node import pending_waits as _pending_waits
from batch_bridge.errors import NondeterministicNodeError


def asked(result):
    """The requests of the only interrupt, which must be ours."""
    [pending] = result["__interrupt__"]
    assert batch_bridge.is_bridge_interrupt(pending)
    return pending.id, pending.value["requests"]


def envelope(**answers):
    outcomes = {each: {"kind": "succeeded", "answer": answer} for each, answer in answers.items()}
    return {"batch_bridge": 1, "outcomes": outcomes}


async def two_waits(state):
    one = await wait("one")
    return {"out": [one, await wait("two")]}


@pytest.fixture
def plain():
    """A graph with a checkpointer and no Runner."""
    return one_node(two_waits).compile(checkpointer=InMemorySaver())


async def test_an_envelope_that_comes_twice_is_never_taken_for_the_next_answer(plain):
    config = config_of("t")
    first, [one] = asked(await plain.ainvoke({}, config))
    second, [two] = asked(await plain.ainvoke(Command(resume={first: envelope(**{one["id"]: 1})}), config))
    for address in (first, second):
        again, [still] = asked(await plain.ainvoke(Command(resume={address: envelope(**{one["id"]: 99})}), config))
        assert still == two
    result = await plain.ainvoke(Command(resume={again: envelope(**{two["id"]: 2})}), config)
    assert result["out"] == [1, 2]


async def test_an_envelope_that_answers_nothing_that_is_asked_is_put_aside(plain):
    config = config_of("t")
    address, [one] = asked(await plain.ainvoke({}, config))
    for foreign in (envelope(), envelope(**{"0" * 32: "foreign"}), {"batch_bridge": 1}, {"batch_bridge": 2}):
        address, [still] = asked(await plain.ainvoke(Command(resume={address: foreign}), config))
        assert still == one


async def test_a_foreign_envelope_does_not_make_the_node_look_nondeterministic(plain):
    config = config_of("t")
    address, [one] = asked(await plain.ainvoke({}, config))
    foreign = envelope(**{"0" * 32: "foreign"})
    address, _ = asked(await plain.ainvoke(Command(resume={address: foreign}), config))
    address, [two] = asked(await plain.ainvoke(Command(resume={address: envelope(**{one["id"]: 1})}), config))
    assert two["item"] == "two"


async def test_an_envelope_may_bring_more_than_is_asked(plain):
    config = config_of("t")
    address, [one] = asked(await plain.ainvoke({}, config))
    more = envelope(**{one["id"]: 1, "f" * 32: "nobody's"})
    address, [two] = asked(await plain.ainvoke(Command(resume={address: more}), config))
    result = await plain.ainvoke(Command(resume={address: envelope(**{two["id"]: 2})}), config)
    assert result["out"] == [1, 2]


@pytest.mark.parametrize("value", ["yes", True, 0, ["a"], {"outcomes": {}}, {"batch_bridge": True}])
async def test_a_human_s_value_sent_to_our_interrupt_is_never_an_answer(plain, value):
    config = config_of("t")
    _, [one] = asked(await plain.ainvoke({}, config))
    address, [still] = asked(await plain.ainvoke(Command(resume=value), config))
    assert still == one
    _, [two] = asked(await plain.ainvoke(Command(resume={address: envelope(**{one["id"]: 1})}), config))
    assert two["item"] == "two"


async def test_a_human_s_value_sent_to_a_thread_that_a_runner_drives_changes_nothing():
    graph = one_node(two_waits).compile(checkpointer=InMemorySaver())
    desk = Desk().hold()
    async with memory(graph, desk.bridge()) as runner:
        call = asyncio.create_task(runner.ainvoke({}, config_of("t")))
        await within(desk.submitted.wait())
        await graph.ainvoke(Command(resume="yes"), config_of("t"))
        desk.let_go()
        result = await within(call)
    assert result["out"] == ["one!", "two!"]
    assert desk.batches == [["one"], ["two"]]


async def moved_on(state):
    """Our wait comes first, and then a human's interrupt, in one task: LangGraph would give it our answer."""
    answer = await wait("a")
    return {"out": [answer, interrupt("may I?")]}


async def test_a_human_s_interrupt_that_has_come_since_is_not_answered_by_a_late_delivery():
    graph = one_node(moved_on).compile(checkpointer=InMemorySaver())
    desk = Desk().hold()
    config = config_of("t")
    async with memory(graph, desk.bridge()) as runner:
        call = asyncio.create_task(runner.ainvoke({}, config))
        await within(desk.submitted.wait())
        snapshot = await graph.aget_state(config)
        address, [request] = asked({"__interrupt__": snapshot.interrupts})
        moved = await graph.ainvoke(Command(resume={address: envelope(**{request["id"]: "theirs"})}), config)
        [human] = moved["__interrupt__"]
        assert human.value == "may I?"
        desk.let_go()
        result = await within(call)
        [still] = result["__interrupt__"]
        assert still.value == "may I?"
        result = await within(runner.ainvoke(Command(resume={still.id: "yes"}), config))
    assert result["out"] == ["theirs", "yes"]
    assert desk.batches == [["a"]]


async def test_a_human_beside_the_wait_is_not_answered_by_a_late_delivery():
    async def ours(state):
        return {"out": [await wait("a")]}

    graph = StateGraph(State).add_node("ours", ours).add_node("theirs", lambda state: {"out": [interrupt("may I?")]})
    for name in ("ours", "theirs"):
        graph.add_edge(START, name).add_edge(name, END)
    graph = graph.compile(checkpointer=InMemorySaver())
    desk = Desk().hold()
    config = config_of("t")
    async with memory(graph, desk.bridge()) as runner:
        call = asyncio.create_task(runner.ainvoke({}, config))
        await within(desk.submitted.wait())
        pending = (await graph.aget_state(config)).interrupts
        [human] = [each for each in pending if not batch_bridge.is_bridge_interrupt(each)]
        await graph.ainvoke(Command(resume={human.id: "yes"}), config)
        desk.let_go()
        result = await within(call)
    assert sorted(result["out"]) == ["a!", "yes"]
    assert desk.batches == [["a"]]


async def test_a_thread_that_somebody_else_has_ended_is_returned_as_it_is():
    async def node(state):
        return {"out": [await wait("a")]}

    graph = one_node(node).compile(checkpointer=InMemorySaver())
    desk = Desk().hold()
    config = config_of("t")
    async with memory(graph, desk.bridge()) as runner:
        call = asyncio.create_task(runner.ainvoke({}, config))
        await within(desk.submitted.wait())
        address, [request] = asked({"__interrupt__": (await graph.aget_state(config)).interrupts})
        await graph.ainvoke(Command(resume={address: envelope(**{request["id"]: "theirs"})}), config)
        desk.let_go()
        result = await within(call)
    assert result["out"] == ["theirs"]


# -- pending waits --------------------------------------------------------------------------------------------------


def open_waits():
    gc.collect()
    return len(_pending_waits._pending)


async def test_pending_do_not_leak_whatever_becomes_of_their_runs():
    before = open_waits()
    serial = iter(range(10_000))

    async def node(state):
        kind = state["x"]
        answer = await asyncio.gather(wait("a"), wait("b"))
        if kind == "fails":
            raise ValueError("mine")
        if kind == "hangs":
            hanging.set()
            await asyncio.Event().wait()
        if kind == "asks again":
            await wait(f"bad {next(serial)}", key="k")
        return {"out": answer}

    hanging = asyncio.Event()
    desk = Desk(lambda item: ValueError("no") if item.startswith("bad") else item)
    graph = one_node(node, retry_policy=RetryPolicy(initial_interval=0.001, jitter=False, max_attempts=2))
    kinds = ["ends", "fails", "asks again", "ends"] * 45
    async with memory(graph, desk.bridge()) as runner:
        results = await within(runner.abatch([{"x": each} for each in kinds], return_exceptions=True))
        assert sum(isinstance(each, Exception) for each in results) == 90
        call = asyncio.create_task(runner.abatch([{"x": "hangs"}] * 20))
        await within(hanging.wait())
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
        del results, call
    assert open_waits() == before == 0


async def test_pending_of_nodes_that_are_refused_do_not_leak():
    before = open_waits()
    serial = iter(range(100))

    async def node(state):
        return {"out": [await wait(f"r{next(serial)}")]}

    desk = Desk()
    async with memory(one_node(node), desk.bridge()) as runner:
        runner._opened.session.grace = 0.1
        [error] = await within(runner.abatch([{}], return_exceptions=True))
    assert isinstance(error, NondeterministicNodeError)
    del error
    assert open_waits() == before == 0


async def test_a_sibling_that_outlives_its_parked_node_finds_a_closed_box_and_opens_nothing():
    gate, ended = asyncio.Event(), asyncio.Event()
    stopped = []

    async def straggler():
        await gate.wait()
        try:
            await wait("late")
        except BaseException as error:
            stopped.append(type(error).__name__)
            raise
        finally:
            ended.set()

    async def node(state):
        lagging = asyncio.ensure_future(straggler())
        lagging.add_done_callback(lambda each: each.cancelled() or each.exception())
        return {"out": [(await asyncio.gather(wait("early"), lagging))[0]]}

    graph = one_node(node).compile(checkpointer=InMemorySaver())
    config = config_of("t")
    _, [early] = asked(await graph.ainvoke({}, config))
    gate.set()
    await within(ended.wait())
    assert stopped == ["ParkedInterrupt"]  # LangGraph's, without what is asked in its text
    [pending] = (await graph.aget_state(config)).interrupts
    assert pending.value["requests"] == [early]


async def test_waits_of_a_node_that_has_parked_are_all_in_its_interrupt():
    """What LangGraph persists is what was open when the node parked: nothing is opened behind its back."""

    async def node(state):
        return {"out": await asyncio.gather(*(wait(each) for each in "abc"))}

    graph = one_node(node).compile(checkpointer=InMemorySaver())
    _, requests = asked(await graph.ainvoke({}, config_of("t")))
    _, saved = asked({"__interrupt__": (await graph.aget_state(config_of("t"))).interrupts})
    assert [each["item"] for each in saved] == ["a", "b", "c"]
    assert saved == requests
