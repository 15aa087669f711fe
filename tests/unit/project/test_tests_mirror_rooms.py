"""The unit tests mirror the rooms: a room's tests import its private names, and of others' those that the room imports."""

import ast
import functools
from pathlib import Path

import batch_bridge

PACKAGE = Path(batch_bridge.__file__).parent
TESTS = Path(__file__).parents[1]
NO_ROOMS = {"docs", "project"}
"""Folders of tests of the whole package."""
FREELY = {
    "core/test_serialized.py": "providers.openai._lines",  # a request that is kept as bytes, and the lines that are cut of them
    "providers/test_window_looks.py": "bridge._mode_switch",  # a window, and the same window inside a switch
    "testing/test_conformance_kit.py": "providers._callables",  # the kit is run on a provider of the user's own functions
}
"""What a file may import besides, and why."""
LINES = 500
"""No test file is longer."""


def private_imports(file: Path) -> set[str]:
    """Return what a file imports that is private below its room: private modules, and private names of any module."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        match node:
            case ast.ImportFrom(module=str(module), names=names):
                found |= {f"{module}.{each.name}" if each.name.startswith("_") else module for each in names}
            case ast.Import(names=names):
                found |= {each.name for each in names}
    return {
        each.removeprefix("batch_bridge.") for each in found if each.startswith("batch_bridge.") and is_private(each)
    }


def is_private(name: str) -> bool:
    """Return whether something below a room is private; the room itself may be."""
    return any(each.startswith("_") and not each.startswith("__") for each in name.split(".")[2:])


def room_of(module: str) -> str:
    return module.split(".", maxsplit=1)[0].lstrip("_")


@functools.cache
def imports_of(room: str) -> frozenset[str]:
    folder = next(each for each in (PACKAGE / f"_{room}", PACKAGE / room) if each.is_dir())
    return frozenset(each for file in folder.rglob("*.py") for each in private_imports(file))


def test_each_folder_of_unit_tests_is_named_after_a_room():
    rooms = {each.name.lstrip("_") for each in PACKAGE.iterdir() if each.is_dir()}
    folders = {each.name for each in TESTS.iterdir() if each.is_dir() and not each.name.startswith("__")}
    assert folders - NO_ROOMS <= rooms


def test_a_room_s_tests_import_the_private_names_of_no_other_room():
    strays = set()
    for file in sorted(TESTS.glob("*/**/*.py")):
        name, room = file.relative_to(TESTS).as_posix(), file.relative_to(TESTS).parts[0]
        if room in NO_ROOMS:
            continue
        for module in private_imports(file) - imports_of(room):
            if room_of(module) != room and not module.startswith(FREELY.get(name, " ")):
                strays.add((name, module))
    assert not strays, f"move these tests to the rooms whose private names they use: {sorted(strays)}"


def test_no_test_file_is_long():
    long = {
        file.relative_to(TESTS.parent).as_posix()
        for file in TESTS.parent.rglob("*.py")
        if file.read_text(encoding="utf-8").count("\n") > LINES
    }
    assert not long, "split these by subject"
