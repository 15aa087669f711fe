"""No version that `pyproject.toml` allows has a hole that is known; `make audit` asks for new ones."""

import re

import pytest
from packaging.version import Version
from test_versions import ROOT, pins, requirements

FIXED = [
    ("anthropic", "0.87.0", "CVE-2026-34450, CVE-2026-34452"),
    ("filelock", "3.20.3", "CVE-2025-68146, CVE-2026-22701"),
    ("langchain-core", "1.3.3", "CVE-2025-68664, CVE-2026-26013, CVE-2026-34070, CVE-2026-40087, CVE-2026-44843"),
    ("langgraph", "1.0.10", "CVE-2026-28277"),
    ("langgraph-checkpoint", "4.1.1", "CVE-2026-27794, CVE-2026-48775"),
    ("langgraph-checkpoint-postgres", "3.1.1", "CVE-2026-71433"),
    ("langgraph-checkpoint-sqlite", "3.1.1", "CVE-2025-67644, CVE-2026-71433"),
    ("langgraph-sdk", "0.4.4", "CVE-2026-48776, CVE-2026-104873"),
    ("orjson", "3.11.6", "CVE-2025-67221"),
    ("pytest", "9.0.3", "CVE-2025-71176"),
    ("python-multipart", "0.0.31", "CVE-2026-24486, CVE-2026-53539, CVE-2026-53540, GHSA-pp6c-gr5w-3c5g"),
    ("pyyaml", "5.4", "CVE-2020-14343"),
    ("starlette", "1.3.1", "CVE-2025-62727, CVE-2026-48710, CVE-2026-54282, CVE-2026-54283"),
    ("uvicorn", "0.11.7", "CVE-2020-7694, CVE-2020-7695"),
]
"""Package, the first version without the holes, and their names. Source: the GitHub Advisory Database."""
BEHIND = [
    ("anyio", "4.14.2", "GHSA-82r6-8w77-94w6, GHSA-5p39-cfhj-2xmp"),
    ("h11", "0.16.0", "CVE-2025-43859"),
    ("idna", "3.15", "CVE-2026-45409"),
    ("langsmith", "0.8.0", "CVE-2026-45134, GHSA-rr7j-v2q5-chgv"),
    ("requests", "2.33.0", "CVE-2026-25645"),
    ("urllib3", "2.8.0", "PYSEC-2026-4175, PYSEC-2026-4176, PYSEC-2026-4177"),
]
"""The same for what stands behind those: we ask for none of it, and test with none that has a hole."""
ACCEPTED = {
    "langchain": ("1.3.9", "GHSA-gr75-jv2w-4656"),
    "langchain-anthropic": ("1.4.6", "GHSA-gr75-jv2w-4656"),
    "langchain-openai": ("1.1.14", "GHSA-r7w7-9xr2-qq2r"),
}
"""What only the tests ask for, at a version with a hole in a part that they do not use (a file search, the size of an
image at an address). Free of it they need newer releases of `openai`, `anthropic` and `langchain-core` than users do."""


@pytest.mark.parametrize(("package", "fixed", "holes"), FIXED, ids=[package for package, *_ in FIXED])
def test_a_version_with_a_known_hole_is_not_allowed(package, fixed, holes):
    [lowest] = [Version(each.version) for each in requirements()[package].specifier if each.operator == ">="]
    assert lowest >= Version(fixed), holes
    for name in ("constraints.txt", "constraints-floor.txt"):
        assert pins(name)[package] >= Version(fixed), holes


@pytest.mark.parametrize(("package", "fixed", "holes"), BEHIND, ids=[package for package, *_ in BEHIND])
def test_what_stands_behind_them_has_no_known_hole_either(package, fixed, holes):
    for name in ("constraints.txt", "constraints-floor.txt"):
        found = pins(name).get(package)
        assert found is None or found >= Version(fixed), holes


def test_what_is_accepted_is_what_the_audit_leaves_out_and_is_in_no_newer_pin():
    left_out = set(re.findall(r"--ignore-vuln (\S+)", (ROOT / "Makefile").read_text()))
    assert left_out == {hole for _, hole in ACCEPTED.values()}
    assert not ACCEPTED.keys() & {package for package, *_ in FIXED}
    assert all(pins("constraints.txt")[package] >= Version(fixed) for package, (fixed, _) in ACCEPTED.items())


def test_an_audit_that_could_not_look_is_no_clean_one():
    """Without `--strict`, packages of which the registry tells nothing count as sound."""
    audits = [line for line in (ROOT / "Makefile").read_text().splitlines() if "pip-audit " in line and "-r " in line]
    assert audits
    assert all("--strict" in line for line in audits)
