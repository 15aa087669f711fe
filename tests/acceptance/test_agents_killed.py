"""Many agents, killed in the middle of each of their three waves, pay for nothing twice."""

import json
import signal
import subprocess
import time
from pathlib import Path

import sampling
import warm

from batch_bridge.testing import BatchServer

HERE = Path(__file__).parent
JOB = HERE / "agents_job.py"
AGENTS = sampling.many(200, 30)
LATENCY = 1.0
SHAPE = ["human", "ai", "tool", "ai", "tool", "tool", "ai"]
PATIENCE = 240


def test_many_agents_are_three_batches_though_they_are_killed(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(HERE.parent / "integration"))
    with BatchServer(latency=LATENCY, answerer="langchain_answers:answer") as server:
        command = [JOB, tmp_path, server.base_url, str(AGENTS)]
        for wave in (1, 2, 3):  # each time once the wave's batch is there, so that it must be adopted
            process = warm.start(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            until = time.monotonic() + PATIENCE
            while server.stats.batches < wave:
                assert process.poll() is None
                assert time.monotonic() < until
                time.sleep(0.02)
            process.send_signal(signal.SIGKILL)
            process.wait()
        done = warm.run(command, timeout=PATIENCE)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout) == [SHAPE] * AGENTS
        stats = server.stats
        assert (stats.batches, stats.requests, stats.paid, stats.paid_twice) == (3, 3 * AGENTS, 3 * AGENTS, 0)
