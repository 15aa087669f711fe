"""The page that follows a request through the modules names classes, methods and functions that are there."""

import ast
import re
from collections import defaultdict

import pytest
from test_docs_name_code import ROOT

PAGE = ROOT / "docs" / "how-a-request-travels.md"
THEIRS = {"interrupt", "interrupt()", "wait()", "runs.create"}
METHOD = re.compile(r"\b([A-Z]\w+)\.(\w+)\b")


@pytest.fixture(scope="module")
def code():
    """The methods of each class of the package, and all functions by themselves (under the empty name)."""
    names = defaultdict(set)
    for file in (ROOT / "batch_bridge").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ClassDef):
                names[node.name] |= {
                    each.name for each in node.body if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)
                }
                names[""].add(node.name)
            elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                names[""].add(node.name)
    return names


def test_the_methods_are_there(code):
    named = set(METHOD.findall(PAGE.read_text()))
    assert len(named) > 50
    assert sorted(f"{kind}.{name}" for kind, name in named if name not in code[kind] and kind != "README") == []


def test_the_functions_of_its_tables_are_there(code):
    cells = re.findall(r"^\| (`.*?) \|", PAGE.read_text(), re.MULTILINE)
    named = {each for cell in cells for each in re.findall(r"`(\w+)`", cell)}
    assert sorted(named - code[""]) == []


def test_the_functions_of_its_pictures_are_there(code):
    pictures = re.findall(r"```\n(.*?)```", PAGE.read_text(), re.DOTALL)
    named = {each for picture in pictures for each in re.findall(r"─▶ (_?[a-z]\w+)(?= ─▶|$)", picture, re.MULTILINE)}
    assert sorted(named - code[""]) == []
