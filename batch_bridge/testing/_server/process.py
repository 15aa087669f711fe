"""The child process of a `BatchServer`."""

import contextlib
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path

import orjson

from batch_bridge.testing._server.errors import BatchServerError

START_SECONDS = 30.0
STOP_SECONDS = 8.0
STOP = b"stop\n"
"""Sent to the child before its pipe is closed, so that it can distinguish a stop from our death."""

_MAX_SAID = 8_000
spawn = subprocess.Popen
"""How the child is started. BatchBridge's own tests fork it off a process that has imported what it needs."""


class ServerProcess:
    """Starts the server and waits until it answers.

    The child holds the other end of a pipe and ends when that is closed: by `stop`, or by our own end.

    Args:
        launch: What the child is told: the fields of `Launch`, and `path`, where it looks for modules.

    Raises:
        BatchServerError: It did not start; says what it said.
    """

    def __init__(self, launch: Mapping[str, object]) -> None:
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - closed when the process has ended
        self._process = spawn(
            [sys.executable, str(Path(__file__).with_name("boot.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            start_new_session=True,  # Ctrl-C is the parent's to answer
        )
        try:
            self.base_url = self._greet(launch)
        except BaseException:
            self.kill()
            raise

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    def said(self) -> str:
        """The end of what it wrote to stderr."""
        if self._stderr.closed:
            return ""
        size = self._stderr.seek(0, os.SEEK_END)
        self._stderr.seek(max(0, size - _MAX_SAID))
        return self._stderr.read().decode(errors="replace").strip()

    def stop(self) -> None:
        """Ask it to end; kill it if it does not."""
        if self._process.stdin is not None:
            with contextlib.suppress(OSError):  # it has ended already
                self._process.stdin.write(STOP)
                self._process.stdin.flush()
        self._close_pipes()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
        self._process.wait()
        self._stderr.close()

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()
        self._process.wait()
        self._close_pipes()
        self._stderr.close()

    def _close_pipes(self) -> None:
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()

    def _greet(self, launch: Mapping[str, object]) -> str:
        stdin, stdout = self._process.stdin, self._process.stdout
        if stdin is None or stdout is None:
            raise BatchServerError("the server's process has no pipes.")
        with contextlib.suppress(BrokenPipeError):  # it has ended; its output says why
            stdin.write(orjson.dumps(launch, option=orjson.OPT_APPEND_NEWLINE))
            stdin.flush()
        overdue = threading.Timer(START_SECONDS, self._process.kill)
        overdue.start()
        try:
            line = stdout.readline()
        finally:
            overdue.cancel()
        answer = orjson.loads(line) if line.startswith(b"{") else {}
        if "base_url" in answer:
            return str(answer["base_url"])
        if "error" in answer:
            raise BatchServerError(f"the server did not start: {answer['error']}")
        code = self._process.wait()
        raise BatchServerError(
            f"the server did not start: its process ended with {code} before it answered. It said:\n{self.said()}"
        )
