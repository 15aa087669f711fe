"""The examples with a wrapped OpenAI client, run as a user runs them, against the Batch API server."""

import os
from pathlib import Path

import pytest
import warm

from batch_bridge.testing import BatchServer

EXAMPLES = Path(__file__).parents[3] / "examples"


@pytest.fixture
def server():
    with BatchServer(latency=0) as server:
        yield server


def run(server, cwd, name, *arguments, mode="batch"):
    environment = {
        **os.environ,
        "OPENAI_BASE_URL": server.base_url,
        "OPENAI_API_KEY": "test",
        "BATCH_BRIDGE_MODE": mode,
    }
    done = warm.run([EXAMPLES / name, "--poll-interval", "0.1", *arguments], cwd=cwd, env=environment)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout.splitlines()


def test_a_plain_script_is_one_batch_and_says_the_same_in_realtime(server, tmp_path):
    batched = run(server, tmp_path, "plain_script.py")
    assert len(batched) == 6
    assert all(": [stand-in" in line for line in batched)
    assert (server.stats.batches, server.stats.requests, server.stats.realtime) == (1, 6, 0)
    assert run(server, tmp_path, "plain_script.py", mode="realtime") == batched
    assert (server.stats.batches, server.stats.realtime) == (1, 6)


def test_a_plain_script_comes_back_later_and_pays_once(server, tmp_path):
    first = run(server, tmp_path, "plain_script.py", "--later")
    assert first == ["6 answers are not there yet; run this again later"]
    assert any(len(run(server, tmp_path, "plain_script.py", "--later")) == 6 for _ in range(10))
    assert (server.stats.batches, server.stats.paid, server.stats.paid_twice) == (1, 6, 0)


def test_embeddings_from_threads_share_a_batch(server, tmp_path):
    assert len(run(server, tmp_path, "embeddings.py")) == 6
    assert (server.stats.batches, server.stats.requests, server.stats.realtime) == (1, 3, 0)


def test_structured_extraction_is_two_batches_for_all_threads(server, tmp_path):
    assert len(run(server, tmp_path, "structured_extraction.py")) == 8
    assert (server.stats.batches, server.stats.requests, server.stats.realtime) == (2, 16, 0)
    assert len(run(server, tmp_path, "structured_extraction.py")) == 8
    assert server.stats.requests == 16
