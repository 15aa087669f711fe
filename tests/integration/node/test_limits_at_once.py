"""Limits of one input hold over all the runs that we make of it: each graph ends as it does when it is answered at once."""

import pytest
from at_once import AtOnce, Holding, State, Thing, as_nodes, both, ended, loop, nested, same, waits_in_turn
from helpers import Desk, config_of, memory, within
from langchain.agents import create_agent
from langchain.agents.middleware import ModelCallLimitMiddleware, ToolCallLimitMiddleware
from langchain_parts import chat, fresh, look_up, runner
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.errors import GraphRecursionError
from langgraph.func import entrypoint, task
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.types import Command, RetryPolicy, interrupt

from batch_bridge import wait, wait_sync
from batch_bridge.langchain import batched
from batch_bridge.testing import BatchServer


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


async def test_waits_of_one_node_are_one_step():
    plain, batched = await both(waits_in_turn, {}, recursion_limit=3)
    assert plain[0][0][0] == "GraphRecursionError"
    same(plain, batched)


@pytest.mark.parametrize(
    ("inner", "outer", "limit", "inner_limit"),
    [(3, 3, 5, None), (5, 1, 3, None), (1, 9, 4, None), (4, 3, 5, None), (9, 2, 20, 4), (6, 2, 4, 9), (2, 2, 2, None)],
)
async def test_subgraphs_count_their_own_steps(inner, outer, limit, inner_limit):
    same(*await both(nested(inner, outer, inner_limit), {}, recursion_limit=limit))


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


async def test_a_replay_has_limits_of_its_own():
    """From an earlier checkpoint, as LangGraph counts it."""
    found = []
    settings = {**config_of("one"), "recursion_limit": 6}
    ask, desk = AtOnce(), Desk()
    for make, host in ((ask, None), (wait, desk)):
        graph = loop(5)(make).compile(checkpointer=InMemorySaver())
        async with memory(graph, Desk().bridge() if host is None else host.bridge()) as runner:
            driven = graph if host is None else runner
            await within(driven.ainvoke({}, settings))
            history = [each async for each in graph.aget_state_history(settings)]
            (earlier,) = [each.config for each in history if len(each.values.get("out") or ()) == 2]
            again = {**settings, "configurable": {**settings["configurable"], **earlier["configurable"]}}
            found.append(await within(driven.ainvoke(None, again)))
    assert found[0] == found[1]


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


@pytest.mark.sampled(most=2)
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
