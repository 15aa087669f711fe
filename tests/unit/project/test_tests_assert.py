"""Each test asserts something: itself, or by a function or fixture of its file, or of a helper that its file imports."""

import ast
import functools
from pathlib import Path

import sampling

TESTS = Path(sampling.__file__).parent
ASSERTS = {"raises", "warns", "fail", "run_state_machine_as_test"}
"""Calls that assert, wherever they are defined."""
RAISES_IF_WRONG = {
    "test_conformance",
    "test_no_answer_makes_the_reading_of_a_message_raise",
    "test_no_call_of_a_provider_blocks",
    "test_no_line_makes_it_raise",
    "test_no_schema_breaks_the_maker",
}
"""Tests of which the call is all: that it does not raise is what they are about."""

Names = dict[str, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef]


def definitions(path: Path) -> Names:
    found = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    return {
        each.name: each for each in found if isinstance(each, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))
    }


@functools.cache
def seen_in(node: ast.AST) -> tuple[bool, frozenset[str]]:
    """Return whether there is an assertion in a definition, and the names that it uses."""
    names, asserts = set(), False
    for each in ast.walk(node):
        match each:
            case ast.Assert() | ast.Raise():
                asserts = True
            case ast.Name(id=name) | ast.Attribute(attr=name) | ast.arg(arg=name):  # the last may be a fixture
                names.add(name)
    return asserts or not ASSERTS.isdisjoint(names), frozenset(names)


def asserts(node: ast.AST, names: Names, seen: set[str]) -> bool:
    """Return whether a test, or anything that it uses, has an assertion."""
    itself, uses = seen_in(node)
    new = (uses & names.keys()) - seen
    seen |= new
    return itself or any(asserts(names[each], names, seen) for each in new)


def imported(path: Path) -> set[str]:
    """Return the modules that a file imports."""
    modules = set()
    for each in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        match each:
            case ast.Import(names=names):
                modules |= {each.name for each in names}
            case ast.ImportFrom(module=str(name)):
                modules.add(name)
    return modules


def test_each_test_asserts_something():
    files = {path: definitions(path) for path in sorted(TESTS.rglob("*.py"))}
    modules = {path.stem: path for path in files}

    @functools.cache
    def helpers(path: Path) -> frozenset[Path]:
        found = frozenset(modules[name] for name in imported(path) & modules.keys())
        return found.union(*(helpers(each) for each in found))

    idle = {}
    for path, own in files.items():
        names: Names = {}
        for each in helpers(path):
            names |= files[each]
        names |= own
        for name, node in own.items():
            if name.startswith("test_") and not asserts(node, names, {name}):
                idle[name] = path.relative_to(TESTS)
    assert idle.keys() == RAISES_IF_WRONG, f"say what is to hold in these: {idle}"
