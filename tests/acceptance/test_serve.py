"""`make serve`: it does what it says, and leaves no process behind, however it ends."""

import os
import re
import select
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest

SERVE = Path(__file__).parents[2] / "examples" / "serve.py"
PATIENCE = 120.0

pytestmark = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="processes are counted in /proc")


class Serve:
    """The script in a process of its own; what it starts inherits a mark in its environment."""

    def __init__(self, *arguments: str) -> None:
        self._mark = f"SERVE_TEST={uuid.uuid4().hex}"
        name, _, value = self._mark.partition("=")
        self.process = subprocess.Popen(
            [sys.executable, str(SERVE), *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, name: value, "COLUMNS": "120"},
        )
        self.said = ""

    def until(self, pattern: str) -> None:
        """Read what it prints until a pattern is in it, or until it ends."""
        by = time.monotonic() + PATIENCE
        while not re.search(pattern, self.said):
            assert time.monotonic() < by, f"no {pattern!r} in time; it said:\n{self.said}"
            if select.select([self.process.stdout], [], [], 1.0)[0]:
                piece = os.read(self.process.stdout.fileno(), 65536).decode()
                assert piece, f"it ended before {pattern!r}; it said:\n{self.said}"
                self.said += piece

    def until_runs(self, command: str) -> None:
        """Wait until it has started a command."""
        by = time.monotonic() + PATIENCE
        while not any(command in each for each in self.left()):
            assert time.monotonic() < by, f"no {command!r} in time"
            time.sleep(0.02)

    def end(self) -> int:
        """Wait for its end; return its exit code."""
        rest, _ = self.process.communicate(timeout=PATIENCE)
        self.said += rest.decode()
        return self.process.returncode

    def left(self) -> list[str]:
        """The commands of the processes that carry the mark: its own, and what it has started."""
        found = []
        for entry in Path("/proc").iterdir():
            try:
                if entry.name.isdigit() and self._mark.encode() in (entry / "environ").read_bytes():
                    found.append((entry / "cmdline").read_text().replace("\0", " "))
            except OSError:
                continue  # ended meanwhile, or somebody else's
        return found


@pytest.fixture
def serve():
    started = []

    def start(*arguments: str) -> Serve:
        started.append(Serve(*arguments))
        return started[-1]

    yield start
    for each in started:
        each.process.kill()
        each.process.communicate()


def test_it_runs_threads_prints_the_report_and_ends_what_it_started(serve):
    job = serve("--threads", "5", "--latency", "0.5")
    assert job.end() == 0, job.said
    said = job.said
    assert re.search(r"threads\W+5 ended, 0 failed", said), said
    assert re.search(r"requests\W+20\b", said), said
    assert re.search(r"paid twice\W+0\b", said), said
    assert "You asked: Write one paragraph about Bridges in Chad" in said, said
    assert job.left() == []


def test_ctrl_c_while_a_server_starts_ends_it(serve):
    job = serve("--threads", "5")
    job.until_runs("langgraph dev")
    time.sleep(1)  # else it finds its folder gone, and ends of itself
    interrupt(job)


def test_ctrl_c_while_batches_are_in_flight_ends_what_it_started(serve):
    job = serve("--threads", "5", "--latency", "600")
    job.until(r"[1-9]\d* in flight")
    interrupt(job)


def interrupt(job: Serve) -> None:
    job.process.send_signal(signal.SIGINT)
    job.process.send_signal(signal.SIGINT)  # somebody in a hurry
    assert job.end() == 130, job.said
    assert "Traceback" not in job.said
    assert job.left() == []


def test_a_kept_server_shows_where_it_is_and_ends_with_sigterm(serve):
    job = serve("--threads", "1", "--latency", "0", "--keep")
    job.until(r"until Ctrl-C")
    assert re.search(r"studio/\?baseUrl=http://127\.0\.0\.1:\d+", job.said)
    assert any("langgraph" in each for each in job.left())
    job.process.send_signal(signal.SIGTERM)
    assert job.end() == 0, job.said
    assert job.left() == []
