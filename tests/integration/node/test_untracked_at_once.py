"""Values that no checkpoint holds are after a wait what they were before it, as if the answer had been there at once."""

import asyncio
import operator
from typing import Annotated, Any

import pytest
from at_once import AtOnce, Holding, State, Thing, as_nodes, both, ended, loop, nested, same, waits_in_turn
from helpers import Desk, config_of, memory, within
from langgraph.channels import UntrackedValue
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.errors import GraphRecursionError
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, Send, interrupt
from typing_extensions import TypedDict

from batch_bridge import wait
from batch_bridge.errors import LostStateError

# -- untracked values ----------------------------------------------------------------------------------------------


def counts(ask):
    """A node that counts its own turns, and ends after three."""

    async def node(state: Holding):
        runs = state.get("runs") or 0
        return {"out": [await ask(f"turn {runs}")], "runs": runs + 1}

    graph = StateGraph(Holding).add_node("node", node).add_edge(START, "node")
    return graph.add_conditional_edges("node", lambda state: "node" if state["runs"] < 3 else END)


async def test_a_counter_of_one_s_own_ends_a_loop():
    plain, batched = await both(counts, {}, recursion_limit=8)
    assert [len(each[0]["out"]) for each in plain[0]] == [3]
    same(plain, batched)


def holds(ask):
    """A node makes a thing, one waits with it, one reads it."""

    async def make(state: Holding):
        return {"thing": Thing("one"), "runs": 1}

    async def use(state: Holding):
        first = await ask(f"with {state['thing'].name}")
        return {"out": [first, await ask(f"again {state['thing'].name}")]}

    async def read(state: Holding):
        return {"out": [state["thing"].name, state["runs"]]}

    graph = StateGraph(Holding).add_node(make).add_node(use).add_node(read)
    return graph.add_edge(START, "make").add_edge("make", "use").add_edge("use", "read")


async def test_a_thing_survives_a_wait():
    same(*await both(holds, {}))


async def test_a_thing_survives_a_wait_in_a_subgraph():
    """The outer graph has one of its own, and gives it to nobody: LangGraph itself writes a subgraph's input down."""

    class Outer(TypedDict, total=False):
        out: Annotated[list, operator.add]
        other: Annotated[Any, UntrackedValue]

    def make(ask):
        inner = holds(ask).compile()

        async def begin(state: Outer):
            return {"other": Thing("outer")}

        async def call(state: Outer):
            return {"out": (await inner.ainvoke({}))["out"]}

        async def read(state: Outer):
            return {"out": [state["other"].name]}

        graph = StateGraph(Outer).add_node(begin).add_node(call).add_node(read)
        return graph.add_edge(START, "begin").add_edge("begin", "call").add_edge("call", "read")

    same(*await both(make, {}))


def beside(ask):
    """Of two that run side by side one waits, the other sets an untracked value; one of them at the graph's end."""

    async def first(state: Holding):
        return {"out": [await ask("a"), await ask("b")]}

    async def second(state: Holding):
        return {"out": ["second"], "thing": Thing("set")}

    async def third(state: Holding):
        return {"runs": 7}

    async def read(state: Holding):
        return {"out": [state["thing"].name, state["runs"]]}

    graph = StateGraph(Holding)
    for node in (first, second, third, read):
        graph.add_node(node)
    graph.add_edge(START, "first").add_edge(START, "second").add_edge(START, "third")
    return graph.add_edge(["first", "second"], "read")


async def test_what_a_sibling_of_a_wait_has_set_survives():
    same(*await both(beside, {}))


def late(ask):
    """As `beside`, but the sibling ends after the other one has parked."""

    async def first(state: Holding):
        return {"out": [await ask("a")]}

    async def second(state: Holding):
        for _ in range(50):
            await asyncio.sleep(0)
        ran.append(1)
        return {"thing": Thing("set"), "runs": 7}

    async def read(state: Holding):
        return {"out": [state["thing"].name, state["runs"], len(ran)]}

    ran = []
    graph = StateGraph(Holding).add_node(first).add_node(second).add_node(read)
    return graph.add_edge(START, "first").add_edge(START, "second").add_edge("first", "read")


async def test_what_a_slow_sibling_of_a_wait_has_set_survives():
    same(*await both(late, {}))


def sends(ask):
    """What is sent to a node holds untracked values."""

    async def node(state: Holding):
        return {"out": [await ask(f"{state['n']} {state['thing'].name} {state['runs']}")]}

    async def more(state: Holding):
        return {"out": [await ask("more")]}

    def send(state):
        return [Send("node", {"n": i, "thing": Thing(f"thing {i}"), "runs": i * i}) for i in range(3)]

    async def start(state: Holding):
        return {"out": ["start"]}

    graph = StateGraph(Holding).add_node("start", start).add_node("node", node).add_node("more", more)
    graph.add_edge(START, "start").add_edge(START, "more")
    return graph.add_conditional_edges("start", send, ["node"])


async def test_what_is_sent_to_a_node_survives():
    same(*await both(sends, {}))


@pytest.mark.parametrize("durability", ["sync", "async", "exit"])
@pytest.mark.parametrize("make", [counts, beside, sends])
async def test_each_durability_holds_what_was_set(make, durability):
    if make is not counts and durability == "exit":
        pytest.skip("LangGraph itself writes an untracked write down there")
    ask, desk = AtOnce(), Desk()
    expected = await make(ask).compile(checkpointer=InMemorySaver()).ainvoke({}, config_of("one"))
    async with memory(make(wait), desk.bridge()) as runner:
        found = await within(runner.ainvoke({}, config_of("one"), durability=durability))
    assert found == expected
    assert sorted(desk.requests) == sorted(ask.requests)


def beside_a_human(ask):
    """A wait and a human's question side by side, each with state that was set before, and a node after both."""

    async def begin(state: Holding):
        return {"thing": Thing("before"), "runs": 3}

    async def waits(state: Holding):
        first = await ask(f"a {state['thing'].name}")
        return {"out": [first, await ask(f"b {state['runs']}")]}

    async def human(state: Holding):
        return {"out": [interrupt("go on?")]}

    async def read(state: Holding):
        return {"out": [state.get("thing"), state.get("runs"), await ask("last")]}

    graph = StateGraph(Holding)
    for node in (begin, waits, human, read):
        graph.add_node(node)
    graph.add_edge(START, "begin").add_edge("begin", "waits").add_edge("begin", "human")
    return graph.add_edge(["waits", "human"], "read")


def nested_beside_a_human(ask):
    return StateGraph(Holding).add_node("inner", beside_a_human(ask).compile()).add_edge(START, "inner")


@pytest.mark.parametrize("make", [beside_a_human, nested_beside_a_human])
async def test_a_wait_beside_a_human_finds_the_state_that_it_began_with(make):
    """The human answers first; what was set before is gone when both have ended, as it is in LangGraph."""
    ask, desk = AtOnce(), Desk().hold()
    plain = make(ask).compile(checkpointer=InMemorySaver())
    paused = await plain.ainvoke({}, config_of("one"))
    try:
        expected = await plain.ainvoke(Command(resume={paused["__interrupt__"][0].id: "yes"}), config_of("one"))
    except KeyError:
        pytest.skip("this LangGraph runs what has ended in a subgraph again, without its state")
    batched = make(wait).compile(checkpointer=InMemorySaver())
    async with memory(batched, desk.bridge()) as runner:
        running = asyncio.create_task(runner.ainvoke({}, config_of("one")))
        await within(desk.submitted.wait())
        running.cancel()
        await asyncio.wait((running,))
        pending = (await batched.aget_state(config_of("one"))).interrupts
        (question,) = [each.id for each in pending if each.value == "go on?"]
        desk.let_go()
        found = await within(runner.ainvoke(Command(resume={question: "yes"}), config_of("one")))
    assert found == expected
    assert sorted(desk.requests) == sorted(ask.requests)


# -- another process ----------------------------------------------------------------------------------------------


async def stopped(make, desk, path, **config):
    """Run a graph until it has sent something, and stop the Runner."""
    async with memory(make(wait), desk.bridge(), path=path) as runner:
        running = asyncio.create_task(runner.ainvoke({}, {**config_of("one"), **config}))
        await within(desk.submitted.wait())
        running.cancel()
        await asyncio.wait((running,))


@pytest.mark.parametrize("make", [counts, loop(99), nested(3, 9), as_nodes, waits_in_turn])
async def test_limits_and_counters_hold_over_a_restart(make, tmp_path):
    """Each answer is taken by a new Runner."""
    ask = AtOnce()
    expected = await ended(
        make(ask).compile(checkpointer=InMemorySaver()).ainvoke({}, {"recursion_limit": 4, **config_of("one")})
    )
    desk, found = Desk(), None
    for _ in range(40):
        desk.hold().submitted.clear()
        async with memory(make(wait), desk.bridge(), path=tmp_path / "run.db") as runner:
            running = asyncio.create_task(ended(runner.ainvoke({}, {"recursion_limit": 4, **config_of("one")})))
            sent = asyncio.create_task(desk.submitted.wait())
            desk.let_go()
            await within(asyncio.wait((running, sent), return_when=asyncio.FIRST_COMPLETED))
            sent.cancel()
            if running.done():
                found = running.result()
                break
            running.cancel()
            await asyncio.wait((running,))
    assert found == expected
    assert sorted(desk.requests) == sorted(ask.requests)


@pytest.mark.parametrize(("make", "node"), [(holds, "use"), (beside, "first"), (sends, "start"), (late, "second")])
async def test_a_thread_that_has_lost_its_state_says_so(make, node, tmp_path):
    desk, path = Desk().hold(), tmp_path / "run.db"
    await stopped(make, desk, path)
    desk.let_go()
    async with memory(make(wait), desk.bridge(), path=path) as runner:
        with pytest.raises(LostStateError, match="another run_id") as lost:
            await within(runner.ainvoke({}, config_of("one")))
    assert (lost.value.thread_id, lost.value.channels) == ("one", ("thing",))
    assert node in lost.value.node


async def test_a_thread_that_has_lost_its_state_can_be_given_it_again(tmp_path):
    desk, path = Desk().hold(), tmp_path / "run.db"
    await stopped(holds, desk, path)
    desk.let_go()
    async with memory(holds(wait), desk.bridge(), path=path) as runner:
        found = await within(runner.ainvoke(Command(update={"thing": Thing("one"), "runs": 5}), config_of("one")))
    assert found["out"] == ["with one!", "again one!", "one", 5]
    assert desk.requests == ["with one", "again one"]


async def test_a_channel_that_was_never_set_is_no_loss(tmp_path):
    def make(ask):
        async def node(state: Holding):
            return {"out": [await ask("a"), state.get("thing")]}

        return StateGraph(Holding).add_node("node", node).add_edge(START, "node")

    desk, path = Desk().hold(), tmp_path / "run.db"
    await stopped(make, desk, path)
    desk.let_go()
    async with memory(make(wait), desk.bridge(), path=path) as runner:
        assert (await within(runner.ainvoke({}, config_of("one"))))["out"] == ["a!", None]


async def test_what_ended_threads_held_is_forgotten():
    desk = Desk()
    async with memory(holds(wait), desk.bridge()) as runner:
        await within(runner.abatch([{}] * 5))
        assert len(runner._opened.session.untracked) == 0


async def test_nothing_of_a_value_is_written_down_but_counters(tmp_path):
    def make(ask):
        async def begin(state: Holding):
            return {"thing": "secret-one", "runs": 12345678}

        async def node(state: Holding):
            return {"out": [await ask("a"), state["thing"]]}

        graph = StateGraph(Holding).add_node(begin).add_node(node)
        return graph.add_edge(START, "begin").add_edge("begin", "node")

    desk, path = Desk().hold(), tmp_path / "run.db"
    await stopped(make, desk, path)
    written = b"".join(each.read_bytes() for each in tmp_path.iterdir())
    assert b"secret-one" not in written


# -- a process that ends while a thread runs ------------------------------------------------------------------------


def interrupted_between(ask, gate):
    """A turn that waits, then one that a test stops in the middle, and so on."""

    async def node(state: State):
        runs = state.get("runs") or 0
        return {"out": [[await ask(f"turn {runs}"), state["left"], runs]], "runs": runs + 1}

    async def between(state: State):
        await gate()
        return {"out": [[state["left"], state["runs"]]]}

    graph = StateGraph(State).add_node("node", node).add_node("between", between).add_edge(START, "node")
    return graph.add_edge("node", "between").add_edge("between", "node")


async def test_limits_and_counters_hold_where_a_process_ends_in_the_middle_of_a_run(tmp_path):
    settings = {**config_of("one"), "recursion_limit": 7}

    async def passes():
        pass

    ask = AtOnce()
    whole = interrupted_between(ask, passes).compile(checkpointer=InMemorySaver())
    with pytest.raises(GraphRecursionError):
        await whole.ainvoke({}, settings)
    expected = (await whole.aget_state(settings)).values
    desk, reached = Desk(), asyncio.Event()

    async def stops():
        reached.set()
        await asyncio.Event().wait()

    for _ in range(2):  # the second time it is stopped at the same place
        reached.clear()
        async with memory(interrupted_between(wait, stops), desk.bridge(), path=tmp_path / "run.db") as runner:
            running = asyncio.create_task(runner.ainvoke({}, settings))
            await within(reached.wait())
            running.cancel()
            await asyncio.wait((running,))
    async with memory(interrupted_between(wait, passes), desk.bridge(), path=tmp_path / "run.db") as runner:
        with pytest.raises(GraphRecursionError):
            await within(runner.ainvoke({}, settings))
        found = (await runner._opened.session.graph.aget_state(settings)).values
    assert found == expected
    assert desk.requests == ask.requests


async def test_a_thread_that_was_stopped_between_two_waits_says_what_it_has_lost(tmp_path):
    reached = asyncio.Event()

    def make(ask):
        async def begin(state: Holding):
            return {"thing": Thing(await ask("a"))}

        async def use(state: Holding):
            reached.set()
            await asyncio.Event().wait()

        return StateGraph(Holding).add_node(begin).add_node(use).add_edge(START, "begin").add_edge("begin", "use")

    desk, path = Desk(), tmp_path / "run.db"
    async with memory(make(wait), desk.bridge(), path=path) as runner:
        running = asyncio.create_task(runner.ainvoke({}, config_of("one")))
        await within(reached.wait())
        running.cancel()
        await asyncio.wait((running,))
    async with memory(make(wait), desk.bridge(), path=path) as runner:
        with pytest.raises(LostStateError, match="thing"):
            await within(runner.ainvoke({}, config_of("one")))
