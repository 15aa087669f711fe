"""One list of provider names: configuration, documentation and the providers' own tables derive from it."""

import ast
from pathlib import Path

import pytest

import batch_bridge
from batch_bridge.bridge._config.tables import PROVIDERS
from batch_bridge.providers import create
from batch_bridge.providers._shared.create import KINDS
from batch_bridge.providers._shared.names import OPENAI_NAMES

ROOT = Path(batch_bridge.__file__).parent


def test_a_configuration_file_takes_every_provider():
    assert set(PROVIDERS) == set(KINDS)


@pytest.mark.parametrize("name", KINDS)
def test_the_documentation_names_every_provider(name):
    assert f'"{name}"' in (ROOT.parent / "docs/configuration.md").read_text()
    assert f'"{name}"' in create.__doc__


def test_no_second_list_of_names():
    """A list that names several compatible servers stands in one module; other modules have a row for each."""
    lists = set()
    for file in ROOT.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Tuple | ast.List | ast.Set):
                texts = {each.value for each in node.elts if isinstance(each, ast.Constant)}
                if len(texts & set(OPENAI_NAMES)) > 2 and "testing" not in file.parts:
                    lists.add(file.relative_to(ROOT).as_posix())
    lists.discard("providers/openai/_dialects.py")  # which routes there are, and which row has which
    assert lists == {"providers/_shared/names.py"}
