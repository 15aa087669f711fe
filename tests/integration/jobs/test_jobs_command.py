"""`batch-bridge jobs`, as a user types it."""

import json
from datetime import datetime

import pytest
from typer.testing import CliRunner

from batch_bridge._cli.app import app
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
    listed, state, at, key = run("list").rstrip("\n").split("\t")
    assert (listed, state, key) == (handle, "ended", "mine")
    assert datetime.fromisoformat(at).tzinfo is not None
    assert json.loads(run("cancel", handle))["state"] == "ended"


def test_what_is_wrong_is_said_in_a_line(run, tmp_path):
    assert "Error: there is no job 'job_x'" in run("status", "job_x", code=1)
    assert "has no bridge 'other'" in " ".join(run("status", "job_x", "--bridge", "other", code=2).split())
    assert "Error: none.toml: it cannot be read" in run("list", "--config", "none.toml", code=1)
    (tmp_path / "bridges.toml").write_text(CONFIG + CONFIG.replace("bridges.bridge", "bridges.second"))
    assert "has several" in run("list", code=2)


LINES = [
    {"custom_id": f"q{n}", "method": "POST", "url": "/v1/chat/completions", "body": {"messages": [{"role": "user", "content": f"{n}"}]}}
    for n in range(3)
]  # fmt: skip


def test_openais_own_file_is_taken_as_it_comes(run, tmp_path):
    text = "\r\n\r\n".join(map(json.dumps, LINES)) + "\r\n \r\n"
    (tmp_path / "openai.jsonl").write_bytes(b"\xef\xbb\xbf" + text.encode())
    handle = run("submit", "openai.jsonl").strip()
    assert json.loads(run("status", handle))["outcomes"] == {"succeeded": 3}
    rows = [json.loads(line) for line in run("results", handle).splitlines()]
    assert [(row["custom_id"], row["kind"]) for row in rows] == [(f"q{n}", "succeeded") for n in range(3)]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("\n".join(map(json.dumps, [*LINES, LINES[1]])), "line 2 and line 4 have the same custom_id, 'q1'"),
        ("\n" + json.dumps(LINES[0]) + "\n\n{'custom_id'}\n", "line 4 is not JSON"),
        (json.dumps(LINES), "the file is one JSON array"),
        (json.dumps(LINES, indent=2), "the file is one JSON array"),
    ],
    ids=["doubled", "not JSON", "an array", "an array over many lines"],
)
def test_what_is_wrong_with_a_file_is_said_with_its_line(run, tmp_path, text, says):
    (tmp_path / "bad.jsonl").write_text(text)
    assert says in run("submit", "bad.jsonl", code=1)
    assert run("list") == ""


def test_a_key_with_another_model_or_other_parameters_is_refused(run, tmp_path):
    handle = run("submit", "items.jsonl", "--key", "mine").strip()
    (tmp_path / "bridges.toml").write_text(CONFIG.replace("gpt-4o-mini", "gpt-4o"))
    said = run("submit", "items.jsonl", "--key", "mine", code=1)
    assert "gpt-4o-mini then" in said
    assert "gpt-4o now" in said
    (tmp_path / "bridges.toml").write_text(CONFIG + "[bridges.bridge.provider.defaults]\ntemperature = 1\n")
    assert "temperature: none then, 1 now" in run("submit", "items.jsonl", "--key", "mine", code=1)
    (tmp_path / "bridges.toml").write_text(CONFIG)
    assert run("submit", "items.jsonl", "--key", "mine").strip() == handle
