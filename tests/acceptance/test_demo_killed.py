"""The demo, killed again and again at random moments, continues each time and pays for nothing twice."""

import os
import random
import signal
import subprocess
from pathlib import Path

import sampling
import warm

from batch_bridge.testing import BatchServer

DEMO = Path(__file__).parents[2] / "examples" / "demo.py"
RECORDS = sampling.many(300, 100)
KILLS = sampling.many(20, 4)


def test_the_demo_survives_being_killed_many_times(tmp_path):
    seed = int(os.environ.get("CRASH_SEED", random.randrange(2**32)))
    print(f"CRASH_SEED={seed}")
    draws = random.Random(seed)
    command = [DEMO, "--records", f"{RECORDS}", "--latency", "1", "--state", tmp_path]
    killed = 0
    for _ in range(KILLS):
        process = warm.start(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        try:
            _, errors = process.communicate(timeout=draws.uniform(0.3, 3.5))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.communicate()
            killed += 1
        else:
            assert process.returncode == 0, errors
    done = warm.run(command)
    assert done.returncode == 0, done.stderr
    assert f"{4 * RECORDS:,}" in done.stdout
    assert killed >= KILLS // 2
    with BatchServer(state_dir=tmp_path / "server") as server:
        assert server.stats.paid == 4 * RECORDS
        assert server.stats.paid_twice == 0
