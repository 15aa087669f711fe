"""Programs of users, as type checkers see them: results are typed, and mistakes are found, by mypy and by pyright."""

import importlib.util
import inspect
import json
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from batch_bridge import Batcher, Runner
from batch_bridge.batcher._types import BatcherOptions
from batch_bridge.runner._types import RunnerOptions

ROOT = Path(__file__).parents[3]
PROGRAMS = sorted((Path(__file__).parent / "typed").glob("*.py"))
MISTAKES = {
    (path.name, number)
    for path in PROGRAMS
    for number, line in enumerate(path.read_text().splitlines(), 1)
    if line.endswith("# MISTAKE")
}


@pytest.mark.types
def test_mypy_finds_the_mistakes_and_nothing_else():
    command = [sys.executable, "-m", "mypy", "--strict", "--python-version", "3.11", "--no-error-summary"]
    cache = ["--cache-dir", str(ROOT / ".mypy_cache"), "--config-file", ""]
    done = subprocess.run(
        [*command, *cache, *map(str, PROGRAMS)], cwd=ROOT, capture_output=True, check=False, text=True, timeout=500
    )
    errors = {
        (Path(path).name, int(line)) for path, line in re.findall(r"^(\S+\.py):(\d+): error", done.stdout, re.MULTILINE)
    }
    assert errors == MISTAKES, done.stdout + done.stderr


@pytest.mark.types
@pytest.mark.skipif(
    importlib.util.find_spec("basedpyright") is None,
    reason="basedpyright, which is pyright with a node of its own, is not installed: it is in the group dev",
)
def test_pyright_finds_the_mistakes_and_nothing_else(tmp_path):
    settings = tmp_path / "pyrightconfig.json"
    settings.write_text(
        json.dumps(
            {
                "typeCheckingMode": "standard",
                "pythonVersion": "3.11",
                "extraPaths": [str(ROOT)],
                "include": [str(path) for path in PROGRAMS],
            }
        )
    )
    command = [sys.executable, "-m", "basedpyright", "--outputjson", "--project", str(settings)]
    done = subprocess.run(
        [*command, "--pythonpath", sys.executable],
        cwd=tmp_path,
        capture_output=True,
        check=False,
        text=True,
        timeout=500,
    )
    told = json.loads(done.stdout)
    errors = [each for each in told["generalDiagnostics"] if each["severity"] == "error"]
    places = {(Path(each["file"]).name, each["range"]["start"]["line"] + 1) for each in errors}
    assert places == MISTAKES, [(each["file"], each["range"]["start"], each["message"]) for each in errors]
    assert told["summary"]["filesAnalyzed"] >= len(PROGRAMS)


@pytest.mark.parametrize(("kind", "options", "apart"), [(Runner, RunnerOptions, 2), (Batcher, BatcherOptions, 3)])
def test_the_options_that_a_checker_is_told_of_are_those_that_there_are(kind, options, apart):
    parameters = list(inspect.signature(kind.__init__).parameters)[1:]
    assert {each for each in parameters[apart:] if not each.startswith("_")} == set(options.__annotations__)


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: path.stem)
def test_the_programs_run(path):
    assert runpy.run_path(str(path), run_name="__main__")["__name__"] == "__main__"
