"""Requests in all lanes of a ladder whose process is killed: none is lost, and what is paid twice was said to be."""

import json
import random
import signal
import time
from collections import Counter

import warm

from batch_bridge.testing import BatchServer

JOB = """
import asyncio, json, sys
from typing import TypedDict
from langgraph.graph import START, StateGraph
from openai import AsyncOpenAI
from batch_bridge import Bridge, Runner, wait
from batch_bridge.providers.openai import OpenAIBatch

DEADLINES = ["2d", "3h", "5m"]

class State(TypedDict, total=False):
    number: int
    out: str

async def ask(state):
    item = {"model": "gpt-5-mini", "input": f"question {state['number']}"}
    answer = await wait(item, deadline=DEADLINES[state["number"] % 3])
    return {"out": answer["output"][0]["content"][0]["text"]}

async def main():
    client = AsyncOpenAI(base_url=sys.argv[1], api_key="ladder")
    graph = StateGraph(State).add_node(ask).add_edge(START, "ask")
    bridge = Bridge(OpenAIBatch(client), ladder=["batch", "window:2h", "realtime"], poll_interval=0.2)
    async with Runner(graph, bridge, path=sys.argv[2], progress=False) as runner:
        results = await runner.abatch([{"number": n} for n in range(18)], run_id="ladder", return_exceptions=True)
        lanes = {name: line.requests for name, line in (await runner.report()).cost.by_lane.items()}
    print(json.dumps([[getattr(each, "code", "done") for each in results], lanes]))

asyncio.run(main())
"""
DOUBTFUL = {"submission_unknown", "realtime_interrupted"}


def test_a_ladders_process_is_killed_and_each_request_stays_in_its_lane(tmp_path):
    chance = random.Random(11)
    job = tmp_path / "job.py"
    job.write_text(JOB)
    doubtful: Counter[str] = Counter()
    with BatchServer(response_seconds=60, clock_speed=60, latency=1) as server:
        command = [str(job), server.base_url, str(tmp_path / "run.db")]
        wanted = chance.randint(2, 8)
        for has_come in (lambda now: now.responses + now.realtime >= wanted, lambda now: now.batches == 1):
            process = warm.start(command)
            while not has_come(server.stats):
                time.sleep(0.01)
            process.send_signal(signal.SIGKILL)
            process.wait()
        while True:
            ended, lanes = json.loads(warm.run(command).stdout)
            failed = [each for each in ended if each != "done"]
            if not failed:
                break
            assert set(failed) <= DOUBTFUL
            doubtful.update(failed)
        stats = server.stats
    assert stats.paid_twice <= doubtful.total()
    assert stats.batches == 1, "the batch was adopted"
    assert lanes["batch"] == 6
    others = lanes["window:2h"] + lanes.get("realtime", 0)  # a window that was quick before is cheap enough for minutes
    assert 12 <= others <= 12 + doubtful.total()
