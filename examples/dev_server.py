"""`langgraph dev`, started and ended from Python: for the examples, the tests and the benchmarks."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import IO, Self

_STARTS_WITHIN = 120.0
_ENDS_WITHIN = 30.0


class DevServer:
    """A LangGraph development server on a free port on loopback; everything that it started ends with it.

    Its state is kept in `folder`, so that it can be stopped and started again.

    Args:
        config: The `langgraph.json`.
        folder: Where it works; a temporary one by default, which goes with it.
        jobs: Runs that it works at side by side.
        env: Environment variables for it, besides those of this process.
    """

    def __init__(
        self, config: Path, *, folder: Path | None = None, jobs: int = 10, env: dict[str, str] | None = None
    ) -> None:
        self._config = config.resolve()
        self._temporary = tempfile.TemporaryDirectory(prefix="langgraph-dev-") if folder is None else None
        self.folder = folder or Path(self._temporary.name if self._temporary else "")
        self._jobs = jobs
        self._env = env or {}
        self._process: subprocess.Popen[bytes] | None = None
        self._log: IO[bytes] | None = None
        self.port = 0

    _spawn = subprocess.Popen
    """How the process is started; the tests fork it off one that has its imports."""

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """The process that listens."""
        if self._process is None:
            raise RuntimeError("the server is not running")
        return self._process.pid

    @property
    def log(self) -> str:
        """What it has printed."""
        path = self.folder / "server.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def start(self) -> None:
        """Start it, and return once it answers.

        Raises:
            RuntimeError: It ended, or did not answer in time; the message holds what it printed last.
        """
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self._log = (self.folder / "server.log").open("ab")
        self._process = self._spawn(
            [
                *(Path(sys.executable).with_name("langgraph"), "dev", "--config", self._own_config()),
                *("--no-browser", "--no-reload", "--host", "127.0.0.1"),
                *("--port", str(self.port), "--n-jobs-per-worker", str(self._jobs)),
            ],
            cwd=self.folder,
            env=os.environ | {"LANGSMITH_TRACING": "false", "LANGGRAPH_CLI_NO_ANALYTICS": "1"} | self._env,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        until = time.monotonic() + _STARTS_WITHIN
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > until:
                said = self.log[-3000:]
                self.kill()
                raise RuntimeError(f"`langgraph dev` did not start; it said:\n{said}")
            time.sleep(0.1)

    def _own_config(self) -> Path:
        """Write the config into its folder; the paths in it are taken from there."""
        config = json.loads(self._config.read_text())
        home = self._config.parent
        config["dependencies"] = [str(home)]
        config["graphs"] = {name: _absolute(path, home) for name, path in config["graphs"].items()}
        if "auth" in config:
            config["auth"]["path"] = _absolute(config["auth"]["path"], home)
        if "app" in config.get("http", {}):
            config["http"]["app"] = _absolute(config["http"]["app"], home)
        own = self.folder / "langgraph.json"
        own.write_text(json.dumps(config, indent=2))
        return own

    def stop(self) -> None:
        """End it as an operator does, with SIGTERM: it keeps its state."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it at once. What it has not written down is lost."""
        self._end(signal.SIGKILL)

    def _end(self, how: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is not None:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(how)
            try:
                process.wait(_ENDS_WITHIN)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)  # what it left behind
        if self._log is not None:
            self._log.close()
            self._log = None

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/ok", timeout=2) as reply:
                return bool(reply.status == 200)
        except OSError:
            return False

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:  # Ctrl-C, too: nobody would end what was started
            self.kill()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.stop()
        finally:
            if self._temporary is not None:
                self._temporary.cleanup()


def _absolute(path: str, home: Path) -> str:
    file, _, name = path.rpartition(":")
    return f"{(home / file).resolve()}:{name}"
