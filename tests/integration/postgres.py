"""A PostgreSQL cluster of a test's own, in a temporary folder, which can be stopped hard and started again."""

import contextlib
import getpass
import glob
import os
import shutil
import signal
import socket
import subprocess
import tempfile

import psycopg
import pytest

BINARIES = [*sorted(glob.glob("/usr/lib/postgresql/*/bin")), "/usr/local/bin", "/usr/bin"]


def _binary(name):
    return shutil.which(name, path=os.pathsep.join(reversed(BINARIES)))


def _as_nobody_special(command):
    """PostgreSQL refuses to run as root."""
    if getpass.getuser() != "root":
        return command
    runuser = shutil.which("runuser", path="/usr/sbin:/sbin:/usr/bin:/bin")
    if runuser is None:
        pytest.skip("PostgreSQL does not run as root, and there is no runuser")
    return [runuser, "-u", "postgres", "--", *command]


class Cluster:
    """A cluster. `dsn` stays what it is when it is started again."""

    def __init__(self):
        if _binary("initdb") is None or _binary("postgres") is None:
            pytest.skip("there is no PostgreSQL on this machine")
        self._folder = tempfile.mkdtemp(prefix="batch-bridge-pg-")
        os.chmod(self._folder, 0o777)
        self._data = os.path.join(self._folder, "data")
        made = subprocess.run(
            _as_nobody_special([_binary("initdb"), "-D", self._data, "-U", "bridge", "--auth=trust", "-N"]),
            capture_output=True,
            text=True,
            check=False,
        )
        if made.returncode:
            pytest.skip(f"no cluster could be made: {made.stderr.strip()[:200]}")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = free.getsockname()[1]
        self._server = None

    def start(self):
        command = [_binary("postgres"), "-D", self._data, "-h", "127.0.0.1", "-p", str(self._port), "-k", self._folder]
        self._server = subprocess.Popen(
            _as_nobody_special([*command, "-F"]), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        for _ in range(600):
            with contextlib.suppress(psycopg.OperationalError):
                psycopg.connect(self.database("postgres"), connect_timeout=1).close()
                return

    def database(self, name):
        return f"postgresql://bridge@127.0.0.1:{self._port}/{name}"

    def create(self, name):
        """Make a database, and return where it is."""
        with psycopg.connect(self.database("postgres"), autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}"')
        return self.database(name)

    def kill(self):
        """Stop it as a crash does: no session ends in order."""
        with open(os.path.join(self._data, "postmaster.pid"), encoding="ascii") as lines:
            os.kill(int(lines.readline()), signal.SIGQUIT)
        self._server.wait(timeout=30)

    def end(self):
        if self._server is not None and self._server.poll() is None:
            self._server.terminate()
            self._server.wait(timeout=30)
        shutil.rmtree(self._folder, ignore_errors=True)


@contextlib.contextmanager
def cluster():
    made = Cluster()
    try:
        made.start()
        yield made
    finally:
        made.end()
