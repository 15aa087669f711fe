"""What a test shortens is an argument: no test replaces a private constant of a module."""

import re

from test_docs_name_code import ROOT

PATCHED = re.compile(r"""setattr\([^()\n]*["'.]_[A-Z][A-Z_]+["']""")
ASSIGNED = re.compile(r"^\s*\w+(?:\.\w+)*\._?[A-Z][A-Z_]{3,} = ", re.MULTILINE)
GIVEN = {"module.GRAPHS"}
"""Names of modules that a test makes itself."""


def test_no_test_patches_a_private_constant():
    found = {}
    for file in sorted((ROOT / "tests").rglob("*.py")):
        text = file.read_text()
        names = PATCHED.findall(text) + [
            each for each in ASSIGNED.findall(text) if each.split(" =")[0].strip() not in GIVEN
        ]
        if names and file.name != "test_patched_constants.py":
            found[str(file.relative_to(ROOT))] = names
    assert not found, "make it an argument"
