"""`batch-bridge status`: what a file tells while its run goes on, after it has ended, and after it was killed."""

import asyncio
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
from helpers import Desk, one_node
from openai import AsyncOpenAI
from status_job import bridge, graph
from typer.testing import CliRunner

from batch_bridge import Batcher, Bridge, Runner, wait
from batch_bridge._cli.app import app
from batch_bridge._status.read import read_status
from batch_bridge._status.text import to_text
from batch_bridge.jobs import Jobs
from batch_bridge.providers.openai import OpenAIBatch
from batch_bridge.testing import BatchServer

JOB = Path(__file__).parents[1].joinpath("status_job.py")


def look(path="run.db", code=None):
    done = CliRunner().invoke(app, ["status", str(path), "--json"])
    assert code is None or done.exit_code == code, (done.exit_code, done.output)
    return json.loads(done.stdout)


def text(path="run.db"):
    return CliRunner().invoke(app, ["status", str(path)]).output


async def until(path, wanted, seconds=120):
    """Look until what is seen is as wanted."""
    async with asyncio.timeout(2 * seconds):
        while True:
            if Path(path).exists():
                done = await asyncio.to_thread(CliRunner().invoke, app, ["status", str(path), "--json"])
                if done.exit_code != 2 and wanted(seen := json.loads(done.stdout)):
                    return seen
            await asyncio.sleep(0.05)


async def node(state):
    return {"out": [await wait(state["x"])]}


async def test_a_run_is_seen_while_it_is_parked_and_once_it_is_done():
    desk = Desk().hold()
    async with Runner(one_node(node), desk.bridge()) as runner:
        running = asyncio.create_task(runner.abatch([{"x": x} for x in range(5)], run_id="eval"))
        seen = await until("run.db", lambda seen: seen["in_flight"] == 5)
        assert seen["threads"] == {"total": 5, "done": 0, "running": 0, "parked": 5, "failed": 0}
        assert seen["waves"] == [{"step": 1, "threads": 5, "requests": 5}]
        assert (seen["state"], seen["kind"]) == ("parked", "runner")
        assert (seen["owner"]["alive"], seen["owner"]["pid"]) == (True, os.getpid())
        (batch,) = seen["batches"]
        assert (batch["state"], batch["total"]) == ("in_flight", 5)
        look(code=3)
        assert text().startswith("run.db: parked; alive: process ")
        desk.let_go()
        await running
    seen = look(code=0)
    assert seen["threads"] == {"total": 5, "done": 5, "running": 0, "parked": 0, "failed": 0}
    assert (seen["owner"]["alive"], seen["owner"]["closed"], seen["outcomes"]) == (False, True, {"succeeded": 5})
    assert sorted(path.name for path in Path().iterdir()) == ["run.db", "run.db.lock"], "a look leaves nothing behind"


async def test_failures_are_grouped_by_code_with_the_rule_that_applies():
    desk = Desk(lambda item: ValueError("no") if item < 2 else "yes")
    async with Runner(one_node(node), desk.bridge(attempts=1)) as runner:
        await runner.abatch([{"x": x} for x in range(5)], run_id="eval", return_exceptions=True)
    seen = look(code=1)
    assert (seen["state"], seen["threads"]["failed"], seen["threads"]["done"]) == ("failed", 2, 3)
    requests, threads = seen["failures"]
    assert (requests["of"], requests["count"], threads["of"], threads["count"]) == ("request", 2, "thread", 2)
    assert set(threads["threads"]) == {"eval:0", "eval:1"}
    assert "correct the request" in requests["rule"]


def test_a_killed_run_is_stuck_until_the_same_command_goes_on_and_the_server_counts_the_same():
    with BatchServer(latency=3600) as slow:
        process = subprocess.Popen([sys.executable, str(JOB), slow.base_url, "run.db", "150"])
        try:
            asyncio.run(until("run.db", _is_sent))
            assert slow.stats.batches == 2
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()
        seen = look(code=4)
        assert (seen["state"], seen["owner"]["alive"], seen["owner"]["pid"]) == ("stuck", False, process.pid)
        assert (seen["threads"]["parked"], seen["in_flight"]) == (150, 150)
        assert "run the same command again" in seen["stuck"][0]
        assert f"dead: process {process.pid}" in text()
        slow.configure(latency=0)
        asyncio.run(_go_on(slow))
        seen = look(code=0)
        assert seen["outcomes"] == {"succeeded": slow.stats.paid} == {"succeeded": 300}
        assert (slow.stats.paid_twice, seen["batches_ended"]) == (0, slow.stats.batches)
        assert (seen["cost"]["requests"], float(seen["cost"]["saved"]) > 0) == (300, True)
        assert " saved\n" in text()
        assert seen["threads"] == {"total": 150, "done": 150, "running": 0, "parked": 0, "failed": 0}


def _is_sent(seen):
    return [batch["state"] for batch in seen["batches"]] == ["in_flight"] * 2 and seen["threads"]["parked"] == 150


async def _go_on(server):
    async with Runner(graph(), bridge(server.base_url)) as runner:
        await runner.abatch([{"x": x} for x in range(150)], run_id="eval")


async def test_waves_are_counted_on_after_a_restart():
    desk = Desk()

    async def twice(state):
        one = await wait(state["x"])
        desk.hold()  # the second wave
        return {"out": [one, await wait(one + 10)]}

    desk = Desk(lambda item: item)
    async with Runner(one_node(twice), desk.bridge()) as runner:
        running = asyncio.create_task(runner.abatch([{"x": x} for x in range(3)], run_id="eval"))
        seen = await until("run.db", lambda seen: seen["threads"]["parked"] == 3 and seen["waves"][0]["step"] == 2)
        assert seen["waves"] == [{"step": 2, "threads": 3, "requests": 3}]
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    assert look(code=3)["state"] == "parked", "it was closed, and not killed"


async def test_a_batcher_and_jobs_are_seen_too():
    desk = Desk().hold()
    batcher = Batcher(submit_func=desk.submit, poll_func=desk.poll, poll_interval=0.02, path="batcher.db")
    async with batcher:
        asking = asyncio.create_task(batcher.amap(["a", "b"]))
        seen = await until("batcher.db", lambda seen: seen["in_flight"] == 2)
        assert (seen["kind"], seen["state"], seen["threads"]["parked"]) == ("batcher", "parked", 2)
        desk.let_go()
        await asking
    seen = look("batcher.db", code=0)
    assert (seen["threads"]["done"], seen["outcomes"]) == (2, {"succeeded": 2})

    with BatchServer(latency=3600) as slow:
        jobs = Jobs("jobs.db", OpenAIBatch(AsyncOpenAI(base_url=slow.base_url, api_key="t"), model="gpt-4o-mini"))
        handle = await jobs.asubmit([[{"role": "user", "content": "a"}], [{"role": "user", "content": "b"}]])
        seen = look("jobs.db", code=3)
        assert (seen["kind"], seen["state"], seen["in_flight"]) == ("jobs", "parked", 2)
        assert [run["id"] for run in seen["runs"]] == [handle]
        assert (seen["owner"]["alive"], seen["stuck"]) == (False, []), "nobody drives jobs between two calls"


def test_what_is_no_such_file_is_said_in_a_line_with_code_2(tmp_path):
    for name, content, said in (
        ("none.db", None, "there is no such file"),
        ("text.db", b"no database " * 200, "not an SQLite database"),
    ):
        if content is not None:
            Path(name).write_bytes(content)
        done = CliRunner().invoke(app, ["status", name])
        assert (done.exit_code, said in done.output) == (2, True), done.output
    sqlite3.connect("other.db").execute("CREATE TABLE t (x)")
    assert "no table 'store'" in CliRunner().invoke(app, ["status", "other.db"]).output


async def test_a_file_of_an_earlier_version_tells_what_its_rows_tell():
    desk = Desk().hold()
    async with Runner(one_node(node), desk.bridge()) as runner:
        running = asyncio.create_task(runner.abatch([{"x": x} for x in range(4)], run_id="eval"))
        await until("run.db", lambda seen: seen["in_flight"] == 4)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    with sqlite3.connect("run.db") as connection:
        connection.execute("DELETE FROM store WHERE prefix = 'batch_bridge_status'")
    seen = look()
    assert (seen["kind"], seen["threads"]["total"], seen["threads"]["parked"]) == ("unknown", 4, 4)
    assert (seen["threads"]["done"], seen["in_flight"]) == (None, 4)


def test_a_file_of_a_hundred_thousand_threads_takes_less_than_a_hundred_megabytes(tmp_path):
    asyncio.run(_nothing())
    row = {"id": "big", "total": 100_000, "done": 60_000, "failed": 0, "running": 0, "parked": 40_000,
           "waves": [[2, 40_000, 40_000]], "failures": {}, "begun_at": 0, "ended_at": None}  # fmt: skip
    with sqlite3.connect("run.db") as connection:
        (value,) = connection.execute("SELECT value FROM store WHERE prefix = 'batch_bridge_status'").fetchone()
        owner = json.loads(value) | {"runs": [row]}
        put = "INSERT OR REPLACE INTO store (prefix, key, value) VALUES (?, ?, ?)"
        connection.execute(put, ("batch_bridge_status", "owner", json.dumps(owner).encode()))
        answer = json.dumps({"text": json.dumps({"kind": "succeeded", "answer": "x" * 200})}).encode()
        ids = [f"{n:032x}"[::-1] for n in range(100_000)]
        connection.executemany(put, ((f"batch_bridge.bridge.outcomes.{each[:2]}", each, answer) for each in ids))
        for part in range(2):
            requests = json.dumps({"ids": ids[part * 50_000 :][:50_000], "group": "g"}).encode()
            connection.execute(put, ("batch_bridge.bridge.members", f"bb-{part}", requests))
            batch = json.dumps({"stage": "submitted", "at": time.time(), "handle": "h"}).encode()
            connection.execute(put, ("batch_bridge.bridge.batches", f"bb-{part}", batch))
    code = (
        "import sys; from batch_bridge._cli.app import app\n"
        "try: app(['status', 'run.db', '--json'])\n"
        "except SystemExit: print(open('/proc/self/status').read().split('VmHWM:')[1].split()[0], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["in_flight"] == 100_000
    assert int(done.stderr) < 100_000
    heavy = (
        "import sys, batch_bridge._cli.app; print([each for each in ('langgraph', 'openai') if each in sys.modules])"
    )
    assert (
        subprocess.run([sys.executable, "-c", heavy], capture_output=True, text=True, check=True).stdout.strip() == "[]"
    )


async def _nothing():
    async with Runner(one_node(node), Desk().bridge()):
        pass


async def test_a_file_left_for_two_weeks_says_first_that_its_results_will_be_deleted():
    with BatchServer(latency=3600) as slow:
        client = AsyncOpenAI(base_url=slow.base_url, api_key="test")
        async with Runner(
            one_node(_ask), Bridge(OpenAIBatch(client, model="gpt-4o-mini"), poll_interval=0.1)
        ) as runner:
            running = asyncio.create_task(runner.abatch([{"x": "a"}], run_id="eval"))
            await until("run.db", lambda seen: [each["state"] for each in seen["batches"]] == ["in_flight"])
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
    seen = read_status("run.db", time.time() + 14 * 86400)
    assert "are not collected, and its provider deletes them in 1" in to_text(seen).splitlines()[1]
    assert not read_status("run.db", time.time() + 86400).warnings


async def _ask(state):
    return {"out": [await wait([{"role": "user", "content": state["x"]}])]}


def _mounted_read_only(folder):
    bound = subprocess.run(["mount", "--bind", folder, folder], check=False, capture_output=True)
    if bound.returncode or subprocess.run(["mount", "-o", "remount,ro,bind", folder], check=False).returncode:
        pytest.skip("this user may not mount: run it as root")


@pytest.mark.parametrize("left", ["closed", "killed", "killed, without its -shm file"])
async def test_a_file_in_a_folder_that_is_read_only_is_read(left, tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    async with Runner(one_node(node), Desk().bridge(), path=folder / "run.db") as runner:
        await runner.abatch([{"x": 1}], run_id="eval")
        await until(folder / "run.db", lambda seen: seen["threads"]["done"] == 1)
        if left != "closed":
            copied = shutil.copytree(folder, tmp_path / "copy")
    if left != "closed":
        folder = copied
    if "without" in left:
        (folder / "run.db-shm").unlink()
    _mounted_read_only(folder)
    try:
        done = await asyncio.to_thread(CliRunner().invoke, app, ["status", str(folder / "run.db"), "--json"])
        assert json.loads(done.stdout)["threads"]["done"] == 1
    finally:
        await asyncio.to_thread(subprocess.run, ["umount", folder], check=False)
