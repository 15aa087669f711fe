"""A Python that has imported what programs need, and forks a child for each: a program is tested, and not once more the import.

A child is a process like any other: it can be killed, has its own folder, environment and standard streams, and ends as
any program does. `run` and `start` are like those of `subprocess`, for programs that would begin with `python`; what a
program's start itself costs or imports is for `subprocess` alone.

Each message to the parent is one order, JSON, with the child's standard streams and the end of a pipe; the child's id
and how it ended come back through the pipe, a line each.
"""

import ast
import asyncio
import contextlib
import gc
import inspect
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
import types
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any

import tls

LIBRARIES = (
    "batch_bridge",
    "batch_bridge.langchain",
    "batch_bridge.providers.openai",
    "langchain.agents",
    "langchain_openai",
    "openai.types",
    "anyio._backends._asyncio",  # these three load with the first call
    "h11",
    "httpcore2",
)
"""What is there before the first program runs, unless it asks for more."""
SERVER = (
    "batch_bridge.testing.__main__",
    *(f"batch_bridge.testing._server.{each}" for each in ("app", "core", "guard", "http")),
    "uvicorn.lifespan.on",
    "uvicorn.protocols.http.auto",
)
"""What a `BatchServer` imports, also late: a quarter of a second of CPU for each of hundreds."""


class Process:
    """A program that runs, as `subprocess.Popen` shows it."""

    def __init__(self, ended: IO[bytes], stdin: IO[Any] | None, stdout: IO[Any] | None, stderr: IO[Any] | None) -> None:
        self.pid = int(ended.readline())
        self.returncode: int | None = None
        self.stdin, self.stdout, self.stderr = stdin, stdout, stderr
        self._ended = ended

    def poll(self) -> int | None:
        """Return its exit code, or nothing while it runs."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Return its exit code once it has ended; minus a signal's number if that ended it."""
        if self.returncode is None:
            if not select.select([self._ended], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(f"process {self.pid}", timeout or 0)
            self.returncode = int(self._ended.readline())
            self._ended.close()
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send it a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """End it at once."""
        self.send_signal(signal.SIGKILL)

    def communicate(self, last: Any = None, timeout: float | None = None) -> tuple[Any, Any]:
        """Give it a last input, and return the rest that it prints to its pipes, once it has ended."""
        if self.stdin:
            with contextlib.suppress(BrokenPipeError), self.stdin:
                if last is not None:
                    self.stdin.write(last)
        with ThreadPoolExecutor(2) as pool:
            reading = [pool.submit(pipe.read) if pipe else None for pipe in (self.stdout, self.stderr)]
            try:
                self.wait(timeout)
            except subprocess.TimeoutExpired:
                self.kill()  # else nobody would stop reading
                raise
        for pipe in filter(None, (self.stdout, self.stderr)):
            pipe.close()
        out, err = (each and each.result() for each in reading)
        return out, err


class Warm:
    """The parent. It starts with the first program, and ends with `close`, or with the process that made it."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def start(
        self,
        command: Sequence[str | Path],
        *,
        imports: Sequence[str] = LIBRARIES,
        cwd: Path | None = None,
        env: dict[str, str] | None = None,
        stdin: int | None = None,
        stdout: int | IO[Any] | None = None,
        stderr: int | IO[Any] | None = None,
        text: bool = True,
        start_new_session: bool = False,
    ) -> Process:
        """Start a program.

        Args:
            command: A script, or `-m` and a module, or `-c` and a program, which may await at its top level; then the
                program's arguments.
            imports: What is imported first, once for all programs; names that there are not are left out.
            cwd: Where it works.
            env: Its environment; that of this process by default.
            stdin: `subprocess.PIPE`, or nothing to read by default.
            stdout: `PIPE`, a file, `DEVNULL`, or by default where this process prints.
            stderr: The same, or `STDOUT`.
            text: Whether the pipes carry text.
            start_new_session: Whether Ctrl-C goes past it.
        """
        order = {
            "command": [str(each) for each in command],
            "imports": list(imports),
            "cwd": str(cwd or Path.cwd()),
            "env": dict(os.environ if env is None else env),
            "session": start_new_session,
        }
        with contextlib.ExitStack() as given:

            def handed(end: int) -> int:
                given.callback(os.close, end)
                return end

            def printing(to: int | IO[Any] | None, standard: int) -> tuple[int, IO[Any] | None]:
                if to == subprocess.PIPE:
                    ours, end = os.pipe()
                    return handed(end), os.fdopen(ours, "r" if text else "rb")
                if to == subprocess.DEVNULL:
                    return handed(os.open(os.devnull, os.O_WRONLY)), None
                if to is None:
                    return standard, None
                return to if isinstance(to, int) else to.fileno(), None

            into = None
            if stdin == subprocess.PIPE:
                end, ours = os.pipe()
                zero, into = handed(end), os.fdopen(ours, "w" if text else "wb")
            else:
                zero = handed(os.open(os.devnull, os.O_RDONLY))
            one, out = printing(stdout, 1)
            two, err = (one, None) if stderr == subprocess.STDOUT else printing(stderr, 2)
            ended, end = os.pipe()
            socket.send_fds(self._parent(), [json.dumps(order).encode()], [zero, one, two, handed(end)])
        return Process(os.fdopen(ended, "rb", buffering=0), into, out, err)

    def run(
        self, command: Sequence[str | Path], *, timeout: float = 240, **options: Any
    ) -> subprocess.CompletedProcess[str]:
        """Run a program to its end, and return what it printed."""
        with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
            process = self.start(command, stdout=out, stderr=err, **options)
            try:
                code = process.wait(timeout)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                raise
            said = [each.read() for each in (out, err) if not each.seek(0)]
        return subprocess.CompletedProcess(list(map(str, command)), code, *said)

    def begin(self) -> None:
        """Start the parent now: processes that are forked off this one share it."""
        self._parent()

    def close(self) -> None:
        """End the parent once those that share it have ended; programs that still run go on."""
        if self._process is not None:
            self._orders.close()
            self._process.wait()
            self._process = None

    def _parent(self) -> socket.socket:
        if self._process is None:
            self._orders, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            with theirs:
                self._process = subprocess.Popen(
                    [sys.executable, __file__, str(theirs.fileno())],
                    pass_fds=[theirs.fileno()],
                    cwd=Path(__file__).parent,  # that of a test is gone after it, and an import may ask for it
                    stdin=subprocess.DEVNULL,
                    env=os.environ | {"LANGSMITH_TRACING": "false"},
                )
        return self._orders


WARM = Warm()
"""The one of this process and of the workers that are forked off it. `conftest.py` closes it."""
run, start = WARM.run, WARM.start


def batch_server(command: Sequence[str], **options: Any) -> Process:
    """Start the process of a `BatchServer`, as `subprocess.Popen` would."""
    return start(command[1:], imports=SERVER, text=False, **options)


def orders(listening: socket.socket) -> tuple[dict[str, Any], list[int]] | None:
    """Fork for each order; return it in the child, and nothing in the parent once there are no more."""
    while True:
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        message, given, _, _ = socket.recv_fds(listening, 1 << 20, 4)
        if not message:
            return None
        order = json.loads(message)
        for name in order["imports"]:
            if name not in sys.modules:
                with contextlib.suppress(ImportError):
                    __import__(name)
        gc.collect()
        gc.freeze()  # else the first collection in a child copies everything
        if not os.fork():  # it waits, so that several run side by side
            listening.close()
            ended = given.pop()
            if not (child := os.fork()):
                os.close(ended)
                return order, given
            os.write(ended, f"{child}\n".encode())
            for each in given:
                os.close(each)
            _, status = os.waitpid(child, 0)
            with contextlib.suppress(BrokenPipeError):  # nobody asks any more
                os.write(ended, f"{os.waitstatus_to_exitcode(status)}\n".encode())
            os._exit(0)
        for each in given:
            os.close(each)


def obey(command: list[str], cwd: str, env: dict[str, str], *, session: bool, streams: list[int]) -> None:
    """Become the program."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if session:
        os.setsid()
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    for number, opened in enumerate(streams):
        os.dup2(opened, number)
    for opened in streams:
        os.close(opened)
    sys.path[1:1] = [each for each in env.get("PYTHONPATH", "").split(os.pathsep) if each and each not in sys.path]
    match command:
        case ["-m", module, *arguments]:
            sys.argv, sys.path[0] = [module, *arguments], cwd
            runpy.run_module(module, run_name="__main__", alter_sys=True)
        case ["-c", program, *arguments]:
            sys.argv, sys.path[0] = ["-c", *arguments], ""
            _run_text(program)
        case [script, *_]:
            sys.argv, sys.path[0] = command, str(Path(script).parent)
            runpy.run_path(script, run_name="__main__")


def _run_text(program: str) -> None:
    main = sys.modules["__main__"] = types.ModuleType("__main__")
    code = compile(program, "<string>", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    if code.co_flags & inspect.CO_COROUTINE:
        asyncio.run(eval(code, vars(main)))
    else:
        exec(code, vars(main))


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for those that run
    tls.share()
    with socket.socket(fileno=int(sys.argv[1])) as received:
        given = orders(received)
    if given is not None:
        order, streams = given
        obey(order["command"], order["cwd"], order["env"], session=order["session"], streams=streams)
