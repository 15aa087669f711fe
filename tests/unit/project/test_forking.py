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
    config.pluginmanager.register(forking.Forking(3))
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
}


@pytest.fixture(scope="module")
def said(tmp_path_factory):
    folder = tmp_path_factory.mktemp("forked")
    for name, text in {"conftest.py": CONFTEST, **FILES}.items():
        (folder / name).write_text(text)
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-ra",
        "-p",
        "no:langsmith_plugin",
        "-c",
        os.devnull,
        "--rootdir",
        ".",
    ]
    done = subprocess.run(
        command, cwd=folder, env={**os.environ, "PYTHONPATH": str(TESTS)}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1, done.stdout + done.stderr
    return done.stdout


def test_each_test_is_counted_once(said):
    assert said.strip().splitlines()[-1].startswith("2 failed, 6 passed, 1 skipped, 1 warning, 1 error in ")


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
