"""The live tests, run against the Batch API server: they go on with what they left, and skip what has no key."""

import asyncio
import os
import re
from pathlib import Path

import warm

from batch_bridge.testing import BatchServer

ROOT = Path(__file__).parents[3]
KEYS = re.compile(r"(OPENAI|AZURE|ANTHROPIC|GEMINI|GOOGLE|GROQ|TOGETHER|MISTRAL|DOUBLEWORD|BATCH_BRIDGE)_")
IMPORTS = (*warm.LIBRARIES, "batch_bridge.providers.anthropic", "batch_bridge.providers.gemini", "hypothesis")
BARE = {name: value for name, value in os.environ.items() if not KEYS.match(name)}


async def run_live(**environment):
    command = ["-m", "pytest", "-q", "-m", "live", "-p", "no:cacheprovider", "tests/live"]
    done = await asyncio.to_thread(warm.run, command, imports=IMPORTS, cwd=ROOT, env=BARE | environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


async def test_without_keys_all_are_skipped(tmp_path):
    said = await run_live(BATCH_BRIDGE_LIVE_FILE=str(tmp_path / "jobs.db"))
    assert "8 skipped" in said
    assert "openai: set OPENAI_API_KEY" in said


async def test_what_has_not_ended_is_left_and_gone_on_with(tmp_path):
    with BatchServer(latency=3600.0) as server:
        root = server.base_url.removesuffix("/v1")
        environment = {
            "BATCH_BRIDGE_LIVE_FILE": str(tmp_path / "jobs.db"),
            "BATCH_BRIDGE_LIVE_MODEL_AZURE": "a-deployment",
            "OPENAI_API_KEY": "test",
            "OPENAI_BASE_URL": server.base_url,
            "AZURE_OPENAI_API_KEY": "test",
            "AZURE_OPENAI_ENDPOINT": root,
            "OPENAI_API_VERSION": "2025-04-01-preview",
            "ANTHROPIC_API_KEY": "test",
            "ANTHROPIC_BASE_URL": root,
            "GEMINI_API_KEY": "test",
            "GOOGLE_GEMINI_BASE_URL": root,
        }
        said = await run_live(BATCH_BRIDGE_LIVE_WAIT="0.01", **environment)
        assert said.count("run `make test-live` again") == 4
        assert server.stats.batches == 4
        server.configure(latency=0.0)
        said = await run_live(BATCH_BRIDGE_LIVE_WAIT="30", **environment)
        assert "4 passed, 4 skipped" in said
        assert (server.stats.batches, server.stats.paid, server.stats.paid_twice) == (4, 12, 0)


def test_the_other_tests_leave_them_out():
    command = ["-m", "pytest", "-q", "--collect-only", "-p", "no:cacheprovider", "tests/live"]
    done = warm.run(command, imports=IMPORTS, cwd=ROOT, env=BARE)
    assert "8 deselected" in done.stdout
