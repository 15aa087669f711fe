"""`batch-bridge run` from cron: processes that each end once parked, one of them killed, and code edited in between."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
import sampling

from batch_bridge.testing import BatchServer

GRAPH = """
from typing import TypedDict

from langgraph.graph import START, StateGraph

from batch_bridge import Bridge, wait
from batch_bridge.providers.openai import OpenAIBatch


class State(TypedDict, total=False):
    topic: str
    first: str
    second: str
    third: str


async def ask(text):
    answer = await wait([{"role": "user", "content": text}])
    return answer["choices"][0]["message"]["content"]


async def first(state):
    return {"first": await ask(f"first {state['topic']}")}


async def second(state):
    return {"second": await ask(f"second {state['first']}")}


async def third(state):
    return {"third": await ask(f"third {state['second']}")}


graph = StateGraph(State).add_node(first).add_node(second).add_node(third)
graph.add_edge(START, "first").add_edge("first", "second").add_edge("second", "third")
bridge = Bridge(OpenAIBatch(model="gpt-4o-mini"), poll_interval=0.2)
"""


class Cron:
    """A directory with a program, and the command that cron runs in it."""

    def __init__(self, directory, server, inputs):
        self.directory = directory
        self._environment = {**os.environ, "OPENAI_BASE_URL": server.base_url, "OPENAI_API_KEY": "test"}
        (directory / "app.py").write_text(GRAPH)
        (directory / "inputs.jsonl").write_text("".join(json.dumps(each) + "\n" for each in inputs))

    def start(self, *options):
        program = [
            sys.executable,
            "-c",
            "from batch_bridge._cli.app import app; app()",
            "run",
            "app:graph",
            "inputs.jsonl",
        ]
        return subprocess.Popen(
            [*program, "--run-id", "nightly", *options],
            cwd=self.directory,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *options):
        """Run it to its end; return its exit code, the rows that it printed, and what it said."""
        process = self.start(*options)
        out, said = process.communicate(timeout=240)
        return process.returncode, [json.loads(line) for line in out.splitlines()], said


@pytest.fixture
def server():
    with BatchServer(latency=0, stuck=True) as server:
        yield server


def release(server):
    """Let the batches end that are there, and none that come after them."""
    server.configure(stuck=False)
    client = server_client(server)
    by = time.monotonic() + 60
    while any(each.status != "completed" for each in client.batches.list()):
        assert time.monotonic() < by
        time.sleep(0.05)
    server.configure(stuck=True)


def server_client(server):
    from openai import OpenAI

    return OpenAI(base_url=server.base_url, api_key="test")


def test_three_waves_through_processes_that_end_once_parked(server, tmp_path):
    count = sampling.many(300, 60)
    cron = Cron(tmp_path, server, [{"topic": f"t{i}"} for i in range(count)])
    code, rows, said = cron.run("--until-parked")
    assert (code, len(rows)) == (3, count), said
    assert f"{count} inputs: 0 done, 0 failed, {count} wait for 1 batches" in said
    assert [row["index"] for row in rows] == list(range(count))
    assert {row["pending"]["batches"][0]["total"] for row in rows} == {count}
    release(server)

    calls = sum(server.stats.calls.values())
    killed = cron.start("--until-parked")
    while sum(server.stats.calls.values()) < calls + 2:  # it collects, or begins the next wave
        assert killed.poll() is None
        time.sleep(0.02)
    killed.send_signal(signal.SIGKILL)
    killed.communicate(timeout=60)

    code, rows, said = cron.run("--until-parked")
    assert (code, {*rows[0]}) == (3, {"index", "pending"}), said
    release(server)

    (tmp_path / "app.py").write_text(GRAPH.replace('f"third {', 'f"edited {'))
    assert cron.run("--until-parked")[0] == 3
    release(server)

    code, rows, said = cron.run("--until-parked", "--out", "results.jsonl")
    assert (code, rows) == (0, []), said
    rows = [json.loads(line) for line in (tmp_path / "results.jsonl").read_text().splitlines()]
    assert [row["index"] for row in rows] == list(range(count))
    assert [row["result"]["topic"] for row in rows] == [f"t{i}" for i in range(count)]
    assert all({"first", "second", "third"} <= row["result"].keys() for row in rows)
    stats = server.stats
    assert (stats.batches, stats.paid, stats.paid_twice) == (3, 3 * count, 0)


def test_failed_threads_have_their_own_exit_code_and_a_wrong_command_another(server, tmp_path):
    server.configure(stuck=False)
    cron = Cron(tmp_path, server, [{"topic": "a"}, {"nothing": "b"}])
    code, rows, said = cron.run()
    assert code == 1, said
    assert rows[0]["result"]["topic"] == "a"
    assert rows[1] == {"index": 1, "error": {"type": "KeyError", "message": "'topic'"}}
    assert "2 inputs: 1 done, 1 failed, 0 wait" in said
    (tmp_path / "inputs.jsonl").write_text('{"topic": "another"}\n')
    code, rows, said = cron.run()
    assert (code, rows) == (2, []), said
    assert said.startswith("Error: input 0 is not the one")
    (tmp_path / "app.py").write_text("graph = None\n")
    code, _, said = cron.run()
    assert code == 2
    assert said == "Error: app has no 'graph'\n"
