"""The paths that the documents name are there, so that no move leaves one behind."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md", *sorted((ROOT / "docs").glob("*.md"))]
PATH = re.compile(r"`((?:[\w.]+/)*\w+\.py)`")
PLACES = (
    ROOT,
    ROOT / "batch_bridge",
    ROOT / "tests",
    ROOT / "tests" / "simulation",
    ROOT / "examples",
    ROOT / "benchmarks",
)
USERS = {"app.py", "agent.py", "bridges.py", "graph.py", "job.py", "main.py"}
"""Files of a reader's own."""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_files_that_a_page_names_are_there(page):
    named = set(PATH.findall(page.read_text()))
    gone = {name for name in named - USERS if not any((place / name).exists() for place in PLACES)}
    assert not gone


def test_the_picture_of_the_rooms_is_the_one_that_the_linter_keeps():
    layers = re.search(r"layers = \[\n(.*?)\n\]", (ROOT / "pyproject.toml").read_text(), re.DOTALL)
    picture = re.search(r"```\n(.*?)\n\n", (ROOT / "CONTRIBUTING.md").read_text(), re.DOTALL)
    assert layers is not None
    assert picture is not None
    kept = [set(re.findall(r"\w+", each)) for each in re.findall(r'"(.*?)"', layers[1])]
    rooms = set().union(*kept)
    drawn = [set(re.findall(r"\w+", line[4:41])) & rooms for line in picture[1].splitlines()]
    assert drawn[:-1] == kept[:-2], "floor by floor"
    assert drawn[-1] == kept[-2] | kept[-1]
    found = {each.parent.name for each in (ROOT / "batch_bridge").glob("*/__init__.py")}
    assert found == rooms - {"events", "errors"} | {"testing"}
