"""No version that `pyproject.toml` allows has a hole that is known; `make audit` asks for new ones."""

import pytest
from packaging.version import Version

from tests.unit.test_versions import pins, requirements

FIXED = [
    ("anthropic", "0.87.0", "CVE-2026-34450, CVE-2026-34452"),
    ("filelock", "3.20.3", "CVE-2025-68146, CVE-2026-22701"),
    ("langchain-core", "1.3.3", "CVE-2025-68664, CVE-2026-26013, CVE-2026-34070"),
    ("langgraph", "1.0.10", "CVE-2026-28277"),
    ("langgraph-checkpoint", "4.1.1", "CVE-2026-27794, CVE-2026-48775"),
    ("langgraph-checkpoint-sqlite", "3.0.1", "CVE-2025-67644"),
    ("langgraph-sdk", "0.3.15", "CVE-2026-48776"),
    ("orjson", "3.11.6", "CVE-2025-67221"),
    ("python-multipart", "0.0.31", "CVE-2026-24486, CVE-2026-53539, CVE-2026-53540, GHSA-pp6c-gr5w-3c5g"),
    ("starlette", "1.3.0", "CVE-2025-62727, CVE-2026-48710, CVE-2026-54282"),
]
"""Package, the first version without the holes, and their names. Source: the GitHub Advisory Database."""


@pytest.mark.parametrize(("package", "fixed", "holes"), FIXED, ids=[package for package, *_ in FIXED])
def test_a_version_with_a_known_hole_is_not_allowed(package, fixed, holes):
    [lowest] = [Version(each.version) for each in requirements()[package].specifier if each.operator == ">="]
    assert lowest >= Version(fixed), holes
    for name in ("constraints.txt", "constraints-floor.txt"):
        assert pins(name)[package] >= Version(fixed), holes
