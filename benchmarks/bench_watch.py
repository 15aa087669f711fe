"""What watching costs a run: CPU seconds of the run's own process, with a watcher that looks each second and without.

python benchmarks/bench_watch.py [--pairs 4] [--threads 600]
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from batch_bridge.testing import BatchServer

JOB = Path(__file__).parents[1] / "tests" / "integration" / "status_job.py"
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


def cpu_of(threads: int, *, watched: bool) -> float:
    """Return the CPU seconds of a run of so many threads, over two waves."""
    with BatchServer(latency=0.5) as server, tempfile.TemporaryDirectory() as folder:
        file = str(Path(folder) / "run.db")
        watcher = subprocess.Popen([sys.executable, "-c", LOOK, file]) if watched else None
        try:
            command = [sys.executable, str(JOB), server.base_url, file, str(threads)]
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
    parser.add_argument("--threads", type=int, default=600)
    given = parser.parse_args()
    ratios = []
    for pair in range(given.pairs):
        order = (False, True) if pair % 2 else (True, False)
        seconds = {watched: cpu_of(given.threads, watched=watched) for watched in order}
        ratios.append(seconds[True] / seconds[False])
        print(f"watched {seconds[True]:.2f} s, not {seconds[False]:.2f} s of CPU: {ratios[-1]:.3f}", flush=True)
    print(f"median ratio: {statistics.median(ratios):.3f}")


if __name__ == "__main__":
    main()
