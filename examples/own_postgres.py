"""A PostgreSQL of one's own in a temporary folder, gone when it is left: for `make pool` and the benchmarks."""

import getpass
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_DEBIAN = Path("/usr/lib/postgresql")
"""Where Debian puts a server's programs: only its clients are in the `PATH`."""
_STARTS_WITHIN = 60.0
_MISSING = """\
This needs a PostgreSQL of its own, and there is no {name} on this machine: neither in the PATH, nor below {debian}.
Install it (Debian, Ubuntu: apt install postgresql; macOS: brew install postgresql). No server need run, and nothing of
yours is touched: the database is in a temporary folder, and goes with it."""


@dataclass(frozen=True)
class OwnPostgres:
    """A server that runs.

    Attributes:
        dsn: A database in it.
        pid: Its process, whose children are its sessions.
    """

    dsn: str
    pid: int


@contextmanager
def own_postgres(*settings: str) -> Iterator[OwnPostgres]:
    """Yield a server that nobody else uses.

    Args:
        settings: For its configuration, such as `"max_connections=300"`.
    """
    folder = Path(tempfile.mkdtemp(prefix="batch-bridge-postgres-"))
    folder.chmod(0o777)  # as root it is another user's
    try:
        data = str(folder / "data")
        made = _run([_program("initdb"), "-D", data, "-U", "bridge", "--auth=trust", "-N"])
        if made.returncode:
            sys.exit(f"initdb could not make a database in {folder}: {made.stdout.strip()[-500:]}")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        options = [part for setting in settings for part in ("-c", setting)]
        command = [_program("postgres"), "-D", data, "-h", "127.0.0.1", "-p", str(port), "-k", str(folder), *options]
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                _as_user(command),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C ends what uses it first
            )
        try:
            _wait(process, Path(data) / "postmaster.pid", folder / "log")
            pid = int((Path(data) / "postmaster.pid").read_text(encoding="utf-8").split()[0])
            yield OwnPostgres(f"postgresql://bridge@127.0.0.1:{port}/postgres", pid)
        finally:
            process.terminate()
            process.wait()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _wait(process: "subprocess.Popen[bytes]", told: Path, log: Path) -> None:
    """Wait until a server says, in the last line of its file, that it is ready."""
    until = time.monotonic() + _STARTS_WITHIN
    while not (told.exists() and told.read_text(encoding="utf-8").strip().endswith("ready")):
        if process.poll() is not None or time.monotonic() > until:
            said = log.read_text(encoding="utf-8", errors="replace").strip()[-500:]
            sys.exit(f"PostgreSQL did not start: {said}")
        time.sleep(0.05)


def _run(command: Sequence[str]) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        _as_user(command), check=False, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd="/"
    )


def _as_user(command: Sequence[str]) -> list[str]:
    """Return a command as another user's where this one is root, as which PostgreSQL refuses to run."""
    if getpass.getuser() != "root":
        return list(command)
    runuser = shutil.which("runuser", path=os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/sbin")))
    if runuser is None:
        sys.exit("PostgreSQL does not run as root, and there is no runuser here; run this as another user.")
    return [runuser, "-u", "postgres", "--", *command]


def _program(name: str) -> str:
    """Return where a program of PostgreSQL is: in the PATH, or else the newest that Debian has."""
    places = sorted(
        _DEBIAN.glob("*/bin"), key=lambda place: [int(each) for each in re.findall(r"\d+", place.parent.name)]
    )
    searched = [os.environ.get("PATH", os.defpath), *map(str, reversed(places))]
    found = shutil.which(name, path=os.pathsep.join(searched))
    if found is None:
        sys.exit(_MISSING.format(name=name, debian=_DEBIAN))
    return found
