"""A human's answer is for one question: it is never taken again, also if a node waits for a batch in between.

Each graph is run as plain LangGraph runs it, with functions that answer at once, and with waits. Both put the same
questions to the human, as often.
"""

import asyncio
import operator
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, TypedDict

import pytest
from helpers import Desk, State, chain, config_of, memory, one_node, within
from langchain.agents import create_agent
from langchain.agents.middleware import HumanInTheLoopMiddleware
from langchain_core.messages import AIMessage, ToolCall
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.func import entrypoint, task
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, Send, interrupt

from batch_bridge import is_bridge_interrupt, wait, wait_sync

Ask = Callable[[str], Awaitable[str]]
"""What a node asks its model with: `wait`, or a function that answers at once."""


async def at_once(item: str) -> str:
    await asyncio.sleep(0)
    return f"{item}!"


class Human:
    """Answers questions in turn, and keeps them."""

    def __init__(self, *answers: Any, by_id: bool = False) -> None:
        self.questions: list[Any] = []
        self._answers = list(answers)
        self._by_id = by_id

    def reply(self, interrupts: Any) -> Command[Any]:
        assert not any(map(is_bridge_interrupt, interrupts))
        self.questions += [each.value for each in interrupts]
        if self._by_id or len(interrupts) > 1:
            return Command(resume={each.id: self._answers.pop(0) for each in interrupts})
        return Command(resume=self._answers.pop(0))


async def talk(ainvoke: Any, value: Any, human: Human) -> Any:
    """Run a thread to its end; the human answers what is asked."""
    config = config_of("t")
    result = await within(ainvoke(value, config))
    while asked := result.get("__interrupt__"):
        result = await within(ainvoke(human.reply(asked), config))
    return result


async def compare(build: Callable[[Ask], Any], *answers: Any, value: Any = None, **options: Any) -> list[Any]:
    """Run a graph in both ways, assert that they are the same, and return the questions that were put."""
    plainly, batched = Human(*answers, **options), Human(*answers, **options)
    graph = build(at_once)
    graph = graph.compile(checkpointer=InMemorySaver()) if hasattr(graph, "compile") else graph
    wanted = await talk(graph.ainvoke, value or {}, plainly)
    async with memory(build(wait), Desk().bridge()) as runner:
        got = await talk(runner.ainvoke, value or {}, batched)
    assert batched.questions == plainly.questions
    assert got == wanted
    return batched.questions


def in_one_task(ask: Ask) -> Any:
    async def node(state):
        return {"out": [interrupt("A?"), await ask("x"), interrupt("B?"), await ask("y"), interrupt("C?")]}

    return one_node(node)


def in_a_subgraph(ask: Ask) -> Any:
    async def first(state):
        return {"out": [interrupt("A?")]}

    async def second(state):
        return {"out": [await ask("x")]}

    async def third(state):
        return {"out": [interrupt("B?"), await ask("y"), interrupt("C?")]}

    return StateGraph(State).add_node("inner", chain(first, second, third).compile()).add_edge(START, "inner")


def in_branches_of_a_subgraph(ask: Ask) -> Any:
    """The one that asks the human runs before the one that waits."""

    async def opening(state):
        return {"out": [interrupt("A?")]}

    async def asking(state):
        return {"out": [interrupt("B?")]}

    async def waiting(state):
        return {"out": [await ask("x"), await ask("y")]}

    inner = StateGraph(State).add_node(opening).add_node(asking).add_node(waiting).add_edge(START, "opening")
    inner = inner.add_edge("opening", "asking").add_edge("opening", "waiting").compile()
    return StateGraph(State).add_node("inner", inner).add_edge(START, "inner")


def in_a_subgraph_called_by_a_node(ask: Ask) -> Any:
    inner = in_one_task(ask).compile()

    async def node(state):
        return {"out": [interrupt("before?"), *(await inner.ainvoke({}))["out"], interrupt("after?")]}

    return one_node(node)


def two_levels_down(ask: Ask) -> Any:
    return StateGraph(State).add_node("outer", in_a_subgraph(ask).compile()).add_edge(START, "outer")


def until_it_is_valid(ask: Ask) -> Any:
    async def node(state):
        while True:
            said = interrupt("a number?")
            checked = await ask(f"is {said} a number")
            if said.isdigit():
                return {"out": [checked]}

    return one_node(node)


def in_tasks(ask: Ask) -> Any:
    @task
    async def model(item: str) -> str:
        return await ask(item)

    @task
    async def person(question: str) -> str:
        return interrupt(question)

    @entrypoint(checkpointer=InMemorySaver())
    async def flow(value: Any) -> Any:
        heard = [interrupt("A?"), await model("x"), interrupt("B?"), await person("C?"), await model("y")]
        return {"out": [*heard, await person("D?"), await model("z"), interrupt("E?")]}

    return flow


SHAPES = [
    in_one_task,
    in_a_subgraph,
    in_branches_of_a_subgraph,
    in_a_subgraph_called_by_a_node,
    two_levels_down,
    in_tasks,
]


@pytest.mark.parametrize("by_id", [False, True])
@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.__name__)
async def test_each_question_is_put_as_often_as_by_plain_langgraph(shape, by_id) -> None:
    questions = await compare(shape, "a", "b", "c", "d", "e", by_id=by_id)
    assert len(questions) == len(set(questions))


async def test_a_loop_asks_until_the_answer_is_valid() -> None:
    assert await compare(until_it_is_valid, "yes", "no", "12") == ["a number?"] * 3


async def test_a_node_that_is_not_async_asks_again_too() -> None:
    def node(state):
        return {"out": [interrupt("A?"), wait_sync("x"), interrupt("B?"), wait_sync("y"), interrupt("C?")]}

    human = Human("a", "b", "c")
    async with memory(one_node(node), Desk().bridge()) as runner:
        ended = await talk(runner.ainvoke, {}, human)
    assert human.questions == ["A?", "B?", "C?"]
    assert ended["out"] == ["a", "x!", "b", "y!", "c"]


async def test_siblings_by_send_are_asked_each_for_itself() -> None:
    def build(ask: Ask) -> Any:
        async def part(state):
            first = interrupt(f"{state['x']} first?")
            model = await ask(f"{state['x']} {first}")
            return {"out": [(first, model, interrupt(f"{state['x']} second?"))]}

        return (
            StateGraph(State)
            .add_node("part", part)
            .add_conditional_edges(START, lambda state: [Send("part", {"x": i}) for i in range(3)], ["part"])
        )

    assert len(await compare(build, *"abcdef", by_id=True)) == 6


class Wires(TypedDict, total=False):
    messages: Annotated[list[Any], operator.add]


async def test_an_approval_of_one_tool_call_is_none_of_the_next() -> None:
    """An agent as a node of a parent: the first wire is approved, the second, a million, must be asked for."""
    sent: list[int] = []

    @tool
    def wire(amount: int) -> str:
        """Wire money."""
        sent.append(amount)
        return f"sent {amount}"

    async def model_node(state: Any) -> Any:
        turn = sum(isinstance(each, AIMessage) for each in state["messages"])
        await wait(f"turn {turn}")
        return turn

    from langchain_core.language_models import BaseChatModel
    from langchain_core.outputs import ChatGeneration, ChatResult

    class Model(BaseChatModel):
        @property
        def _llm_type(self) -> str:
            return "wires"

        def bind_tools(self, tools: Any, **options: Any) -> Any:
            return self

        def _generate(self, *arguments: Any, **options: Any) -> Any:
            raise NotImplementedError

        async def _agenerate(self, messages: Any, *arguments: Any, **options: Any) -> Any:
            turn = await model_node({"messages": messages})
            amounts = [10, 1_000_000]
            calls = [ToolCall(name="wire", args={"amount": amounts[turn]}, id=f"c{turn}")] if turn < 2 else []
            return ChatResult(generations=[ChatGeneration(message=AIMessage(f"turn {turn}", tool_calls=calls))])

    agent = create_agent(Model(), [wire], middleware=[HumanInTheLoopMiddleware({"wire": True})])
    parent = StateGraph(Wires).add_node("agent", agent).add_edge(START, "agent").add_edge("agent", END)
    approve, reject = {"decisions": [{"type": "approve"}]}, {"decisions": [{"type": "reject", "message": "no"}]}
    human = Human(approve, reject)
    async with memory(parent, Desk().bridge()) as runner:
        await talk(runner.ainvoke, {"messages": [("user", "pay")]}, human)
    assert [each["action_requests"][0]["args"]["amount"] for each in human.questions] == [10, 1_000_000]
    assert sent == [10]
