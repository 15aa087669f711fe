"""Aegra with two or more server processes, on a Postgres and a Redis of a test's own.

Aegra needs Python 3.12, and so is in an environment of its own, which `make test-aegra` makes and
`BATCH_BRIDGE_AEGRA_PYTHON` names. The environment has this project too.
"""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import httpx
import psycopg
import pytest

PYTHON = os.environ.get("BATCH_BRIDGE_AEGRA_PYTHON", "")
ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "aegra"
LONG = 600.0
"""Seconds that are waited for anything: a busy machine is slow."""
SETTINGS = {
    "REDIS_BROKER_ENABLED": "true",
    "LEASE_DURATION_SECONDS": "7",
    "HEARTBEAT_INTERVAL_SECONDS": "2",
    "REAPER_INTERVAL_SECONDS": "2",
    "STUCK_PENDING_THRESHOLD_SECONDS": "10",
    "BLPOP_TIMEOUT_SECONDS": "1",
    "LOG_LEVEL": "WARNING",
    "OPENAI_API_KEY": "test",
    "BRIDGE_QUIET_SECONDS": "3",
    "BRIDGE_POLL_SECONDS": "1",
}
"""Aegra's own leases are 30 s, and what it has lost it looks for after two minutes: a test need not wait for that."""


def require():
    """Skip a test where something is missing."""
    if not PYTHON or not Path(PYTHON).exists():
        pytest.skip("BATCH_BRIDGE_AEGRA_PYTHON names no Python 3.12 with Aegra; run: make test-aegra")
    if shutil.which("redis-server") is None:
        pytest.skip("there is no redis-server on this machine (Debian: apt install redis-server)")
    ran = subprocess.run(
        [PYTHON, "-c", "import sys, aegra_api, batch_bridge; sys.exit(sys.version_info < (3, 12))"],
        capture_output=True,
        text=True,
        check=False,
    )
    if ran.returncode:
        pytest.skip(f"{PYTHON} lacks Aegra, this project or Python 3.12: {ran.stderr.strip()[-200:]}")


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@contextlib.contextmanager
def redis():
    """Yield the address of a Redis that keeps nothing."""
    folder, port = tempfile.mkdtemp(prefix="batch-bridge-redis-"), free_port()
    command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", folder]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        yield f"redis://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(timeout=30)
        shutil.rmtree(folder, ignore_errors=True)


class Server:
    """A process of Aegra, or of `batch-bridge tick`."""

    def __init__(self, command, folder, env, log, url=""):
        self.url = url
        self.log = log
        with open(log, "ab") as said:
            self.process = subprocess.Popen(
                command, cwd=folder, env=env, stdout=said, stderr=subprocess.STDOUT, start_new_session=True
            )

    def until_up(self):
        until = time.monotonic() + LONG
        while True:
            with contextlib.suppress(httpx.HTTPError):
                if httpx.get(f"{self.url}/health", timeout=5).status_code == 200:
                    return self
            assert self.process.poll() is None, self.log.read_text()[-4000:]
            assert time.monotonic() < until, self.log.read_text()[-4000:]
            time.sleep(0.1)

    def end(self):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


class World:
    """A database, a Redis, a Batch API server and processes.

    Args:
        dsn: A database of its own.
        redis: Where Redis is, with a database of its own.
        batches: The Batch API server.
        logs: A folder for what the processes say.
        folder: The project.
        env: More settings.
    """

    def __init__(self, dsn, redis, batches, logs, folder=EXAMPLE, **env):
        self.dsn, self.batches, self.folder, self.logs = dsn, batches, folder, logs
        self.servers = []
        self.env = {
            **os.environ,
            **SETTINGS,
            "DATABASE_URL": dsn,
            "REDIS_URL": redis,
            "AEGRA_CONFIG": str(folder / "aegra.json"),
            "OPENAI_BASE_URL": batches.base_url,
            **env,
        }

    def serve(self, port=0):
        """Start a process of Aegra, and wait until it answers."""
        port = port or free_port()
        command = [PYTHON, "-m", "uvicorn", "aegra_api.main:app", "--host", "127.0.0.1", "--port", str(port)]
        log = self.logs / f"aegra-{len(self.servers)}.log"
        self.servers.append(
            Server(command, self.folder, {**self.env, "PORT": str(port)}, log, f"http://127.0.0.1:{port}")
        )
        return self.servers[-1].until_up()

    def tick(self, *arguments):
        """Start `batch-bridge tick`."""
        log = self.logs / f"tick-{len(self.servers)}.log"
        command = [str(Path(PYTHON).with_name("batch-bridge")), "tick", *arguments]
        self.servers.append(Server(command, self.folder, self.env, log))
        return self.servers[-1]

    def wait(self, condition, what=""):
        until = time.monotonic() + LONG
        while not (found := condition()):
            assert time.monotonic() < until, what
            time.sleep(0.1)
        return found

    def has_ticker(self):
        """Return whether one of the processes ticks."""
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            cursor = connection.execute("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND classid = 25186")
            return cursor.fetchone()[0]

    def end(self):
        for each in self.servers:
            each.end()
