"""Random small programs for LangGraph, as data that hypothesis can shrink; `random_graphs.py` builds them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Literal

from hypothesis import strategies as st

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
