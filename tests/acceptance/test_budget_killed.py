"""A budget of a dollar over a job of ten holds, as the server counts, however often its process is killed."""

import json
import random
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import sampling

from batch_bridge.testing import BatchServer

HERE = Path(__file__).parent
JOB = HERE / "budget_job.py"
KILLS = sampling.many(10, 5)
THREADS = 50


def paid(server):
    stats = server.stats
    return stats.input_tokens * Decimal("0.0001") + stats.output_tokens * Decimal("0.01")


def test_a_budget_holds_through_kills_and_with_a_higher_one_the_job_ends(tmp_path):
    chance = random.Random(17)
    command = [sys.executable, str(JOB)]
    with (
        BatchServer(latency=0.05) as server,
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process,
    ):

        def live(usd, kill_after=0.0):
            order = {"folder": str(tmp_path), "base_url": server.base_url, "usd": usd, "kill_after": kill_after}
            process.stdin.write(json.dumps(order) + "\n")
            process.stdin.flush()
            return json.loads(process.stdout.readline())

        for _ in range(KILLS):
            live("1.00", chance.uniform(0.1, 1.5))
            assert paid(server) <= 1
        ended = live("1.00")
        assert set(ended["results"]) <= {"over", "done"}
        assert "over" in ended["results"]
        assert Decimal("0.5") < paid(server) <= 1
        assert server.stats.paid_twice == 0
        ended = live("50")
        assert ended == {"status": 0, "results": ["done"] * THREADS}
        stats = server.stats
        assert (stats.paid, stats.paid_twice, stats.bodies_repeated) == (2 * THREADS, 0, 0)
        assert Decimal((tmp_path / "cost").read_text()) == paid(server) > 5
        process.stdin.close()
