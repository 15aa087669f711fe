"""Small things people reach for: a future for an answer, the version, and jobs from the package and the command line."""

import json

import pytest
from typer.testing import CliRunner

import batch_bridge
from batch_bridge import Batcher, Bridge, Jobs, RequestFailed
from batch_bridge._cli.app import app
from batch_bridge.errors import BatcherClosedError
from batch_bridge.testing import BatchServer


def test_enqueue_returns_futures_that_share_a_batch():
    batches = []

    def submit(items):
        batches.append(items)
        return len(batches) - 1

    def poll(handle):
        return [ValueError("no") if item == "bad" else f"{item}!" for item in batches[handle]]

    with Batcher(Bridge(submit=submit, poll=poll, poll_interval=0.01, attempts=1)) as batcher:
        futures = [batcher.enqueue(item) for item in ("a", "bad", "c")]
        batcher.flush()
        assert [futures[0].result(20), futures[2].result(20)] == ["a!", "c!"]
        with pytest.raises(RequestFailed, match="no"):
            futures[1].result(20)
    assert batches == [["a", "bad", "c"]]
    with pytest.raises(BatcherClosedError):
        batcher.enqueue("d")


def test_the_command_says_its_version():
    said = CliRunner().invoke(app, ["--version"])
    assert (said.exit_code, said.output) == (0, f"batch-bridge {batch_bridge.__version__}\n")


def test_jobs_are_joined_and_forgotten_from_the_command_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert Jobs is batch_bridge.jobs.Jobs
    with BatchServer(latency=0, stuck=True) as server:
        monkeypatch.setenv("OPENAI_API_KEY", "test")
        monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
        (tmp_path / "bridges.toml").write_text(
            '[bridges.jobs]\npoll_interval = "50ms"\n[bridges.jobs.provider]\nname = "openai"\nmodel = "m"\n',
            encoding="utf-8",
        )
        (tmp_path / "items.jsonl").write_text('[{"role": "user", "content": "a"}]\n', encoding="utf-8")
        run = CliRunner()
        handle = run.invoke(app, ["jobs", "submit", "items.jsonl"]).output.strip()
        late = run.invoke(app, ["jobs", "join", handle, "--timeout", "10ms"])
        assert late.exit_code == 3, late.output
        server.configure(stuck=False)
        joined = run.invoke(app, ["jobs", "join", handle, "--timeout", "1m"])
        assert json.loads(joined.output)["state"] == "ended"
        assert run.invoke(app, ["jobs", "forget", handle]).exit_code == 0
        assert run.invoke(app, ["jobs", "list"]).output == ""
