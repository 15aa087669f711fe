"""Random small graphs, run with waits and with functions that answer at once: nothing that is told may differ.

What is compared: what the human was asked, at each turn; what was raised; the state at the end, and its order. The run
that answers at once is told the human's answers by the ids of the questions: that is right in LangGraph whatever was
answered before (a plain answer and one by id, mixed, are not). `BATCH_BRIDGE_GRAPHS` asks for more
graphs, and for new ones; `BATCH_BRIDGE_SHRINK` for a small one where a graph fails, which takes minutes.
"""

import asyncio
import os
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import pytest
import sampling
from helpers import Desk, config_of
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.errors import GraphRecursionError
from langgraph.store.memory import InMemoryStore
from langgraph.types import Command
from random_graphs import AtOnce, Builder, Model, Waits
from random_programs import (
    Ask,
    Broken,
    Failing,
    Flow,
    Graph,
    Node,
    Program,
    Question,
    Subgraph,
    Tasks,
    Together,
    programs,
)

from batch_bridge import Bridge, Runner, is_bridge_interrupt
from batch_bridge._core.models import Errored, Outcome, Succeeded
from batch_bridge._core.payload.interrupt_payload import envelope, read_interrupt
from batch_bridge._node.link import Link
from batch_bridge._node.step_limits import LINK

GRAPHS = int(os.environ.get("BATCH_BRIDGE_GRAPHS", "0"))
PHASES = [Phase.generate, Phase.shrink] if os.environ.get("BATCH_BRIDGE_SHRINK") else [Phase.generate]
MANNERS = ["plain", "ids", "one by one", "mixed"]
Manner = Literal["plain", "ids", "one by one", "mixed"]
Invoke = Callable[[Any], Awaitable[Any]]
FAILURES = 3
"""How often a thread that has failed is run again."""


@dataclass
class Human:
    """Answers `<question>#<how often it was put>`, in a manner of its own; the same where the same is asked."""

    manner: Manner
    seed: int
    always_by_id: bool = False
    put: Counter[str] = field(default_factory=Counter)

    def reply(self, pending: list[tuple[str, str]]) -> Command[Any]:
        """Answer one or all of (question, id)."""
        draws = random.Random(f"{self.seed} {sum(self.put.values())}")
        if self.manner == "one by one":
            pending = [draws.choice(pending)]
        plainly = (len(pending) == 1 and self.manner == "plain") or (self.manner == "mixed" and draws.random() < 0.5)
        answers = {}
        for question, interrupt_id in pending:
            self.put[question] += 1
            answers[interrupt_id] = f"{question}#{self.put[question]}"
        if len(pending) == 1 and plainly and not self.always_by_id:
            return Command(resume=next(iter(answers.values())))
        return Command(resume=answers)


async def told(invoke: Invoke, human: Human) -> list[Any]:
    """Run a thread to its end, and return what it has told."""
    story: list[Any] = []
    value: Any = {}
    failures = 0
    while True:
        try:
            result = await invoke(value)
        except Exception as error:  # of a whole run: no interrupt leaves a root graph
            story.append((type(error).__name__, str(error) if isinstance(error, ValueError) else ""))
            failures += 1
            if failures > FAILURES or isinstance(error, GraphRecursionError):
                return story
            value = None
            continue
        pending = sorted((str(each.value), each.id) for each in result.pop("__interrupt__", ()))
        if not pending:
            return [*story, result.get("out")]
        story.append([question for question, _ in pending])
        assert len(story) < 60, "there is no end to it"
        value = human.reply(pending)


@dataclass(frozen=True)
class Limits:
    """What holds from one input, or answer of a human, to the next.

    Attributes:
        steps: The `recursion_limit`.
        untracked: Nodes count in an `UntrackedValue`, which a process keeps for its own Runner.
    """

    steps: int = 100
    untracked: bool = False

    @property
    def config(self) -> Any:
        return {**config_of("t"), "recursion_limit": self.steps}


async def told_at_once(program: Program, human: Human, limits: Limits) -> tuple[list[Any], Model]:
    model = Model()
    graph = compiled(Builder(AtOnce(model), untracked=limits.untracked).build(program))
    return await told(lambda value: graph.ainvoke(value, limits.config), human), model


async def told_by_a_runner(program: Program, human: Human, limits: Limits) -> tuple[list[Any], Model]:
    model = Model()
    graph = compiled(Builder(Waits(), untracked=limits.untracked).build(program))
    async with Runner(graph, bridge_to(model), store=InMemoryStore(), progress=False) as runner:
        return await told(lambda value: runner.ainvoke(value, limits.config), human), model


async def told_by_many_runners(program: Program, human: Human, limits: Limits) -> tuple[list[Any], Model]:
    """A Runner of its own drives the thread from one question to the next."""
    model = Model()
    graph = compiled(Builder(Waits(), untracked=limits.untracked).build(program))
    bridge, store = bridge_to(model), InMemoryStore()

    async def invoke(value: Any) -> Any:
        async with Runner(graph, bridge, store=store, progress=False) as runner:
            return await runner.ainvoke(value, limits.config)

    return await told(invoke, human), model


async def told_by_hand(program: Program, human: Human, limits: Limits) -> tuple[list[Any], Model]:
    """As a server does: the waits are answered by ids, some at a time, and nothing else stands between."""
    model = Model()
    graph = compiled(Builder(Waits(), untracked=limits.untracked).build(program))
    draws = random.Random(human.seed)
    link = Link(frozenset({"bridge"}))
    linked = {**limits.config, "configurable": {**limits.config["configurable"], LINK: link}}
    outcomes: dict[str, Outcome] = {}

    async def leg(value: Any) -> Any:
        try:
            return await graph.ainvoke(value, linked)
        except Exception:
            link.retries += 1
            raise

    async def invoke(value: Any) -> Any:
        result = await leg(value)
        while ours := [each for each in result.get("__interrupt__", ()) if is_bridge_interrupt(each)]:
            due = draws.sample(ours, draws.randint(1, len(ours)))
            result = await leg(Command(resume={each.id: answered(each.value) for each in due}))
        return result

    def answered(value: Any) -> Any:
        asked = read_interrupt(value) or []
        for each in asked:
            if each.id not in outcomes:
                answer = model.answer(each.item)
                outcomes[each.id] = Errored(str(answer)) if isinstance(answer, Exception) else Succeeded(answer)
        return envelope({each.id: outcomes[each.id] for each in asked})

    return await told(invoke, human), model


def compiled(graph: Any) -> Any:
    if hasattr(graph, "compile"):
        return graph.compile(checkpointer=InMemorySaver())
    return graph.copy(update={"checkpointer": InMemorySaver()})


def bridge_to(model: Model) -> Bridge:
    return Desk(model.answer).bridge(poll_interval=0.001)


LIMITS = st.one_of(st.just(Limits()), st.builds(Limits, st.integers(3, 12), st.booleans()))
HOSTS = {each.__name__: each for each in (told_by_a_runner, told_by_many_runners, told_by_hand)}


@settings(
    max_examples=GRAPHS or sampling.many(300, 25),
    derandomize=not GRAPHS,
    deadline=None,
    database=None,
    phases=PHASES,
    suppress_health_check=list(HealthCheck),
    print_blob=False,
    report_multiple_bugs=False,
)
@given(programs(), st.sampled_from(MANNERS), st.sampled_from(sorted(HOSTS)), LIMITS, st.integers(0, 3))
def test_waiting_tells_what_answering_at_once_tells(program, manner, host, limits, seed) -> None:
    if host != "told_by_a_runner":
        limits = Limits()

    async def both() -> None:
        wanted, at_once = await told_at_once(program, Human(manner, seed, always_by_id=True), limits)
        got, batched = await asyncio.wait_for(HOSTS[host](program, Human(manner, seed), limits), 10)
        assert got == wanted
        assert not batched.answered - at_once.answered, "paid more often than a model that answers at once"

    asyncio.run(both())


GOT_PAST = {
    "a failed request, then a person, then what fails in a task": Flow(
        (Broken(), Question(), Tasks(((Failing(),),))),
    ),
    "the same with a person who is asked until the answer is good": Flow(
        (Tasks(((Ask(), Question()), (Ask(), Question("until")))), Broken(), Question("until"), Tasks(((Failing(),),)))
    ),
    "the same in a node that calls a graph": Graph(
        (Together((Node((Broken(), Question(), Subgraph(Graph((Together((Node((Failing(),)),)),))))),)),)
    ),
}
"""Programs that go on after a request has failed, ask a person, and fail later."""


@pytest.mark.parametrize("manner", MANNERS)
@pytest.mark.parametrize("name", GOT_PAST)
async def test_a_wait_that_is_asked_again_takes_no_answer_of_a_person(name, manner) -> None:
    wanted, _ = await told_at_once(GOT_PAST[name], Human(manner, 1, always_by_id=True), Limits())
    got, _ = await told_by_a_runner(GOT_PAST[name], Human(manner, 1), Limits())
    assert got == wanted
