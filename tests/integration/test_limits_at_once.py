"""Limits of one input hold over all the runs that we make of it: each graph ends as it does when it is answered at once."""

import asyncio
import operator
from typing import Annotated, Any

import pytest
from helpers import TIMEOUT, Desk, config_of, memory, within
from langchain.agents import create_agent
from langchain.agents.middleware import ModelCallLimitMiddleware, ToolCallLimitMiddleware
from langchain_parts import chat, fresh, look_up, runner
from langgraph.channels import UntrackedValue
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.errors import GraphRecursionError
from langgraph.func import entrypoint, task
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.managed import IsLastStep, RemainingSteps
from langgraph.types import Command, RetryPolicy, Send, interrupt
from typing_extensions import TypedDict

from batch_bridge import wait, wait_sync
from batch_bridge.errors import LostStateError
from batch_bridge.langchain import batched
from batch_bridge.testing import BatchServer


class State(TypedDict, total=False):
    out: Annotated[list, operator.add]
    runs: Annotated[int, UntrackedValue]
    left: RemainingSteps
    last: IsLastStep


class AtOnce:
    """Answers at once, and counts."""

    def __init__(self):
        self.requests = []

    async def __call__(self, item):
        self.requests.append(item)
        return f"{item}!"


async def ended(running):
    """What a thread ends with, or the kind of its exception."""
    try:
        return await within(running, TIMEOUT)
    except Exception as error:
        return type(error).__name__


async def both(make, *turns, **config):
    """Run a graph's turns with answers at once, and with answers from batches: ends, requests, and state after each."""
    ask, desk = AtOnce(), Desk()
    plain = make(ask).compile(checkpointer=InMemorySaver())
    settings = {**config_of("one"), **config}
    expected = [
        (await ended(plain.ainvoke(turn, settings)), (await plain.aget_state(settings)).values) for turn in turns
    ]
    saver = InMemorySaver()
    batched = make(wait).compile(checkpointer=saver)
    async with memory(batched, desk.bridge()) as runner:
        found = [
            (await ended(runner.ainvoke(turn, settings)), (await batched.aget_state(settings)).values) for turn in turns
        ]
    return (expected, sorted(ask.requests)), (found, sorted(desk.requests))


def same(plain, batched):
    """Ends and requests are the same, but for ids of interrupts."""
    assert _bare(batched) == _bare(plain)


def _bare(value):
    if isinstance(value, dict):
        return {key: _bare(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_bare(each) for each in value]
    return getattr(value, "value", value)


def loop(most=1000):
    """A node that asks, and is followed by itself `most` times."""

    def make(ask):
        async def node(state: State):
            said = await ask(f"turn {len(state.get('out', []))}")
            return {"out": [[said, state["left"], state["last"]]]}

        graph = StateGraph(State).add_node("node", node).add_edge(START, "node")
        return graph.add_conditional_edges("node", lambda state: "node" if len(state["out"]) < most else END)

    return make


async def test_an_endless_loop_ends_with_the_recursion_limit():
    plain, batched = await both(loop(), {}, recursion_limit=5)
    assert plain[0][0][0] == "GraphRecursionError"
    same(plain, batched)


@pytest.mark.parametrize("limit", range(1, 6))
@pytest.mark.parametrize("most", range(1, 6))
async def test_each_limit_and_length_end_as_they_do_at_once(limit, most):
    """A thread that parks in its last step, or the last but one, has fewer steps left than a limit may be."""
    same(*await both(loop(most), {}, recursion_limit=limit))


async def test_a_new_input_starts_the_limit_again():
    plain, batched = await both(loop(3), {}, {"out": []}, {}, recursion_limit=4)
    same(plain, batched)


def waits_in_turn(ask):
    """Several waits in one node are several runs of one step."""

    async def node(state: State):
        return {"out": [await ask(f"{len(state.get('out', []))} {i}") for i in range(4)]}

    return StateGraph(State).add_node("node", node).add_edge(START, "node").add_edge("node", "node")


async def test_waits_of_one_node_are_one_step():
    plain, batched = await both(waits_in_turn, {}, recursion_limit=3)
    assert plain[0][0][0] == "GraphRecursionError"
    same(plain, batched)


def nested(inner_most, outer_most, inner_limit=None):
    """A loop around a loop; each invocation of the inner one has its own steps."""

    def make(ask):
        inner = loop(inner_most)(ask).compile()
        if inner_limit is not None:
            inner = inner.with_config(recursion_limit=inner_limit)

        async def call(state: State):
            found = await inner.ainvoke({"out": []})
            return {"out": [(len(found["out"]), found["out"], state["left"])]}

        graph = StateGraph(State).add_node("call", call).add_edge(START, "call")
        return graph.add_conditional_edges("call", lambda state: "call" if len(state["out"]) < outer_most else END)

    return make


@pytest.mark.parametrize(
    ("inner", "outer", "limit", "inner_limit"),
    [(3, 3, 5, None), (5, 1, 3, None), (1, 9, 4, None), (4, 3, 5, None), (9, 2, 20, 4), (6, 2, 4, 9), (2, 2, 2, None)],
)
async def test_subgraphs_count_their_own_steps(inner, outer, limit, inner_limit):
    same(*await both(nested(inner, outer, inner_limit), {}, recursion_limit=limit))


def as_nodes(ask):
    """A subgraph as a node of a loop, and one inside of that."""
    innermost = loop(2)(ask).compile()
    middle = StateGraph(State).add_node("innermost", innermost).add_node("more", loop(99)(ask).nodes["node"].runnable)
    middle.add_edge(START, "innermost").add_edge("innermost", "more")
    graph = StateGraph(State).add_node("middle", middle.compile()).add_edge(START, "middle")
    return graph.add_conditional_edges("middle", lambda state: "middle" if len(state["out"]) < 12 else END)


@pytest.mark.parametrize("limit", [2, 3, 4, 6])
async def test_subgraphs_as_nodes_count_their_own_steps(limit):
    same(*await both(as_nodes, {}, recursion_limit=limit))


def asks_a_human(ask):
    """Two turns of a loop, a human, and the loop again."""

    async def node(state: State):
        runs = state.get("runs") or 0
        said = await ask(f"turn {len(state.get('out', []))}")
        return {"out": [(said, runs, state["left"])], "runs": runs + 1}

    def human(state: State):
        return {"out": [(interrupt("go on?"), state.get("runs"), state["left"])]}

    def after(state):
        return "human" if len(state["out"]) in {2, 5} else "node" if len(state["out"]) < 30 else END

    graph = StateGraph(State).add_node("node", node).add_node("human", human).add_edge(START, "node")
    return graph.add_conditional_edges("node", after).add_edge("human", "node")


async def test_a_human_s_answer_starts_limits_and_counters_again():
    yes = Command(resume="yes")
    plain, batched = await both(asks_a_human, {}, yes, yes, recursion_limit=6)
    assert plain[0][2][0] == "GraphRecursionError"
    same(plain, batched)


# -- untracked values ----------------------------------------------------------------------------------------------


class Thing:
    """What no checkpoint could hold."""

    def __init__(self, name):
        self.name = name

    def __reduce__(self):
        raise TypeError("a Thing was written down")

    def __eq__(self, other):
        return isinstance(other, Thing) and other.name == self.name

    __hash__ = None


class Holding(TypedDict, total=False):
    out: Annotated[list, operator.add]
    thing: Annotated[Any, UntrackedValue]
    runs: Annotated[int, UntrackedValue]
    n: int


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
    expected = await plain.ainvoke(Command(resume={paused["__interrupt__"][0].id: "yes"}), config_of("one"))
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


# -- other shapes ---------------------------------------------------------------------------------------------------


def stateful(ask):
    """A subgraph that keeps its state from one call to the next."""
    inner = loop(2)(ask).compile(checkpointer=True)

    async def call(state: State):
        found = await inner.ainvoke({"out": []})
        return {"out": [[len(found["out"]), state["left"]]]}

    graph = StateGraph(State).add_node("call", call).add_edge(START, "call")
    return graph.add_conditional_edges("call", lambda state: "call" if len(state["out"]) < 9 else END)


@pytest.mark.parametrize("limit", [2, 3, 5])
async def test_a_subgraph_that_keeps_its_state_counts_its_steps(limit):
    same(*await both(stateful, {}, recursion_limit=limit))


def in_sync_nodes(ask):
    def node(state: State):
        said = ask(f"turn {len(state.get('out', []))}")
        return {"out": [[said, state["left"], state.get("runs")]], "runs": (state.get("runs") or 0) + 1}

    return StateGraph(State).add_node("node", node).add_edge(START, "node").add_edge("node", "node")


async def test_nodes_that_are_not_async_are_limited():
    asked, desk, settings = [], Desk(), {**config_of("one"), "recursion_limit": 4}
    plain = in_sync_nodes(lambda item: asked.append(item) or f"{item}!").compile(checkpointer=InMemorySaver())
    batched = in_sync_nodes(wait_sync).compile(checkpointer=InMemorySaver())
    with pytest.raises(GraphRecursionError):
        plain.invoke({}, settings)
    async with memory(batched, desk.bridge()) as runner:
        with pytest.raises(GraphRecursionError):
            await within(runner.ainvoke({}, settings))
    assert desk.requests == asked
    assert (await batched.aget_state(settings)).values == plain.get_state(settings).values


def functional(ask):
    """An entrypoint that calls a graph, whose steps are limited, and a task."""
    inner = loop(9)(ask).compile()

    @task
    async def one(i):
        return await ask(f"task {i}")

    async def main(state):
        first = [await one(i) for i in range(3)]
        return [*first, (await inner.ainvoke({}))["out"]]

    return main


@pytest.mark.parametrize("limit", [4, 20])
async def test_a_graph_in_an_entrypoint_is_limited(limit):
    ask, desk, settings = AtOnce(), Desk(), {**config_of("one"), "recursion_limit": limit}
    plain = entrypoint(checkpointer=InMemorySaver())(functional(ask))
    expected = await ended(plain.ainvoke({}, settings))
    async with memory(entrypoint(checkpointer=InMemorySaver())(functional(wait)), desk.bridge()) as runner:
        assert await ended(runner.ainvoke({}, settings)) == expected
    assert sorted(desk.requests) == sorted(ask.requests)


async def test_a_thread_that_failed_begins_its_steps_again_when_it_is_run_again():
    """As `ainvoke(None)` does: so that a higher limit helps."""
    desk, ask = Desk(), AtOnce()
    plain = loop(5)(ask).compile(checkpointer=InMemorySaver())
    low, high = ({**config_of("one"), "recursion_limit": limit} for limit in (3, 4))
    with pytest.raises(GraphRecursionError):
        await plain.ainvoke({}, low)
    expected = await plain.ainvoke(None, high)
    async with memory(loop(5)(wait), desk.bridge()) as runner:
        with pytest.raises(GraphRecursionError):
            await within(runner.ainvoke({}, low))
        assert await within(runner.ainvoke({}, high)) == expected


async def test_a_node_that_is_retried_has_its_state():
    def make(ask):
        fails = []

        async def begin(state: Holding):
            return {"thing": Thing("one"), "runs": 1}

        async def node(state: Holding):
            said = await ask("a")
            if not fails:
                fails.append(1)
                raise ConnectionError("once")
            return {"out": [said, await ask("b"), state["thing"].name, state["runs"]]}

        graph = StateGraph(Holding).add_node(begin).add_node(node, retry_policy=RetryPolicy(initial_interval=0))
        return graph.add_edge(START, "begin").add_edge("begin", "node")

    plain, batched = await both(make, {})
    assert batched[0] == plain[0]


# -- agents ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def server():
    with BatchServer(latency=0, answerer="limits_answers:answer") as running:
        yield running


LIMITS = {
    "model calls": [ModelCallLimitMiddleware(run_limit=3, exit_behavior="end")],
    "model calls, error": [ModelCallLimitMiddleware(run_limit=2, exit_behavior="error")],
    "tool calls": [ToolCallLimitMiddleware(run_limit=2, exit_behavior="end")],
    "tool calls, goes on": [ToolCallLimitMiddleware(run_limit=1), ModelCallLimitMiddleware(run_limit=4)],
}


def _said(messages):
    """What was said; the middleware's own messages get new ids each time."""
    return [(each.type, each.content, getattr(each, "tool_calls", None)) for each in messages]


def _calls(server):
    """How often the model was called: at once, or in batches."""
    return server.stats.realtime + server.stats.requests


@pytest.mark.parametrize(("limits", "inside"), [*((each, False) for each in LIMITS), ("model calls", True)])
async def test_an_agent_s_limits_hold(server, limits, inside):
    """Alone, and as a node of a parent; a second turn has limits of its own."""
    results = []
    for wrapped in (fresh, batched):
        agent = create_agent(wrapped(chat(server)), tools=[look_up], middleware=LIMITS[limits])
        graph = StateGraph(MessagesState).add_node("agent", agent).add_edge(START, "agent") if inside else agent
        server.reset_stats()
        async with runner(graph, server) as running:
            turns = [
                await ended(running.ainvoke({"messages": [("user", said)]}, config_of("one")))
                for said in ("go", "more")
            ]
        ends = [turn if isinstance(turn, str) else _said(turn["messages"]) for turn in turns]
        results.append((ends, _calls(server)))
    assert results[0] == results[1]
    assert 0 < results[0][1] <= 8


async def test_an_agent_s_recursion_limit_holds(server):
    counts = []
    for wrapped in (fresh, batched):
        agent = create_agent(wrapped(chat(server)), tools=[look_up])
        server.reset_stats()
        async with runner(agent, server) as running:
            with pytest.raises(GraphRecursionError):
                await within(
                    running.ainvoke({"messages": [("user", "go")]}, {**config_of("one"), "recursion_limit": 6})
                )
        counts.append(_calls(server))
    assert counts == [3, 3]


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
        assert len(runner._session.untracked) == 0


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
        found = (await runner._session.graph.aget_state(settings)).values
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
