"""The examples with LangChain's models run, against the Batch API server."""

import os
from pathlib import Path

import pytest
import warm

from batch_bridge.testing import BatchServer

EXAMPLES = Path(__file__).parents[3] / "examples"


@pytest.fixture(scope="module")
def shared():
    with BatchServer(latency=0) as running:
        yield running


@pytest.fixture
def server(shared):
    shared.reset_stats()
    return shared


def run(name, server, folder, **environment):
    given = {"OPENAI_BASE_URL": server.base_url, "OPENAI_API_KEY": "test"}
    done = warm.run([EXAMPLES / name], cwd=folder, env={**os.environ, **given, **environment})
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_fifty_agents_with_tools_are_two_batches(server, tmp_path):
    said = run("agent_tools.py", server, tmp_path)
    assert len(said.splitlines()) == 50
    stats = server.stats
    assert (stats.batches, stats.paid, stats.paid_twice, stats.realtime) == (2, 100, 0, 0)
    assert sorted(run("agent_tools.py", server, tmp_path).splitlines()) == sorted(said.splitlines())
    assert server.stats.paid == 100


def test_the_same_graph_in_both_modes(server, tmp_path):
    in_batches = run("both_modes.py", server, tmp_path)
    assert (server.stats.batches, server.stats.paid, server.stats.realtime) == (2, 12, 0)
    server.reset_stats()
    in_realtime = run("both_modes.py", server, tmp_path, BATCH_BRIDGE_MODE="realtime")
    assert (server.stats.batches, server.stats.realtime) == (0, 12)
    assert in_batches == in_realtime
