"""The lowest versions that `pyproject.toml` allows are those that `make test-floor` tests."""

import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[3]


def requirements():
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text())
    project = pyproject["project"]
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    groups.append([each for each in pyproject["dependency-groups"]["test"] if isinstance(each, str)])
    return {canonicalize_name(each.name): each for group in groups for each in map(Requirement, group)}


def pins(name):
    lines = (ROOT / name).read_text().splitlines()
    found = (Requirement(line) for line in lines if line and not line.startswith("#"))
    return {canonicalize_name(each.name): Version(str(each.specifier).removeprefix("==")) for each in found}


@pytest.mark.parametrize("requirement", requirements().values(), ids=str)
def test_the_lowest_version_that_is_allowed_is_the_one_that_is_tested(requirement):
    [lowest] = [Version(each.version) for each in requirement.specifier if each.operator == ">="]
    assert pins("constraints-floor.txt")[canonicalize_name(requirement.name)] == lowest


@pytest.mark.parametrize("name", ["constraints.txt", "constraints-floor.txt"])
def test_what_is_pinned_is_allowed(name):
    pinned = pins(name)
    refused = [
        f"{requirement}: {pinned[each]}"
        for each, requirement in requirements().items()
        if each not in pinned or pinned[each] not in requirement.specifier
    ]
    assert refused == []
