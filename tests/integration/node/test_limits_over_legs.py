"""To its user a thread runs once: limits, and what is in no checkpoint, hold over all runs that a bridge resumes it with.

The measure is the same graph answered at once.
"""

import asyncio
import operator
from typing import Annotated, Any, NotRequired, TypedDict

import pytest
from helpers import TIMEOUT, Desk, config_of, memory, within
from langchain.agents import create_agent
from langchain.agents.middleware import ModelCallLimitMiddleware, ToolCallLimitMiddleware
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langgraph.channels.untracked_value import UntrackedValue
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.errors import GraphRecursionError
from langgraph.graph import END, START, StateGraph
from langgraph.managed import IsLastStep, RemainingSteps
from langgraph.types import Command, interrupt
from pydantic import Field

from batch_bridge import Runner, wait, wait_sync
from batch_bridge.errors import LostStateError


class State(TypedDict, total=False):
    seen: Annotated[list, operator.add]
    left: RemainingSteps
    last: IsLastStep
    count: NotRequired[Annotated[int, UntrackedValue]]
    thing: NotRequired[Annotated[Any, UntrackedValue]]


async def at_once(item):
    return f"{item}!"


def looping(ask, until=None):
    """A graph that asks for ever, or until it has asked so often."""

    async def step(state):
        n = len(state.get("seen", ()))
        said = await ask(f"{n}")
        return {
            "seen": [[said, state["left"], state["last"], state.get("count")]],
            "count": (state.get("count") or 0) + 1,
        }

    def more(state):
        return END if until is not None and len(state["seen"]) >= until else "step"

    return StateGraph(State).add_node(step).add_edge(START, "step").add_conditional_edges("step", more)


def nested(ask, until=None):
    """The same in a subgraph, between nodes of a parent that ask too."""

    async def before(state):
        return {"seen": [await ask("before")]}

    graph = StateGraph(State).add_node(before).add_node("inner", looping(ask, until).compile())
    return graph.add_edge(START, "before").add_edge("before", "inner").add_edge("inner", END)


async def ended(call):
    try:
        return await within(call)
    except GraphRecursionError as error:
        return type(error)


@pytest.mark.parametrize("make", [looping, nested])
@pytest.mark.parametrize("limit", [1, 3, 7, 25])
@pytest.mark.parametrize("until", [None, 4])
async def test_steps_are_counted_as_if_the_answers_came_at_once(make, limit, until):
    config = {**config_of("t"), "recursion_limit": limit}
    plain = make(at_once, until).compile(checkpointer=InMemorySaver())
    expected = await ended(plain.ainvoke({}, config))
    expected_state = (await plain.aget_state(config)).values
    desk, saver = Desk(), InMemorySaver()
    async with memory(make(wait, until).compile(checkpointer=saver), desk.bridge()) as runner:
        assert await ended(runner.ainvoke({}, config)) == expected
    state = (await make(wait, until).compile(checkpointer=saver).aget_state(config)).values
    assert state == expected_state


async def test_a_new_turn_and_a_humans_answer_begin_again():
    async def node(state):
        said = await wait("a")
        answer = interrupt("go on?")
        return {"seen": [[said, answer, await wait("b"), state["left"], state.get("count")]], "count": 1}

    def plain_node(state):
        answer = interrupt("go on?")
        return {"seen": [["a!", answer, "b!", state["left"], state.get("count")]], "count": 1}

    config = {**config_of("t"), "recursion_limit": 9}
    plain = StateGraph(State).add_node("node", plain_node).add_edge(START, "node").compile(checkpointer=InMemorySaver())
    graph = StateGraph(State).add_node("node", node).add_edge(START, "node")
    async with memory(graph, Desk().bridge()) as runner:
        for turn in (1, 2):
            await plain.ainvoke({"seen": [turn]}, config)
            (question,) = (await within(runner.ainvoke({"seen": [turn]}, config)))["__interrupt__"]
            expected = await plain.ainvoke(Command(resume="yes"), config)
            assert await within(runner.ainvoke(Command(resume={question.id: "yes"}), config)) == expected


class Agent(BaseChatModel):
    """A model that calls its tool for ever, through a bridge or at once."""

    batched: bool = False
    calls: list = Field(default_factory=list)

    @property
    def _llm_type(self):
        return "agent"

    def bind_tools(self, tools, **kwargs):
        return self

    def _generate(self, messages, stop=None, run_manager=None, **kwargs):
        if self.batched:
            wait_sync(f"{len(messages)}")
        self.calls.append(len(messages))
        call = {"name": "search", "args": {"q": "x"}, "id": f"c{len(messages)}", "type": "tool_call"}
        return ChatResult(generations=[ChatGeneration(message=AIMessage("", tool_calls=[call]))])


def search(q: str) -> str:
    """Search."""
    return "nothing"


LIMITS = [
    (ModelCallLimitMiddleware, {"run_limit": 3, "exit_behavior": "end"}),
    (ToolCallLimitMiddleware, {"run_limit": 3, "exit_behavior": "end"}),
]


@pytest.mark.parametrize(("middleware", "options"), LIMITS, ids=["model calls", "tool calls"])
async def test_an_agents_limits_hold_over_its_waits(middleware, options):
    said = []
    for is_batched in (False, True):
        model, desk = Agent(batched=is_batched, calls=[]), Desk()
        agent = create_agent(model, tools=[search], middleware=[middleware(**options)], checkpointer=InMemorySaver())
        async with memory(agent, desk.bridge()) as runner:
            result = await within(runner.ainvoke({"messages": [("user", "go")]}, config_of("t")), TIMEOUT * 2)
        said.append((len(model.calls), [(each.type, each.content) for each in result["messages"]]))
    assert said[0] == said[1]


class Thing:
    """What no checkpoint holds."""


def holding():
    async def make(state):
        return {"thing": Thing(), "count": 5}

    async def use(state):
        await wait("a")
        await wait("b")
        return {"seen": [type(state.get("thing")).__name__, state.get("count")]}

    graph = StateGraph(State).add_node(make).add_node(use)
    return graph.add_edge(START, "make").add_edge("make", "use").add_edge("use", END)


async def test_what_is_in_no_checkpoint_survives_a_wait_in_the_process():
    async with memory(holding(), Desk().bridge()) as runner:
        assert (await within(runner.ainvoke({})))["seen"] == ["Thing", 5]


async def test_after_a_restart_the_thread_says_that_it_is_gone(tmp_path):
    desk = Desk().hold()
    async with Runner(holding(), desk.bridge(), path=tmp_path / "run.db", progress=False) as runner:
        running = asyncio.create_task(runner.abatch([{}], run_id="r"))
        await within(desk.submitted.wait())
        running.cancel()
    desk.let_go()
    async with Runner(holding(), desk.bridge(), path=tmp_path / "run.db", progress=False) as runner:
        with pytest.raises(LostStateError, match=r"'thing'.*ordinary channel"):
            await within(runner.abatch([{}], run_id="r"))


async def test_counters_and_steps_hold_over_a_restart(tmp_path):
    config = [{"recursion_limit": 6}]
    desk = Desk().hold()
    async with Runner(looping(wait), desk.bridge(), path=tmp_path / "run.db", progress=False) as runner:
        running = asyncio.create_task(runner.abatch([{}], config, run_id="r"))
        await within(desk.submitted.wait())
        running.cancel()
    desk.let_go()
    async with Runner(looping(wait), desk.bridge(), path=tmp_path / "run.db", progress=False) as runner:
        with pytest.raises(GraphRecursionError):
            await within(runner.abatch([{}], config, run_id="r"))
    assert desk.requests == ["0", "1", "2", "3", "4", "5"]
