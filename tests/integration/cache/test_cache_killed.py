"""A process is killed while its shared batch is in flight: the next one adopts it, and nothing is paid again."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
import warm

from batch_bridge.testing import BatchServer

JOB = """
import asyncio, sys
from datetime import timedelta
from typing import TypedDict

from langgraph.graph import END, START, StateGraph
from openai import AsyncOpenAI

from batch_bridge import Bridge, ResponseCache, Runner, wait
from batch_bridge.providers.openai import OpenAIBatch


class State(TypedDict, total=False):
    x: str
    out: str


async def node(state):
    answer = await wait([{"role": "user", "content": state["x"]}])
    return {"out": answer["choices"][0]["message"]["content"]}


async def main(base_url, run_id):
    graph = StateGraph(State).add_node("node", node).add_edge(START, "node").add_edge("node", END)
    provider = OpenAIBatch(AsyncOpenAI(base_url=base_url, api_key="test"), model="m")
    bridge = Bridge(provider, poll_interval=0.1, cache=ResponseCache("cache.db"), dedupe=True)
    async with Runner(graph, bridge, path="run.db", progress=False) as runner:
        results = await runner.abatch([{"x": f"question {i % 6}"} for i in range(60)], run_id=run_id)
    assert all(f"question {i % 6}" in result["out"] for i, result in enumerate(results))
    print(len(results), "done")


asyncio.run(main(*sys.argv[1:]))
"""
PATIENCE = 90


def begin(server, folder: Path, run_id: str) -> warm.Process:
    command = ["-c", JOB, server.base_url, run_id]
    return warm.start(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def finish(job: warm.Process) -> None:
    out, errors = job.communicate(timeout=PATIENCE)
    assert job.returncode == 0, errors
    assert out == "60 done\n"


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_a_killed_process_pays_for_each_question_once(tmp_path):
    with BatchServer(latency=3600) as server:
        job = begin(server, tmp_path, "run-1")
        deadline = time.monotonic() + PATIENCE
        while not server.stats.batches and job.poll() is None:
            assert time.monotonic() < deadline, "no batch was sent"
            time.sleep(0.05)
        os.kill(job.pid, signal.SIGKILL)
        job.communicate()
        server.configure(latency=0)
        finish(begin(server, tmp_path, "run-1"))
        assert (server.stats.paid, server.stats.paid_twice, server.stats.bodies_repeated) == (6, 0, 0)
        assert server.stats.batches == 1
        finish(begin(server, tmp_path, "run-2"))
        assert (server.stats.paid, server.stats.batches) == (6, 1), "the cache of the killed run answers the second"
