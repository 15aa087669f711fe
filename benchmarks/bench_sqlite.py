"""What a checkpoint on disk costs: LangGraph on its own SQLite saver, on ours, and in memory.

One graph with one node that interrupts once; every thread is started, and then every thread is resumed. Each
saver gets a fresh file, and the savers take turns, so that a busy neighbour slows all of them.

    python benchmarks/bench_sqlite.py --threads 1000 --bytes 1000
"""

import argparse
import asyncio
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any, TypedDict

from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, interrupt

from batch_bridge._sqlite.file import open_file

Saver = BaseCheckpointSaver[Any]
Opening = Callable[[Path], AbstractAsyncContextManager[Saver]]


class State(TypedDict):
    text: str
    answer: str


async def node(state: State) -> dict[str, str]:
    return {"answer": interrupt({"ask": state["text"]})}


def build() -> StateGraph[Any, Any, Any, Any]:
    builder = StateGraph(State)
    builder.add_node("node", node)
    builder.add_edge(START, "node")
    builder.add_edge("node", END)
    return builder


@asynccontextmanager
async def grouped(path: Path) -> AsyncIterator[Saver]:
    async with open_file(path) as (saver, _):
        yield saver


@asynccontextmanager
async def stock(path: Path) -> AsyncIterator[Saver]:
    async with AsyncSqliteSaver.from_conn_string(str(path)) as saver:
        yield saver


@asynccontextmanager
async def memory(path: Path) -> AsyncIterator[Saver]:
    del path
    yield InMemorySaver()


SAVERS: dict[str, Opening] = {
    "AsyncSqliteSaver": stock,
    "GroupedSqliteSaver": grouped,
    "InMemorySaver": memory,
}


async def both_phases(opening: Opening, arguments: argparse.Namespace) -> tuple[float, float]:
    """Start and resume all threads; return wall and CPU seconds."""
    text = "x" * arguments.bytes
    with tempfile.TemporaryDirectory(dir=arguments.dir) as folder:
        async with opening(Path(folder) / "run.sqlite") as saver:
            graph = build().compile(checkpointer=saver)

            async def phase(inputs: list[Any]) -> list[dict[str, Any]]:
                """Invoke every thread; a fixed number of workers does it, as a Runner would."""
                states: list[dict[str, Any]] = [{}] * len(inputs)
                waiting = iter(enumerate(inputs))

                async def work() -> None:
                    for index, given in waiting:
                        config = {"configurable": {"thread_id": f"thread-{index}"}}
                        states[index] = await graph.ainvoke(given, config, durability=arguments.durability)

                await asyncio.gather(*(work() for _ in range(arguments.in_flight)))
                return states

            wall, cpu = time.perf_counter(), time.process_time()
            parked = await phase([{"text": text, "answer": ""}] * arguments.threads)
            ids = [state["__interrupt__"][0].id for state in parked]
            ended = await phase([Command(resume={own: f"{i}:{text}"}) for i, own in enumerate(ids)])
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    assert all(state["answer"] == f"{i}:{text}" for i, state in enumerate(ended))
    return wall, cpu


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=1000)
    parser.add_argument("--bytes", type=int, default=1000, help="of the state, and of the answer")
    parser.add_argument("--in-flight", type=int, default=64)
    parser.add_argument("--durability", choices=("async", "sync", "exit"), default="async")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--dir", help="where the files are made", default=None)
    arguments = parser.parse_args()

    asyncio.run(both_phases(memory, arguments))  # imports and caches
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in SAVERS}
    for _ in range(arguments.rounds):
        for name, opening in SAVERS.items():
            times[name].append(asyncio.run(both_phases(opening, arguments)))

    print(
        f"{arguments.threads} threads, {arguments.bytes} bytes, {arguments.in_flight} in flight, "
        f"durability {arguments.durability}; median of {arguments.rounds} rounds"
    )
    print(f"{'saver':20} {'threads/s':>9} {'wall ms':>8} {'CPU ms':>7}   wall ratio  CPU ratio")
    base = times["AsyncSqliteSaver"]
    for name, pairs in times.items():
        wall, cpu = (statistics.median(column) / arguments.threads * 1000 for column in zip(*pairs, strict=True))
        ratios = [statistics.median(own[k] / other[k] for own, other in zip(pairs, base, strict=True)) for k in (0, 1)]
        print(f"{name:20} {1000 / wall:9.0f} {wall:8.2f} {cpu:7.2f}   {ratios[0]:10.3f} {ratios[1]:10.3f}")


if __name__ == "__main__":
    main()
