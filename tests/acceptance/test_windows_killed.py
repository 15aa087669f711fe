"""Agents in a window whose process is killed in each wave: none is lost, and no response is paid twice."""

import json
import random
import signal
import time

import warm

from batch_bridge.testing import BatchServer

JOB = """
import asyncio, json, sys
from typing import TypedDict
from langgraph.graph import START, StateGraph
from openai import AsyncOpenAI
from batch_bridge import Bridge, Runner, wait
from batch_bridge.providers.openai import OpenAIBatch

class State(TypedDict, total=False):
    name: str
    out: list[str]

async def agent(state):
    out = []
    for step in range(3):
        answer = await wait({"model": "gpt-5-mini", "input": f"{state['name']} step {step} {''.join(out)[:40]}"})
        out.append(answer["output"][0]["content"][0]["text"])
    return {"out": out}

async def main():
    client = AsyncOpenAI(base_url=sys.argv[1], api_key="windows")
    graph = StateGraph(State).add_node(agent).add_edge(START, "agent")
    bridge = Bridge(OpenAIBatch(client), mode="window:2h", poll_interval=0.2)
    async with Runner(graph, bridge, path=sys.argv[2], progress=False) as runner:
        inputs = [{"name": f"agent {n}"} for n in range(20)]
        results = await runner.abatch(inputs, run_id="agents", return_exceptions=True)
    print(json.dumps([getattr(each, "code", "done") for each in results]))

asyncio.run(main())
"""


def test_agents_in_a_window_are_killed_in_each_wave(tmp_path):
    chance = random.Random(5)
    job = tmp_path / "job.py"
    job.write_text(JOB)
    log = tmp_path / "log"
    with BatchServer(response_seconds=30, clock_speed=60) as server, log.open("w") as stderr:
        command = [str(job), server.base_url, str(tmp_path / "run.db")]
        for wave in range(3):
            process = warm.start(command, stderr=stderr)
            while process.poll() is None and server.stats.responses < 20 * wave + chance.randint(4, 16):
                time.sleep(0.01)
            assert process.poll() is None, wave
            process.send_signal(signal.SIGKILL)
            process.wait()
        while (ended := json.loads((told := warm.run(command)).stdout)) != ["done"] * 20:
            assert set(ended) == {"done", "submission_unknown"}  # what was being created when the process died
            log.write_text(log.read_text() + told.stderr)
        while server.stats.responses_by_status.get("live"):
            time.sleep(0.01)
        stats = server.stats
    unknown = (log.read_text() + told.stderr).count("failed (submission_unknown)")
    assert stats.paid_twice == 0
    assert 60 <= stats.responses <= 60 + unknown  # who fails as unknown is asked again by the next run, as any failure
    assert unknown <= 3 * SIDE_BY_SIDE


SIDE_BY_SIDE = 4
"""Create calls that are under way at a time, at most."""
