"""Random small programs for LangGraph: as data that hypothesis can shrink, and as graphs that can be run.

A program is built for a `World`, which says how its nodes ask their model: at once, or by waiting for a bridge.
"""

import asyncio
import operator
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Annotated, Any, Literal, Protocol, TypedDict

from hypothesis import strategies as st
from langgraph.channels import UntrackedValue
from langgraph.func import entrypoint, task
from langgraph.graph import END, START, StateGraph
from langgraph.types import RetryPolicy, Send, interrupt

from batch_bridge import TaskGroup, gather, wait, wait_many, wait_many_sync, wait_sync
from batch_bridge.errors import RequestError, RequestFailed

# -- what a program is ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Ask:
    """Ask the model: once, or twice at the same time. `same` asks for the same twice."""

    how: Literal["once", "gather", "many", "group", "chains"] = "once"
    same: bool = False


@dataclass(frozen=True)
class Question:
    """Ask the human: once; until the answer is good, each answer being looked at by the model; or beside the model."""

    how: Literal["once", "until", "beside"] = "once"


@dataclass(frozen=True)
class Broken:
    """Ask the model for what always fails, and go on."""


@dataclass(frozen=True)
class Failing:
    """Ask the model for what fails the first time, and let it pass."""


@dataclass(frozen=True)
class Raise:
    """End with an error of the node's own."""


@dataclass(frozen=True)
class Subgraph:
    """Call a graph."""

    graph: "Graph"


Step = Ask | Question | Broken | Failing | Raise | Subgraph


@dataclass(frozen=True)
class Node:
    """A node that does one step after the other."""

    steps: tuple[Step, ...]
    sync: bool = False
    retried: bool = False


@dataclass(frozen=True)
class Nested:
    """A graph as a node."""

    graph: "Graph"


@dataclass(frozen=True)
class Together:
    """Nodes side by side."""

    nodes: tuple[Node | Nested, ...]


@dataclass(frozen=True)
class Fan:
    """One node several times, by `Send`."""

    node: Node | Nested
    parts: int = 2


@dataclass(frozen=True)
class Loop:
    """One node several times, one after the other."""

    node: Node | Nested
    times: int = 2


@dataclass(frozen=True)
class Graph:
    """Stages, one after the other."""

    stages: tuple[Together | Fan | Loop, ...]


@dataclass(frozen=True)
class Tasks:
    """`@task`s side by side."""

    tasks: tuple[tuple[Step, ...], ...]


@dataclass(frozen=True)
class Flow:
    """An `@entrypoint` that does steps of its own and calls tasks."""

    parts: tuple[Step | Tasks, ...]


Program = Graph | Flow


MOST = 12
"""Steps that a program does."""

# -- how programs are drawn -----------------------------------------------------------------------------------------

PLAIN_STEPS = st.one_of(
    st.just(Ask()),
    st.just(Question()),
    st.just(Question("until")),
    st.just(Ask("many")),
    st.just(Broken()),
    st.just(Failing()),
    st.just(Raise()),
)
"""What a node that is not async can do."""
ASYNC_STEPS = st.one_of(
    PLAIN_STEPS,
    st.builds(Ask, st.sampled_from(["gather", "group", "chains"]), st.booleans()),
    st.just(Question("beside")),
)


@cache
def _steps(depth: int) -> st.SearchStrategy[tuple[Step, ...]]:
    steps: st.SearchStrategy[Any] = ASYNC_STEPS
    if depth:
        steps = st.one_of(ASYNC_STEPS, ASYNC_STEPS, st.builds(Subgraph, graphs(depth - 1)))
    return st.lists(steps, min_size=1, max_size=3).map(tuple)


@cache
def _nodes(depth: int) -> st.SearchStrategy[Node | Nested]:
    sync = st.builds(
        Node, st.lists(PLAIN_STEPS, min_size=1, max_size=3).map(tuple), st.just(value=True), retried=st.booleans()
    )
    nodes: list[st.SearchStrategy[Any]] = [st.builds(Node, _steps(depth), retried=st.booleans()), sync]
    if depth:
        nodes.append(st.builds(Nested, graphs(depth - 1)))
    return st.one_of(nodes)


@cache
def graphs(depth: int) -> st.SearchStrategy[Graph]:
    """Return graphs whose subgraphs are nested as deep as that."""
    nodes = st.deferred(lambda: _nodes(depth))
    stages = st.one_of(
        st.builds(Together, st.lists(nodes, min_size=1, max_size=2).map(tuple)),
        st.builds(Fan, nodes),
        st.builds(Loop, nodes),
    )
    return st.builds(Graph, st.lists(stages, min_size=1, max_size=2).map(tuple))


FLOWS = st.builds(
    Flow,
    st.lists(
        st.one_of(
            _steps(1).map(lambda steps: steps[0]),
            st.builds(Tasks, st.lists(_steps(0), min_size=1, max_size=2).map(tuple)),
        ),
        min_size=1,
        max_size=4,
    ).map(tuple),
)


def _tamed(program: Any, *, alone: bool = True, raises: list[Step] | None = None) -> Any:
    """Take out of a program what chance decides, and what is known to differ.

    - No error leaves a node that has siblings: which of two is raised, and what it stops, is a matter of chance.
    - One step of a program lets an error leave its node, and no step beside it fails: a thread, or a node, that is run
      again asks once more for all that has failed in it, though it had got past that.
    """
    raises = [] if raises is None else raises
    match program:
        case Node(steps):
            return replace(program, steps=_tamed_steps(steps, alone=alone, retried=program.retried, raises=raises))
        case Nested(graph) | Subgraph(graph):
            return type(program)(_tamed(graph, alone=alone, raises=raises))
        case Together(nodes):
            return Together(tuple(_tamed(node, alone=alone and len(nodes) == 1, raises=raises) for node in nodes))
        case Fan(node):
            return replace(program, node=_tamed(node, alone=False, raises=raises))
        case Loop(node):
            return replace(program, node=_tamed(node, alone=alone, raises=raises))
        case Graph(stages):
            return Graph(tuple(_tamed(stage, alone=alone, raises=raises) for stage in stages))
        case Tasks(tasks):
            one = alone and len(tasks) == 1
            return Tasks(tuple(_tamed_steps(steps, alone=one, retried=False, raises=raises) for steps in tasks))
        case Flow(parts):
            own = iter(_tamed_steps([each for each in parts if not isinstance(each, Tasks)], alone=True, raises=raises))
            return Flow(tuple(_tamed(each, raises=raises) if isinstance(each, Tasks) else next(own) for each in parts))
    raise AssertionError(program)


def _tamed_steps(steps: Sequence[Step], *, alone: bool, raises: list[Step], retried: bool = False) -> tuple[Step, ...]:
    tamed: list[Step] = []
    own: list[Step] = []
    for step in steps:
        match step:
            case Raise() | Failing():
                fine = not own and (alone or (retried and step == Failing())) and (retried or not raises)
                (own if fine else []).append(step)
                raises += own if fine else []
                tamed.append(step if fine else Ask())
            case Subgraph():
                tamed.append(_tamed(step, alone=alone, raises=raises))
            case _:
                tamed.append(step)
    return tuple(Ask() if own and step == Broken() else step for step in tamed)


def weight(program: Any) -> int:
    """Return how many steps a program does, about."""
    match program:
        case Node(steps):
            return sum(map(weight, steps))
        case Nested(graph) | Subgraph(graph):
            return weight(graph)
        case Together(inner) | Graph(inner) | Tasks(inner) | Flow(inner):
            return sum(map(weight, inner))
        case Fan(node, times) | Loop(node, times):
            return times * weight(node)
        case tuple():
            return sum(map(weight, program))
    return 1


SMALL = st.one_of(graphs(2), graphs(2), FLOWS).filter(lambda program: weight(program) <= MOST)


@st.composite
def programs(draw: st.DrawFn) -> Program:
    """Return programs. Not by `map`: hypothesis takes minutes to print how such a one was made."""
    tamed: Program = _tamed(draw(SMALL))
    return tamed


# -- how they ask ---------------------------------------------------------------------------------------------------


class Model:
    """Answers `<item>!`; `broken…` never, `failing…` not the first time."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    def answer(self, item: str) -> str | Exception:
        self.counts[item] += 1
        if item.startswith("broken") or (item.startswith("failing") and self.counts[item] == 1):
            return RuntimeError(f"no answer to {item}")
        return f"{item}!"

    @property
    def answered(self) -> Counter[str]:
        """How often it gave an answer. After a failure a node's failed requests are all asked once more, which costs nothing."""
        failed = {
            item: item.startswith("broken") * count + item.startswith("failing") for item, count in self.counts.items()
        }
        return self.counts - Counter(failed)


class World(Protocol):
    """How a program asks the model."""

    async def one(self, item: str) -> Any: ...
    async def many(self, items: list[str]) -> Any: ...
    def one_sync(self, item: str) -> Any: ...
    def many_sync(self, items: list[str]) -> Any: ...


class AtOnce:
    """The model answers at once."""

    def __init__(self, model: Model) -> None:
        self._model = model

    async def one(self, item: str) -> Any:
        await asyncio.sleep(0)
        return self.one_sync(item)

    async def many(self, items: list[str]) -> Any:
        return [await self.one(item) for item in items]

    def one_sync(self, item: str) -> Any:
        answer = self._model.answer(item)
        if isinstance(answer, Exception):
            raise RequestFailed(str(answer))
        return answer

    def many_sync(self, items: list[str]) -> Any:
        return [self.one_sync(item) for item in items]


class Waits:
    """The model is behind a bridge."""

    async def one(self, item: str) -> Any:
        return await wait(item)

    async def many(self, items: list[str]) -> Any:
        return await wait_many(items)

    def one_sync(self, item: str) -> Any:
        return wait_sync(item)

    def many_sync(self, items: list[str]) -> Any:
        return wait_many_sync(items)


# -- how they are run -----------------------------------------------------------------------------------------------


class State(TypedDict, total=False):
    """What a thread knows. `seen` counts nodes, and is not kept when a thread is stopped."""

    part: Annotated[str, lambda old, new: new]
    seen: Annotated[int, UntrackedValue(int, guard=False)]
    out: Annotated[list, operator.add]


RETRY = RetryPolicy(initial_interval=0.001, backoff_factor=1, max_attempts=5, jitter=False, retry_on=RequestError)


def is_good(said: str) -> bool:
    """Return whether an answer ends a question that is put until the answer is good: every second one."""
    return int(said.rpartition("#")[2]) % 2 == 0


class Builder:
    """Builds programs for a world.

    Args:
        world: How they ask.
        untracked: Let nodes count in an `UntrackedValue`.
    """

    def __init__(self, world: World, *, untracked: bool = False) -> None:
        self._world = world
        self._untracked = untracked
        self._called: dict[str, Any] = {}

    def build(self, program: Program) -> Any:
        """Return a graph to compile, or an entrypoint."""
        return self._flow(program) if isinstance(program, Flow) else self._graph(program, "")

    def _flow(self, flow: Flow) -> Any:
        @entrypoint()
        async def run(value: Any) -> Any:
            out: list[Any] = []
            for i, part in enumerate(flow.parts):
                if isinstance(part, Tasks):
                    called = [self._task(steps, f"t{i}.{k}")() for k, steps in enumerate(part.tasks)]
                    out += await gather(*called)
                else:
                    out += await self._step(part, f"f{i}")
            return {"out": out}

        return run

    def _task(self, steps: tuple[Step, ...], path: str) -> Callable[[], Any]:
        async def run() -> list[Any]:
            return [each for i, step in enumerate(steps) for each in await self._step(step, f"{path}.{i}")]

        run.__name__ = path
        return task(run)

    def _graph(self, graph: Graph, path: str) -> Any:
        built = StateGraph(State).add_node("s0", lambda state: {}).add_edge(START, "s0")
        for i, stage in enumerate(graph.stages):
            built.add_node(f"s{i + 1}", lambda state: {})
            match stage:
                case Together(nodes):
                    for k, node in enumerate(nodes):
                        self._add(built, node, f"{path}s{i}n{k}")
                        built.add_edge(f"s{i}", f"{path}s{i}n{k}").add_edge(f"{path}s{i}n{k}", f"s{i + 1}")
                case Fan(node, parts):
                    name = f"{path}s{i}f"
                    self._add(built, node, name)

                    def split(state: Any, name: str = name, parts: int = parts) -> list[Send]:
                        return [Send(name, {"part": f"{state.get('part', '')}{part}"}) for part in range(parts)]

                    built.add_conditional_edges(f"s{i}", split, [name])
                    built.add_edge(name, f"s{i + 1}")
                case Loop(node, times):
                    name = f"{path}s{i}l"
                    self._add(built, node, name)
                    turn, after = f"{path}s{i}t", f"s{i + 1}"
                    built.add_node(turn, lambda state, turn=turn: {"out": [turn]}).add_edge(name, turn)

                    def more(
                        state: Any, turn: str = turn, name: str = name, after: str = after, times: int = times
                    ) -> str:
                        return name if state["out"].count(turn) < times else after

                    built.add_edge(f"s{i}", name).add_conditional_edges(turn, more, [name, after])
        return built.add_edge(f"s{len(graph.stages)}", END)

    def _add(self, built: Any, node: Node | Nested, path: str) -> None:
        if isinstance(node, Nested):
            built.add_node(path, self._graph(node.graph, f"{path}/").compile())
        else:
            run = self._sync_node if node.sync else self._async_node
            built.add_node(path, run(node, path), retry_policy=RETRY if node.retried else None)

    def _async_node(self, node: Node, path: str) -> Any:
        async def run(state: State) -> State:
            place = self._place(state, path)
            out = [each for i, step in enumerate(node.steps) for each in await self._step(step, f"{place}.{i}")]
            return self._written(state, out)

        return run

    def _sync_node(self, node: Node, path: str) -> Any:
        def run(state: State) -> State:
            place = self._place(state, path)
            out = [each for i, step in enumerate(node.steps) for each in self._step_sync(step, f"{place}.{i}")]
            return self._written(state, out)

        return run

    @staticmethod
    def _place(state: State, path: str) -> str:
        return f"{path}[{state['part']}]" if state.get("part") else path

    def _written(self, state: State, out: list[Any]) -> State:
        if not self._untracked:
            return {"out": out}
        seen = state.get("seen") or 0
        return {"out": [f"seen {seen}", *out], "seen": seen + 1}

    async def _step(self, step: Step, place: str) -> list[Any]:
        one = self._world.one
        match step:
            case Ask("many"):
                return list(await self._world.many([f"{place}a", f"{place}b"]))
            case Ask("chains"):

                async def chain(item: str) -> str:
                    return str(await one(f"then {await one(item)}"))

                return list(await asyncio.gather(*map(chain, _pair(step, place))))
            case Ask("gather"):
                return list(await asyncio.gather(*map(one, _pair(step, place))))
            case Ask("group"):
                async with TaskGroup() as group:
                    tasks = [group.create_task(one(item)) for item in _pair(step, place)]
                return [each.result() for each in tasks]
            case Ask():
                return [await one(place)]
            case Question("until"):
                out = []
                while True:
                    said = interrupt(f"{place}, a good one?")
                    out.append(await one(f"is {said} good"))
                    if is_good(said):
                        return out
            case Question("beside"):
                return list(await asyncio.gather(one(place), self._question(f"{place}?")))
            case Question():
                return [interrupt(f"{place}?")]
            case Broken():
                try:
                    return [await one(f"broken {place}")]
                except RequestError as error:
                    return [type(error).__name__]
            case Failing():
                return [await one(f"failing {place}")]
            case Raise():
                raise ValueError(place)
            case Subgraph(graph):
                if place not in self._called:
                    self._called[place] = self._graph(graph, f"{place}/").compile()
                return list((await self._called[place].ainvoke({})).get("out", []))

    async def _question(self, text: str) -> Any:
        return interrupt(text)

    def _step_sync(self, step: Step, place: str) -> list[Any]:
        one = self._world.one_sync
        match step:
            case Ask("many"):
                return list(self._world.many_sync([f"{place}a", f"{place}b"]))
            case Ask():
                return [one(place)]
            case Question("until"):
                out = []
                while True:
                    said = interrupt(f"{place}, a good one?")
                    out.append(one(f"is {said} good"))
                    if is_good(said):
                        return out
            case Question():
                return [interrupt(f"{place}?")]
            case Broken():
                try:
                    return [one(f"broken {place}")]
                except RequestError as error:
                    return [type(error).__name__]
            case Failing():
                return [one(f"failing {place}")]
            case Raise():
                raise ValueError(place)
            case Subgraph():
                raise AssertionError(step)


def _pair(step: Ask, place: str) -> list[str]:
    return [place, place] if step.same else [f"{place}a", f"{place}b"]
