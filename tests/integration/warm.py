"""A Python that has imported what programs need, and forks a child for each: a program is tested, and not once more the import.

As a process it reads orders, a line of JSON each: {"program", "cwd", "env", "said"}. The child's standard output and error go
into files, and it ends as any program does; the reply is its exit code.
"""

import ast
import asyncio
import inspect
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self


@dataclass(frozen=True)
class Done:
    """How a program has ended."""

    returncode: int
    stdout: str
    stderr: str


class Warm:
    """The process. A context manager.

    Args:
        imports: The modules that are imported before the first program runs.
    """

    def __init__(self, *imports: str) -> None:
        self._imports = imports

    def __enter__(self) -> Self:
        command = [sys.executable, str(Path(__file__)), *self._imports]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.communicate(timeout=30)

    def run(self, program: str, *, cwd: Path, env: dict[str, str]) -> Done:
        """Run a program, which may await at its top level, in a folder."""
        said = cwd / "said"
        order = {"program": program, "cwd": str(cwd), "env": env, "said": str(said)}
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        code = int(self._process.stdout.readline())
        return Done(code, *(said.with_suffix(suffix).read_text() for suffix in (".out", ".err")))


def orders() -> dict[str, Any] | None:
    """Fork for each order; return it in the child, and nothing in the parent once there are no more."""
    for line in sys.stdin:
        process = os.fork()
        if not process:
            return json.loads(line)
        _, ended = os.waitpid(process, 0)
        print(os.waitstatus_to_exitcode(ended), flush=True)
    return None


def obey(program: str, cwd: str, env: dict[str, str], said: str) -> None:
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    sys.path[0] = ""
    ways = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    for number, opened in enumerate(
        (os.open(os.devnull, os.O_RDONLY), os.open(f"{said}.out", ways), os.open(f"{said}.err", ways))
    ):
        os.dup2(opened, number)
    code = compile(program, "program", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    names = {"__name__": "program"}
    if code.co_flags & inspect.CO_COROUTINE:
        asyncio.run(eval(code, names))
    else:
        exec(code, names)


if __name__ == "__main__":
    for name in sys.argv[1:]:
        __import__(name)
    if (order := orders()) is not None:
        obey(**order)
