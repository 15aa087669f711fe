"""The Runner against plain LangGraph doing the same interrupts and resumes, side by side in one run.

Each pair of measurements runs in two fresh processes, one after the other; figures are medians of the pairs' ratios.
Both sides answer at once, so what is measured is LangGraph and the bridge, never a provider.
"""

import argparse
import asyncio
import gc
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import AsyncExitStack
from typing import Any, TypedDict

from cpu import cpu as cpu_time
from process_memory import peak, resident
from random_words import prompt

CONCURRENCY = 64


class State(TypedDict, total=False):
    prompt: str
    answer: Any


async def _saver(stack: AsyncExitStack, kind: str, folder: str) -> Any:
    from langgraph.checkpoint.memory import InMemorySaver

    if kind == "memory":
        return InMemorySaver()
    from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

    return await stack.enter_async_context(AsyncSqliteSaver.from_conn_string(os.path.join(folder, "saver.db")))


async def plain(kind: str, threads: int, size: int, folder: str) -> dict[str, float]:
    """Interrupt every thread, then resume every thread; nothing else."""
    from langgraph.graph import StateGraph
    from langgraph.types import Command, interrupt

    async def node(state: State) -> State:
        return {"answer": interrupt({"prompt": state["prompt"]})}

    async with AsyncExitStack() as stack:
        saver = await _saver(stack, kind, folder)
        graph = StateGraph(State).add_node("node", node).add_edge("__start__", "node").compile(checkpointer=saver)
        gate = asyncio.Semaphore(CONCURRENCY)
        waiting: dict[int, str] = {}

        async def begin(index: int) -> None:
            async with gate:
                config = {"configurable": {"thread_id": f"run:{index}"}}
                result = await graph.ainvoke({"prompt": prompt(index, size)}, config)
                waiting[index] = result["__interrupt__"][0].id

        async def resume(index: int) -> None:
            async with gate:
                config = {"configurable": {"thread_id": f"run:{index}"}}
                result = await graph.ainvoke(Command(resume={waiting[index]: f"answer {index}"}), config)
                assert result["answer"] == f"answer {index}"

        await begin(-1)
        await resume(-1)
        before, started, cpu = _settled_memory(), time.perf_counter(), cpu_time()
        for chunk in range(0, threads, 1000):
            await asyncio.gather(*(begin(index) for index in range(chunk, min(chunk + 1000, threads))))
        middle, parked = time.perf_counter(), _settled_memory() - before
        gc_seconds = time.perf_counter() - middle
        for chunk in range(0, threads, 1000):
            await asyncio.gather(*(resume(index) for index in range(chunk, min(chunk + 1000, threads))))
        wall = time.perf_counter() - started - gc_seconds
        return {"wall": wall, "cpu": cpu_time() - cpu, "parked": parked / threads}


async def bridged(kind: str, threads: int, size: int, folder: str, *, relax_gc: bool = True) -> dict[str, float]:
    """Do the same through a Runner, whose provider answers at once."""
    from langgraph.graph import StateGraph

    from batch_bridge import Bridge, FlushPolicy, Runner, wait

    async def node(state: State) -> State:
        return {"answer": await wait(state["prompt"])}

    parked = 0
    took = 0.0

    async def submit(items: list[str]) -> list[str]:
        nonlocal parked, took
        if len(items) > 1:
            started = time.perf_counter()
            parked = _settled_memory() - before
            took = time.perf_counter() - started
        return [item[:8] for item in items]

    def poll(handle: list[str]) -> list[str]:
        return [f"answer {int(each)}" if each[0] != "-" else "answer -1" for each in handle]

    async with AsyncExitStack() as stack:
        saver: dict[str, Any] = {}
        path = os.path.join(folder, "run.db")
        if kind == "memory":
            path = ":memory:"
        elif kind == "given":
            saver = {"checkpointer": await _saver(stack, kind, folder)}
        graph = StateGraph(State).add_node("node", node).add_edge("__start__", "node")
        bridge = Bridge(submit=submit, poll=poll, flush=FlushPolicy(max_requests=1_000_000))
        runner = await stack.enter_async_context(
            Runner(graph, bridge, path=path, progress=False, relax_gc=relax_gc, **saver)
        )
        before = _settled_memory()
        await runner.abatch([{"prompt": prompt(0, size)}], run_id="warm")
        before, started, cpu = _settled_memory(), time.perf_counter(), cpu_time()
        count = 0
        inputs = ({"prompt": prompt(index, size)} for index in range(threads))
        async for index, result in runner.abatch_as_completed(inputs, run_id="bench", max_concurrency=CONCURRENCY):
            assert result["answer"] == f"answer {index}"
            count += 1
        assert count == threads
        return {
            "wall": time.perf_counter() - started - took,
            "cpu": cpu_time() - cpu,
            "parked": parked / threads,
        }


def _settled_memory() -> int:
    gc.collect()
    return resident()


def measure(side: str, kind: str, threads: int, size: int, *, relax_gc: bool = True) -> dict[str, float]:
    """Run one side in a fresh process, in a fresh folder."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, __file__, "--side", side, "--kind", kind, "--threads", str(threads)]
        done = subprocess.run(
            [*command, "--bytes", str(size), "--folder", folder, *([] if relax_gc else ["--usual-gc"])],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise SystemExit(done.stderr)
        return json.loads(done.stdout)


def compare(kind: str, threads: int, size: int, rounds: int, *, relax_gc: bool = True) -> dict[str, float]:
    """Return the medians of Runner / plain, for wall and CPU, and the bytes more that a parked thread takes."""
    base = "given" if kind == "own" else kind
    wall, cpu, memory = [], [], []
    for each in range(rounds):
        order = ("plain", "bridged") if each % 2 == 0 else ("bridged", "plain")
        took = {
            side: measure(side, base if side == "plain" else kind, threads, size, relax_gc=relax_gc) for side in order
        }
        wall.append(took["bridged"]["wall"] / took["plain"]["wall"])
        cpu.append(took["bridged"]["cpu"] / took["plain"]["cpu"])
        memory.append(took["bridged"]["parked"] - took["plain"]["parked"])
    return {
        "wall": statistics.median(wall),
        "cpu": statistics.median(cpu),
        "bytes_more": statistics.median(memory),
        "threads_per_second": threads / took["bridged"]["wall"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=2000)
    parser.add_argument("--bytes", type=int, default=1000)
    parser.add_argument("--kind", choices=("memory", "given", "own"), default="memory")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--side", choices=("plain", "bridged"))
    parser.add_argument("--folder", default="")
    parser.add_argument("--usual-gc", action="store_true", help="the Runner leaves the garbage collector as it is")
    asked = parser.parse_args()
    if asked.side:
        told = (asked.kind, asked.threads, asked.bytes, asked.folder)
        took = asyncio.run(plain(*told) if asked.side == "plain" else bridged(*told, relax_gc=not asked.usual_gc))
        took["peak"] = peak()
        print(json.dumps(took))
    else:
        print(json.dumps(compare(asked.kind, asked.threads, asked.bytes, asked.rounds, relax_gc=not asked.usual_gc)))


if __name__ == "__main__":
    main()
