"""Random small programs for LangGraph as graphs that can be run.

A program is built for a `World`, which says how its nodes ask their model: at once, or by waiting for a bridge.
"""

import asyncio
import operator
from collections import Counter
from collections.abc import Callable
from typing import Annotated, Any, Protocol, TypedDict

from langgraph.channels import UntrackedValue
from langgraph.func import entrypoint, task
from langgraph.graph import END, START, StateGraph
from langgraph.types import RetryPolicy, Send, interrupt
from random_programs import (
    Ask,
    Broken,
    Failing,
    Fan,
    Flow,
    Graph,
    Loop,
    Nested,
    Node,
    Program,
    Question,
    Raise,
    Step,
    Subgraph,
    Tasks,
    Together,
)

from batch_bridge import TaskGroup, gather, wait, wait_many, wait_many_sync, wait_sync
from batch_bridge.errors import RequestError, RequestFailed

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
