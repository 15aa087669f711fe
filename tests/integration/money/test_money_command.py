"""`batch-bridge cost` and `batch-bridge quote`, as somebody uses them who mistypes: clear, and never zero by mistake."""

import asyncio
import shutil
import sqlite3
from contextlib import closing

import pytest
from helpers import one_node, within
from openai import AsyncOpenAI
from typer.testing import CliRunner

from batch_bridge import Bridge, Runner, wait
from batch_bridge._cli.app import app
from batch_bridge.providers.openai import OpenAIBatch
from batch_bridge.testing import BatchServer


async def node(state):
    return {"out": [await wait([{"role": "user", "content": f"{state['x']}"}])]}


@pytest.fixture(scope="module")
def run_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("run") / "run.db"

    async def run(server):
        provider = OpenAIBatch(AsyncOpenAI(base_url=server.base_url, api_key="test"), model="gpt-4o-mini")
        bridge = Bridge(provider, poll_interval=0.05, mode="batch")
        async with Runner(one_node(node), bridge, path=path, progress=False) as runner:
            for run_id in ("eval", "night"):
                await within(runner.abatch([{"x": run_id}], run_id=run_id))

    with BatchServer(latency=0.01) as server:
        asyncio.run(run(server))
    return path


@pytest.fixture
def file(run_file, tmp_path):
    return shutil.copy(run_file, tmp_path / "run.db")


def call(*arguments):
    result = CliRunner().invoke(app, [str(each) for each in arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def change(file, sql):
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute(sql)
        connection.commit()
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def test_cost_reads_only_and_leaves_nothing_beside_the_file(file):
    before = {each.name: each.read_bytes() for each in file.parent.iterdir()}
    assert "gpt-4o-mini" in call("cost", file).stdout
    assert {each.name: each.read_bytes() for each in file.parent.iterdir()} == before


def test_a_run_that_is_not_there_has_not_cost_nothing(file):
    assert call("cost", file, "--run-id", "night").exit_code == 0
    wrong = call("cost", file, "--run-id", "nihgt")
    assert wrong.exit_code == 2
    assert "has no run 'nihgt' of which a batch has ended; it has 'eval', 'night'" in wrong.stderr
    assert not wrong.stdout


def test_batches_of_a_version_without_receipts_are_named(file):
    change(file, "DELETE FROM store WHERE prefix GLOB 'batch_bridge.*.money'")
    assert "2 batches ended under a version that noted no usage" in call("cost", file).stderr


@pytest.mark.parametrize("command", ["cost", "status"])
def test_a_file_that_is_none_is_told_with_what_to_do(command, file, tmp_path):
    cut = tmp_path / "cut.db"
    cut.write_bytes(file.read_bytes()[:3000])
    (tmp_path / "empty.db").touch()
    for path, says in (
        (tmp_path / "none.db", "there is no such file. Name the file"),
        (tmp_path, "is a folder. Name the file"),
        (tmp_path / "empty.db", "is no file of a Runner, a Batcher or Jobs"),
        (cut, "Restore it from a copy"),
    ):
        result = call(command, path)
        assert result.exit_code == 2
        assert says in result.stderr
        assert not result.stdout


def test_a_damaged_receipt_is_told(file):
    change(file, "UPDATE store SET value = '{\"who\": 5}' WHERE prefix GLOB 'batch_bridge.*.money'")
    result = call("cost", file)
    assert result.exit_code == 2
    assert "the receipt of batch bb-" in result.stderr


def test_a_quote_names_the_line_that_is_wrong_and_what_has_no_price(tmp_path):
    path = tmp_path / "lines.jsonl"
    for wrong, says in (('{"messages": [}', "line 3 is no JSON"), ("[1]", "line 3 is no JSON object")):
        path.write_text('{"messages": []}\n\n' + wrong + "\n")
        result = call("quote", path)
        assert result.exit_code == 2
        assert f"{path}, {says}" in result.stderr
    assert "No such file" in call("quote", tmp_path / "none.jsonl").stderr
    path.write_text('{"messages": [{"role": "user", "content": "hi"}]}\n')
    nameless, known = call("quote", path), call("quote", path, "--model", "gpt-4o-mini")
    assert "unknown in batches" in nameless.stdout
    assert "--model NAME" in nameless.stderr
    assert not known.stderr
    for options in (("--model", "gpt-0"), ("--model", "gpt-4o-mini", "--vendor", "opnai")):
        assert f"No price is known of '{options[1]}' at" in call("quote", path, *options).stderr
