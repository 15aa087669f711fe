"""A run of 2,000 threads with faults, watched by ten and killed: what status says is what the server counts."""

import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import sampling

from batch_bridge._status.read import read_status
from batch_bridge.errors import RunFileError
from batch_bridge.testing import BatchServer

JOB = Path(__file__).parents[1] / "integration" / "status_job.py"
THREADS = sampling.many(2000, 120)
KILLS = sampling.many(3, 1)


def test_what_status_says_is_what_the_server_counts(tmp_path):
    faults = {"poll_error": 0.1, "create_error": 0.1, "missing_line": 0.01, "line_failure": 0.01, "doubled_line": 0.01}
    file = tmp_path / "run.db"
    with BatchServer(latency=0.3, **faults) as server, ThreadPoolExecutor(10) as watchers:
        command = [sys.executable, str(JOB), server.base_url, str(file), str(THREADS)]
        for kill in range(1, KILLS + 1):
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            while not file.exists() or not _is_at(file, kill * THREADS // (KILLS + 1)):
                assert process.poll() is None
                list(watchers.map(_look, [file] * 10))
                time.sleep(0.05)
            process.send_signal(signal.SIGKILL)
            process.wait()
            seen = read_status(file)
            assert (seen.state, seen.owner.alive, seen.owner.pid) == ("stuck", False, process.pid)
        subprocess.run(command, check=True, capture_output=True)
        seen, stats = read_status(file), server.stats
    assert seen.threads.done + seen.threads.failed == seen.threads.total == THREADS
    assert seen.state == ("failed" if seen.threads.failed else "done")
    assert seen.batches_ended == stats.batches
    assert stats.paid_twice == 0
    assert stats.paid - stats.faults.get("missing_line", 0) <= seen.outcomes["succeeded"] <= stats.paid


def _is_at(file, settled):
    seen = _look(file)
    return seen is not None and seen.outcomes.get("succeeded", 0) >= settled


def _look(file):
    try:
        return read_status(file)
    except RunFileError:  # it is just being made
        return None
