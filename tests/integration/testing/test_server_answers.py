"""Other answerers, webhooks, the command line and the fixture."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import openai
import pytest
import warm
from openai import AsyncOpenAI
from test_server_kit import chats, client_of, jsonl, line, ran, rows

from batch_bridge.testing import BatchServer, BatchServerError

BIN = Path(sys.executable).parent / "batch-bridge"
ANSWERS = """
import asyncio
from batch_bridge.testing import Answer

def shout(url, body):
    text = body["messages"][0]["content"]
    if "crash" in text:
        raise ValueError("no")
    if "refuse" in text:
        return Answer(422, {"error": {"message": "refused"}})
    return text.upper()

async def slowly(url, body):
    await asyncio.sleep(0)
    return {"said": url}
"""


@pytest.fixture
def answers(tmp_path, monkeypatch):
    (tmp_path / "my_answers.py").write_text(ANSWERS)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


async def test_a_function_of_the_users_answers(answers):
    with BatchServer(answerer="my_answers:shout") as server:
        async with client_of(server) as client:
            batch = await ran(client, jsonl([line("a"), line("crash"), line("refuse")]))
            (row,) = await rows(client, batch.output_file_id)
            assert row["response"]["body"]["choices"][0]["message"]["content"] == "ASK A"
            failed = {row["custom_id"]: row["response"] for row in await rows(client, batch.error_file_id)}
            assert failed["crash"]["status_code"] == 500
            assert "ValueError: no" in failed["crash"]["body"]["error"]["message"]
            assert failed["refuse"]["status_code"] == 422


async def test_a_coroutine_function_answers_too(answers):
    with BatchServer(answerer="my_answers:slowly") as server:
        async with client_of(server) as client:
            (row,) = await rows(client, (await ran(client, chats(1))).output_file_id)
            assert row["response"]["body"] == {"said": "/v1/chat/completions"}


@pytest.mark.parametrize(
    ("answerer", "says"),
    [
        ("nothing", "not of the form 'module:function'"),
        ("no_such_module:f", "cannot be imported: No module named 'no_such_module'"),
        ("json:no_such_function", "json has no function 'no_such_function'"),
    ],
)
def test_an_answerer_that_cannot_be_found(answerer, says):
    with pytest.raises(BatchServerError, match=says):
        BatchServer(answerer=answerer).start()


def test_a_process_that_dies_at_once_is_quoted(answers):
    (answers / "my_crash.py").write_text("import os, sys\nsys.stderr.write('last words\\n')\nos._exit(7)\n")
    with pytest.raises(BatchServerError, match=r"ended with 7 before it answered. It said:\nlast words"):
        BatchServer(answerer="my_crash:f").start()


async def test_an_upstream_answers():
    with BatchServer(next_realtime_error=2) as upstream:
        base_url = upstream.base_url
        with BatchServer(upstream=base_url, upstream_key="key", concurrency=4) as server:
            async with client_of(server) as client:
                batch = await ran(client, chats(20))
                assert batch.request_counts.completed == 20
                assert (upstream.stats.realtime, upstream.stats.faults) == (20, {"realtime_error": 2})
                refused = await ran(client, jsonl([line("a", messages=None)]))
                (row,) = await rows(client, refused.error_file_id)
                assert row["response"]["status_code"] == 400
    with pytest.raises(BatchServerError, match="pass one of them"):
        BatchServer(upstream=base_url, answerer="json:dumps").start()


async def test_webhooks_announce_every_end():
    got = asyncio.Queue()
    refusals = iter([500])

    async def receive(reader, writer):
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        headers = dict(row.split(": ", 1) for row in head.split("\r\n")[1:] if row)
        lowered = {name.lower(): value for name, value in headers.items()}
        body = await reader.readexactly(int(lowered["content-length"]))
        status = next(refusals, 204)
        writer.write(f"HTTP/1.1 {status} x\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".encode())
        await writer.drain()
        writer.close()
        if status == 204:
            await got.put((lowered, body))

    receiver = await asyncio.start_server(receive, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{receiver.sockets[0].getsockname()[1]}/hook"
    server = BatchServer(webhook_url=url, webhook_secret="a secret")
    async with receiver, server, client_of(server) as client:
        for options, kind in (
            ({}, "completed"),
            ({"expiry": 1}, "expired"),
            ({"batch_failure": 1}, "failed"),
        ):
            await asyncio.to_thread(server.configure, **options)
            batch = await ran(client, chats(2))
            headers, body = await asyncio.wait_for(got.get(), 60)
            event = client.webhooks.unwrap(body, headers, secret="a secret")
            assert (event.type, event.data.id) == (f"batch.{kind}", batch.id)
            with pytest.raises(openai.InvalidWebhookSignatureError):
                client.webhooks.unwrap(body, headers, secret="another")


async def test_the_command_line_serves(tmp_path):
    command = [
        str(BIN),
        "serve",
        "--port",
        "0",
        "--latency",
        "0.1",
        "--state-dir",
        str(tmp_path),
        "-o",
        "max_lines=2",
    ]
    process = warm.start(command, stdout=subprocess.PIPE, env={**os.environ, "COLUMNS": "200"})
    try:
        base_url = process.stdout.readline().rsplit(" ", 1)[1].strip()
        async with AsyncOpenAI(base_url=base_url, api_key="any", max_retries=0) as client:
            assert (await ran(client, chats(2))).status == "completed"
            assert (await ran(client, chats(3))).status == "failed"
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) in (0, -signal.SIGTERM)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--host", "0.0.0.0"], "--expose"),
        (["--line-failure", "2"], "--line-failure"),
        (["-o", "max_linez=2"], "did you mean 'max_lines'"),
        (["-o", "nonsense"], "NAME=VALUE"),
        (["--answerer", "nothing"], "module:function"),
    ],
)
def test_the_command_line_says_what_is_wrong(arguments, says):
    from typer.testing import CliRunner

    from batch_bridge._cli.app import app

    result = CliRunner().invoke(app, ["serve", "--port", "0", *arguments])
    assert result.exit_code != 0
    assert says in result.output


def test_without_the_extra_the_error_says_what_to_install(tmp_path):
    blocker = "import sys\nsys.modules['starlette'] = None\n"
    (tmp_path / "sitecustomize.py").write_text(blocker)
    code = "from batch_bridge.testing import BatchServer; BatchServer().start()"
    env = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, check=False)
    assert "pip install 'langgraph-batch-bridge[server]'" in done.stderr


def test_the_fixture_and_its_marker(pytester_like, tmp_path):
    result = pytester_like(
        """
        import pytest

        @pytest.mark.batch_server(latency=5)
        def test_it(batch_server):
            assert batch_server.base_url.endswith("/v1")
            assert batch_server.stats.batches == 0
        """
    )
    assert "1 passed" in result


@pytest.fixture
def pytester_like(tmp_path):
    import textwrap

    def run(source):
        (tmp_path / "test_it.py").write_text(textwrap.dedent(source))
        command = [
            "-m",
            "pytest",
            "-q",
            "--strict-markers",
            "-p",
            "batch_bridge.testing.pytest_plugin",
        ]
        env = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
        return warm.run([*command, tmp_path], cwd=tmp_path, env=env).stdout

    return run


def control(server):
    return {"authorization": f"Bearer {server.control_token}"}


async def test_control_by_hand():
    with BatchServer(webhook_secret="hush") as server:
        async with httpx.AsyncClient(base_url=server.root_url, headers=control(server)) as bare:
            wrong = await bare.post("/_control/configure", json={"latenzy": 1})
            assert wrong.status_code == 400
            assert "latency" in wrong.json()["error"]["message"]
            shown = (await bare.post("/_control/configure", json={"latency": 2})).json()
            assert (shown["latency"], shown["webhook_secret"]) == (2.0, "***")
            assert json.loads((await bare.get("/_control/settings")).text) == shown
        with pytest.raises(BatchServerError, match="a number of seconds"):
            server.configure(latency=-1)
