"""The Python blocks of the README and of each page of the docs run, one after the other, as one program."""

import base64
import os
import re
from pathlib import Path

import pytest
import warm

from batch_bridge.testing import BatchServer

ROOT = Path(__file__).parents[3]
BLOCK = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)
IMPORTS = (
    *warm.LIBRARIES,
    "anthropic.types.messages",
    "batch_bridge.providers.anthropic",
    "batch_bridge.providers.gemini",
    "batch_bridge.testing.conformance",
    "pytest",
)
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


_SECRET = "whsec_" + base64.b64encode(bytes(24)).decode()
SECRET = {"OPENAI_WEBHOOK_SECRET": _SECRET, "GEMINI_WEBHOOK_SECRET": _SECRET, "OPENROUTER_WEBHOOK_SECRET": _SECRET}


@pytest.fixture(scope="module")
def server():
    with BatchServer(latency=0) as server:
        yield server


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_code_of_a_page_runs(page, server, tmp_path):
    program = "\n".join(BLOCK.findall(page.read_text()))
    environment = {**os.environ, "OPENAI_BASE_URL": server.base_url, "OPENAI_API_KEY": "test"} | SECRET
    done = warm.run(["-c", program], imports=IMPORTS, cwd=tmp_path, env=environment)
    assert done.returncode == 0, done.stderr


def test_the_first_screen_has_what_a_visitor_looks_for():
    screen = (ROOT / "README.md").read_text().split("## ")[0]
    for part in ("```diff", "await wait(", "──▶", "make demo", "make test", "24 hours"):
        assert part in screen
