"""The Python blocks of the README and of each page of the docs run, one after the other, as one program."""

import os
import re
from pathlib import Path

import pytest
from warm import Warm

from batch_bridge.testing import BatchServer

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.fixture(scope="module")
def server():
    with BatchServer(latency=0) as server:
        yield server


@pytest.fixture(scope="module")
def warm():
    with Warm("batch_bridge", "batch_bridge.langchain", "batch_bridge.providers.openai", "langchain_openai") as warm:
        yield warm


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_code_of_a_page_runs(page, server, warm, tmp_path):
    program = "\n".join(BLOCK.findall(page.read_text()))
    environment = {**os.environ, "OPENAI_BASE_URL": server.base_url, "OPENAI_API_KEY": "test"}
    done = warm.run(program, cwd=tmp_path, env=environment)
    assert done.returncode == 0, done.stderr


def test_the_first_screen_has_what_a_visitor_looks_for():
    screen = (ROOT / "README.md").read_text().split("## ")[0]
    for part in ("```diff", "await wait(", "──▶", "make demo", "make test", "24 hours"):
        assert part in screen
