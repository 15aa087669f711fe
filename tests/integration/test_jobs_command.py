"""`batch-bridge jobs`, as a user types it."""

import json

import pytest
from typer.testing import CliRunner

from batch_bridge.cli import app
from batch_bridge.testing import BatchServer

CONFIG = """
[bridges.bridge]
poll_interval = "1s"
mode = "batch"
[bridges.bridge.provider]
name = "openai"
model = "gpt-4o-mini"
"""


@pytest.fixture
def run(tmp_path, monkeypatch):
    with BatchServer() as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
        monkeypatch.setenv("OPENAI_API_KEY", "test")
        monkeypatch.chdir(tmp_path)
        (tmp_path / "bridges.toml").write_text(CONFIG)
        messages = [[{"role": "user", "content": f"{index}"}] for index in range(3)]
        (tmp_path / "items.jsonl").write_text("\n".join(map(json.dumps, messages)) + "\n")

        def run(*arguments, code=0):
            done = CliRunner().invoke(app, ["jobs", *arguments])
            assert done.exit_code == code, done.output
            return done.output

        yield run


def test_submit_status_results_and_list(run):
    handle = run("submit", "items.jsonl", "--key", "mine").strip()
    assert run("submit", "items.jsonl", "--key", "mine").strip() == handle
    status = json.loads(run("status", handle))
    assert (status["state"], status["outcomes"], len(status["batches"])) == ("ended", {"succeeded": 3}, 1)
    rows = [json.loads(line) for line in run("results", handle).splitlines()]
    assert [(row["index"], row["kind"]) for row in rows] == [(0, "succeeded"), (1, "succeeded"), (2, "succeeded")]
    assert run("list").split() == [handle]
    assert json.loads(run("cancel", handle))["state"] == "ended"


def test_what_is_wrong_is_said_in_a_line(run, tmp_path):
    assert "Error: there is no job 'job_x'" in run("status", "job_x", code=1)
    assert "describes no 'other'" in " ".join(run("status", "job_x", "--bridge", "other", code=2).split())
    assert "Error: none.toml: it cannot be read" in run("list", "--config", "none.toml", code=1)
    (tmp_path / "bridges.toml").write_text(CONFIG + CONFIG.replace("bridges.bridge", "bridges.second"))
    assert "describes several" in run("list", code=2)
