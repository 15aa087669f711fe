"""What watching costs a run: CPU seconds of the run's own process, with a watcher that looks each second and without.

python benchmarks/bench_watch.py [--pairs 4] [--threads 2000]
"""

import argparse
import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, TypedDict

from batch_bridge.testing import BatchServer

LOOK = (
    "import sys, time\n"
    "from batch_bridge._status.read import StatusReader\n"
    "from batch_bridge.errors import RunFileError\n"
    "reader = StatusReader(sys.argv[1])\n"
    "while True:\n"
    "    try: reader.read()\n"
    "    except RunFileError: pass\n"
    "    time.sleep(1)\n"
)


class State(TypedDict, total=False):
    """A number and what was said of it, in two waves."""

    number: int
    first: str
    second: str


async def run(base_url: str, path: str, threads: int) -> None:
    """Run so many threads in two waves, each in one batch that is polled once a second."""
    from langgraph.graph import StateGraph
    from openai import AsyncOpenAI

    from batch_bridge import Bridge, FlushPolicy, Runner, wait
    from batch_bridge.providers.openai import OpenAIBatch

    async def ask(wave: str, state: State) -> str:
        answer: Any = await wait([{"role": "user", "content": f"{wave} {state['number']}"}])
        return str(answer["choices"][0]["message"]["content"])

    async def first(state: State) -> State:
        return {"first": await ask("first", state)}

    async def second(state: State) -> State:
        return {"second": await ask("second", state)}

    graph = (
        StateGraph(State).add_node(first).add_node(second).add_edge("__start__", "first").add_edge("first", "second")
    )
    client = AsyncOpenAI(base_url=base_url, api_key="test")
    bridge = Bridge(
        OpenAIBatch(client, model="gpt-4o-mini"), poll_interval=1, flush=FlushPolicy(max_requests=threads, max_age=60)
    )
    async with Runner(graph, bridge, path=path, progress=False) as runner:
        results = await runner.abatch([{"number": each} for each in range(threads)], run_id="watched")
    assert all(str(each) in result["second"] for each, result in enumerate(results))


def cpu_of(threads: int, *, watched: bool) -> float:
    """Return the CPU seconds of a run of so many threads, over two waves."""
    with BatchServer(latency=1) as server, tempfile.TemporaryDirectory() as folder:
        file = str(Path(folder) / "run.db")
        watcher = subprocess.Popen([sys.executable, "-c", LOOK, file]) if watched else None
        try:
            command = [sys.executable, __file__, "--run", server.base_url, file, "--threads", str(threads)]
            run = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            _, status, used = os.wait4(run.pid, 0)
            run.returncode = os.waitstatus_to_exitcode(status)
        finally:
            if watcher is not None:
                watcher.kill()
                watcher.wait()
    if run.returncode:
        raise RuntimeError(f"the run has ended with {run.returncode}")
    return used.ru_utime + used.ru_stime


def main() -> None:
    """Print the ratio of each pair, and their median."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=4)
    parser.add_argument("--threads", type=int, default=2000)
    parser.add_argument("--run", nargs=2, metavar=("URL", "FILE"), help="be the run itself")
    given = parser.parse_args()
    if given.run:
        asyncio.run(run(*given.run, given.threads))
        return
    ratios = []
    for pair in range(given.pairs):
        order = (False, True) if pair % 2 else (True, False)
        seconds = {watched: cpu_of(given.threads, watched=watched) for watched in order}
        ratios.append(seconds[True] / seconds[False])
        print(f"watched {seconds[True]:.2f} s, not {seconds[False]:.2f} s of CPU: {ratios[-1]:.3f}", flush=True)
    print(f"median ratio: {statistics.median(ratios):.3f}")


if __name__ == "__main__":
    main()
