"""`--jobs`: what the workers report is shown, whatever becomes of them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[2]
CONFTEST = """
import forking

def pytest_configure(config):
    config.pluginmanager.register(forking.Forking({jobs}))
"""
FILES = {
    "test_one.py": """
import os, pytest, warnings

@pytest.fixture(scope="module")
def mine():
    yield os.getpid()

def test_passes(mine, tmp_path):
    (tmp_path / "file").write_text("here")
    assert mine == os.getpid()

def test_fails():
    print("what it printed")
    assert 1 == 2

@pytest.mark.skip("not today")
def test_is_left_out(): ...

def test_warns(capsys):
    warnings.warn("take care")
    print("said")
    assert capsys.readouterr().out == "said\\n"

def test_ends_well_but_for_its_fixture(request):
    request.addfinalizer(lambda: 1 / 0)
""",
    "test_two.py": """
import os

def test_before(): ...

def test_dies():
    os._exit(9)

def test_after(): ...
""",
    "test_three.py": """
def test_passes(): ...
""",
    "test_four.py": """
import os

def test_forks_and_forgets_its_child():
    os.fork()

def test_after_it(): ...
""",
}
ENDS = """
import gc, pytest, threading

@pytest.fixture(scope="session", autouse=True)
def session():
    yield
    thread = threading.Thread(target=lambda: 1 / 0)
    thread.start()
    thread.join()
    raise LookupError("of the session")

class Ends:
    def __init__(self):
        self.me = self

    def __del__(self):
        raise ValueError("while it ended")

async def never_awaited(): ...

def leave_garbage():
    gc.disable()  # so it is found at the end, and not by chance
    Ends()
    held = [never_awaited()]
    held.append(held)

def test_first(): ...

@pytest.mark.xfail
def test_last():
    leave_garbage()
    assert 0
"""
DIES = """
import os
from multiprocessing.connection import Connection

send = Connection.send

def dying(self, what):
    send(self, what)
    if what and what[0] == "ended":
        os._exit(0)

Connection.send = dying
"""
STUBBORN = """
import os, signal, time

def test_waits():
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    os.rename("waits", "waits on")
    time.sleep(600)
"""
FAILS = """
import os, time

def test_fails():
    while not os.path.exists("waits on"):
        time.sleep(0.01)
    assert 0
"""


def run(folder, files, *options, jobs=3, conftest=""):
    """Run the tests of a folder, and return how that ended, and what was said."""
    for name, text in {"conftest.py": CONFTEST.format(jobs=jobs) + conftest, **files}.items():
        (folder / name).write_text(text)
    command = [sys.executable, "-m", "pytest", "-q", "-ra", "-c", os.devnull, "--rootdir", ".", *options]
    environ = {**os.environ, "PYTHONPATH": str(TESTS), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    done = subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


@pytest.fixture(scope="module")
def said(tmp_path_factory):
    code, said = run(tmp_path_factory.mktemp("forked"), FILES)
    assert code == 1, said
    return said


def test_each_test_is_counted_once(said):
    assert said.strip().splitlines()[-1].startswith("2 failed, 8 passed, 1 skipped, 1 warning, 1 error in ")


@pytest.mark.parametrize(
    "line",
    [
        "FAILED test_one.py::test_fails - assert 1 == 2",
        "FAILED test_two.py::test_dies - the worker ended with 9 while it ran ",
        "ERROR test_one.py::test_ends_well_but_for_its_fixture - ZeroDivisionError: ",
        "SKIPPED [1] test_one.py:16: not today",
        "what it printed",
        "UserWarning: take care",
    ],
)
def test_what_happens_in_a_worker_is_shown(said, line):
    assert line in said


def test_what_pytest_notices_only_at_its_end_is_an_error_of_the_last_test(tmp_path):
    strict = ("-W", "error::pytest.PytestUnraisableExceptionWarning", "-W", "error::RuntimeWarning")
    strict += ("-W", "error::pytest.PytestUnhandledThreadExceptionWarning")
    code, said = run(tmp_path, {"test_ends.py": ENDS}, *strict, jobs=1)
    assert (code, said.count("ERROR at teardown of test_last")) == (1, 3)
    assert "1 passed, 1 xfailed, 3 errors in " in said
    for each in (
        "LookupError: of the session",
        "ZeroDivisionError",
        "while it ended",
        "'never_awaited' was never awaited",
    ):
        assert each in said


def test_what_is_only_a_warning_at_the_end_is_shown(tmp_path):
    code, said = run(tmp_path, {"test_ends.py": ENDS.replace("raise LookupError", "LookupError")}, jobs=1)
    assert code == 0, said
    assert "1 passed, 1 xfailed, 3 warnings in " in said


def test_a_fixture_of_the_session_that_hangs_is_an_error_of_the_last_test(tmp_path):
    hangs = ENDS.replace('raise LookupError("of the session")', "__import__('time').sleep(600)")
    code, said = run(tmp_path, {"test_ends.py": hangs}, jobs=1, conftest="forking.LONGEST = 0.5")
    assert (code, "1 passed, 1 xfailed, 3 warnings, 1 error in " in said) == (1, True)
    assert "TimeoutError: the fixtures of the session have not ended within 0.5 seconds" in said


def test_a_worker_that_ends_without_a_goodbye_has_died_and_each_test_is_run(tmp_path):
    files = {f"test_{each}.py": "def test(): ..." for each in "abc"}
    code, said = run(tmp_path, files, jobs=2, conftest=DIES)
    assert code == 1
    assert "3 passed, 3 errors in " in said
    for each in "abc":
        assert f"the worker ended with 0 after its last test, test_{each}.py::test" in said


def test_a_test_that_was_not_run_is_no_success(tmp_path):
    code, said = run(tmp_path, {"test_a.py": "def test(): ..."}, conftest="forking.Lanes.take = lambda *_: None")
    assert code == pytest.ExitCode.INTERNAL_ERROR
    assert "1 tests have not been run, such as test_a.py::test" in said


def test_the_first_failure_ends_the_run_whatever_another_worker_does(tmp_path):
    (tmp_path / "waits").touch()
    files = {"test_a.py": FAILS, "test_b.py": STUBBORN}
    code, said = run(tmp_path, files, "-x", jobs=2, conftest="forking.GRACE = 0.1")
    assert (code, "stopping after 1 failures" in said) == (pytest.ExitCode.TESTS_FAILED, True)
