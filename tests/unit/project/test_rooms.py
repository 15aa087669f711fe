"""The house stays one that can be seen: few rooms on few floors, and no folder with more modules than a glance takes in."""

import re

import pytest
from test_docs_name_code import ROOT

HOUSE = ROOT / "batch_bridge"
FOLDERS = sorted({each.parent for each in HOUSE.rglob("*.py")})
AT_THE_ROOT = {"errors", "events"}
NO_ROOM = {"docs", "project"}
"""Folders of unit tests that are about the whole project."""


def modules(folder):
    return {each.stem for each in folder.glob("*.py")} - {"__init__"}


def rooms():
    return {each.name for each in FOLDERS if each.parent == HOUSE}


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda each: str(each.relative_to(ROOT)))
def test_a_folder_holds_at_most_20_modules(folder):
    assert len(list(folder.glob("*.py"))) <= 20, "divide it by noun into folders that explain themselves"


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda each: str(each.relative_to(ROOT)))
def test_a_folder_says_what_it_is_for(folder):
    assert (folder / "__init__.py").read_text().startswith('"""')


def test_the_root_holds_the_public_modules_alone():
    assert modules(HOUSE) == AT_THE_ROOT


def test_there_are_at_most_24_rooms_on_10_floors():
    layers = re.search(r"layers = \[\n(.*?)\n\]", (ROOT / "pyproject.toml").read_text(), re.DOTALL)
    assert layers is not None
    floors = [each for each in re.findall(r'"(.*?)"', layers[1]) if each != "errors"]  # drawn beside the core
    assert len(floors) <= 10
    assert len(rooms()) <= 24


def test_the_unit_tests_mirror_the_rooms():
    tested = {each.parent.name for each in (ROOT / "tests" / "unit").glob("*/test_*.py")}
    assert tested <= {each.removeprefix("_") for each in rooms()} | NO_ROOM
