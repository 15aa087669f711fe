"""Opening a file, and all that can be wrong with one."""

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
import warm
from langgraph.store.base import GetOp, PutOp, SearchOp

from batch_bridge._sqlite.file import open_file
from batch_bridge.errors import BatchBridgeError, RunFileError

HOLDER = """
import asyncio, sys
from batch_bridge._sqlite.file import open_file

async def main():
    async with open_file(sys.argv[1]):
        print("open", flush=True)
        sys.stdin.readline()

asyncio.run(main())
"""


async def refusal(path, **options):
    with pytest.raises(RunFileError) as caught:
        async with open_file(path, **options):
            pass
    assert isinstance(caught.value, BatchBridgeError)
    assert str(path) in str(caught.value)
    return str(caught.value)


async def test_a_file_is_made_used_left_tidy_and_opened_again(tmp_path):
    path = tmp_path / "run.sqlite"
    for n in range(2):
        async with open_file(path) as file:
            await file.store.abatch([PutOp(("a",), f"{n}", {})])
            (found,) = await file.store.abatch([SearchOp(("a",))])
            assert len(found) == n + 1
        assert {found.name for found in tmp_path.iterdir() if found.suffix != ".lock"} == {"run.sqlite"}


async def test_a_relative_path_and_a_strange_name_are_plain_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in (":memory:", "file:x?mode=ro", "a b%20é.sqlite"):
        async with open_file(name) as file:
            await file.store.abatch([PutOp(("a",), "k", {})])
            assert await file.store.abatch([GetOp(("a",), "k")]) != [None]
        assert (tmp_path / name).stat().st_size > 0


async def test_the_disk_is_asked_to_flush_unless_told_otherwise(tmp_path):
    for synchronous, number in (("FULL", 2), ("NORMAL", 1)):
        async with open_file(tmp_path / f"{number}.sqlite", synchronous=synchronous) as (saver, _):
            mode = await saver._writer.call(lambda c: c.execute("PRAGMA synchronous").fetchone())
            journal = await saver._writer.call(lambda c: c.execute("PRAGMA journal_mode").fetchone())
        assert (mode, journal) == ((number,), ("wal",))


async def test_a_second_runner_in_this_process_is_refused(tmp_path):
    path = tmp_path / "run.sqlite"
    async with open_file(path):
        assert "another Runner has this file open" in await refusal(path)
    async with open_file(path):
        pass


async def test_a_second_process_is_refused_until_the_first_has_died(tmp_path):
    path = tmp_path / "run.sqlite"
    process = warm.start(["-c", HOLDER, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout.readline() == "open\n"
    assert "another Runner has this file open" in await refusal(path)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=30)
    async with open_file(path):
        pass


async def test_a_missing_folder(tmp_path):
    assert "there is no folder" in await refusal(tmp_path / "missing" / "run.sqlite")
    assert list(tmp_path.iterdir()) == []


async def test_a_folder_in_its_place(tmp_path):
    assert "is a folder" in await refusal(tmp_path)


async def test_something_that_is_no_database(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("Dear diary, " * 1000)
    message = await refusal(path)
    assert "file is not a database" in message
    assert "name another file" in message
    assert path.read_text().startswith("Dear diary")


async def test_a_damaged_database(tmp_path):
    path = tmp_path / "run.sqlite"
    async with open_file(path) as (_, store):
        await store.abatch([])
    blob = bytearray(path.read_bytes())
    blob[100:4096] = b"\xff" * (4096 - 100)
    path.write_bytes(blob)
    assert "damaged" in await refusal(path)


@pytest.mark.parametrize("table", ["checkpoints", "writes", "store"])
async def test_the_database_of_another_program(tmp_path, table):
    path = tmp_path / "theirs.sqlite"
    connection = sqlite3.connect(path)
    connection.execute(f"CREATE TABLE {table} (id INTEGER PRIMARY KEY, thread_id TEXT, key TEXT)")
    connection.commit()
    message = await refusal(path)
    assert "belongs to another program" in message
    assert repr(table) in message
    assert connection.execute("SELECT name FROM sqlite_master").fetchall() == [(table,)]
    connection.close()


async def test_a_file_that_another_program_keeps_locked(tmp_path):
    path = tmp_path / "run.sqlite"
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("BEGIN EXCLUSIVE")
    assert "Close that program" in await refusal(path, busy_timeout=timedelta(0))
    connection.close()
    async with open_file(path):
        pass


@pytest.mark.skipif(sys.platform != "linux", reason="needs a place that nobody may write")
async def test_a_place_that_cannot_be_written(tmp_path):
    folder = "/sys" if os.geteuid() == 0 else str(tmp_path)
    if os.geteuid():
        tmp_path.chmod(0o500)
    message = await refusal(f"{folder}/run.sqlite")
    assert "may write" in message
    tmp_path.chmod(0o700)


async def test_a_file_written_by_an_older_langgraph_is_brought_up_to_date(tmp_path):
    path = tmp_path / "run.sqlite"
    connection = sqlite3.connect(path)
    connection.execute(
        "CREATE TABLE writes (thread_id TEXT NOT NULL, checkpoint_ns TEXT NOT NULL DEFAULT '', "
        "checkpoint_id TEXT NOT NULL, task_id TEXT NOT NULL, idx INTEGER NOT NULL, channel TEXT NOT NULL, "
        "type TEXT, value BLOB, PRIMARY KEY (thread_id, checkpoint_ns, checkpoint_id, task_id, idx))"
    )
    connection.commit()
    connection.close()
    async with open_file(path) as (saver, _):
        config = {"configurable": {"thread_id": "t", "checkpoint_ns": "", "checkpoint_id": "1"}}
        await saver.aput_writes(config, [("a", 1)], "task", "path")


async def test_whoever_gives_up_while_it_opens_leaves_nothing_open(tmp_path):
    path = tmp_path / "run.sqlite"
    with ThreadPoolExecutor(1) as one_thread:
        asyncio.get_running_loop().set_default_executor(one_thread)
        opening = asyncio.create_task(open_file(path).__aenter__())
        await asyncio.sleep(0)
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening
        await asyncio.to_thread(lambda: None)  # comes after the opening, in the only thread
        for _ in range(3):
            await asyncio.sleep(0)
        async with open_file(path):
            pass
