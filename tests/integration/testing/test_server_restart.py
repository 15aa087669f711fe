"""Killed at any point and started again: nothing is lost, and nothing is run twice by the server's own fault."""

import os
import signal
import time
from pathlib import Path

import openai
import pytest
import warm
from test_server_kit import chats, client_of, ran, reached, rows, submit, until, upload

from batch_bridge.testing import BatchServer, BatchServerError


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def test_a_batch_goes_on_after_kill_9(tmp_path):
    with BatchServer(state_dir=tmp_path, latency=1.5) as server:
        async with client_of(server) as client:
            finished = await ran(client, chats(3, "early"))
            batch = await submit(client, chats(2_000))
            for goal in (100, 500, 900):

                async def far(goal=goal):
                    return (await client.batches.retrieve(batch.id)).request_counts.completed >= goal

                await until(far)
                server.kill()
                with pytest.raises(openai.APIConnectionError):
                    await client.batches.retrieve(batch.id)
                server.start()
            server.configure(latency=0)
            assert await client.batches.retrieve(finished.id) == finished
            batch = await reached(client, batch.id)
            assert (batch.status, batch.request_counts.completed) == ("completed", 2_000)
            ids = [row["custom_id"] for row in await rows(client, batch.output_file_id)]
            assert sorted(ids) == sorted(f"r{index}" for index in range(2_000))
            stats = server.stats
            assert (stats.paid, stats.paid_twice, stats.requests) == (2_003, 0, 2_003)
            await ran(client, chats(1, "early"))
            assert server.stats.paid_twice == 1


async def test_what_a_killed_write_left_behind_is_cut_off(tmp_path):
    with BatchServer(state_dir=tmp_path, stuck=1, stuck_share=0.5) as server:
        async with client_of(server) as client:
            batch = await submit(client, chats(100))

            async def half():
                return (await client.batches.retrieve(batch.id)).request_counts.completed == 50

            await until(half)
            server.kill()
            (growing,) = (path for path in (tmp_path / "files").iterdir() if b"batch_req_" in path.read_bytes())
            with growing.open("ab") as out:
                out.write(b'{"id":"batch_req_never committed')
            server.start()
            server.configure(stuck=0)
            batch = await reached(client, batch.id)
            assert len(await rows(client, batch.output_file_id)) == 100
            assert not list((tmp_path / "inputs").iterdir())


async def test_state_outlives_the_object_and_options_do_not(tmp_path):
    with BatchServer(state_dir=tmp_path, latency=3600) as server:
        async with client_of(server, "key") as client:
            batch = await submit(client, chats(2))
    with BatchServer(state_dir=tmp_path) as server:
        async with client_of(server, "key") as client:
            assert (await reached(client, batch.id)).status == "completed"


def test_one_folder_serves_one_server(tmp_path):
    with BatchServer(state_dir=tmp_path), pytest.raises(BatchServerError, match="in use by another server"):
        BatchServer(state_dir=tmp_path).start()


def test_without_a_state_dir_nothing_is_left():
    with BatchServer() as server:
        folder = server._temporary
        assert (folder / "server.db").exists()
        pid = server.pid
    assert not folder.exists()
    assert not alive(pid)


def test_a_dead_server_says_that_it_is_dead():
    with BatchServer() as server:
        os.kill(server.pid, signal.SIGKILL)
        with pytest.raises(BatchServerError, match=r"does not answer"):
            _ = server.stats


@pytest.mark.parametrize("end", ["os.kill(os.getpid(), 9)", "raise SystemExit(3)"])
def test_no_orphan_is_left_when_the_parent_dies(end, tmp_path):
    code = (
        "import os\nfrom batch_bridge.testing import BatchServer\n"
        f"server = BatchServer(state_dir={str(tmp_path)!r})\nserver.start()\nprint(server.pid, flush=True)\n{end}\n"
    )
    done = warm.run(["-c", code])
    pid = int(done.stdout)
    deadline = time.monotonic() + 60
    while alive(pid):
        assert time.monotonic() < deadline, "the server outlived its parent"
        time.sleep(0.02)


def test_no_temporary_folder_is_left_when_the_parent_dies(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    code = "import os\nfrom batch_bridge.testing import BatchServer\nBatchServer().start()\nos.kill(os.getpid(), 9)"
    warm.run(["-c", code])
    deadline = time.monotonic() + 60
    while list(tmp_path.glob("batch-server-*")):
        assert time.monotonic() < deadline, "the folder outlived its server"
        time.sleep(0.02)


def test_a_start_that_fails_leaves_no_folder():
    server = BatchServer(answerer="nothing")
    with pytest.raises(BatchServerError):
        server.start()
    assert server._temporary is None


def test_a_port_that_is_taken_is_a_clear_error():
    with BatchServer() as server:
        taken = int(server.base_url.split(":")[2].split("/")[0])
        with pytest.raises(BatchServerError, match=f"cannot listen on 127.0.0.1:{taken}.*Choose another port"):
            BatchServer(port=taken).start()


def test_start_and_stop_are_idempotent():
    server = BatchServer()
    server.start()
    server.start()
    url = server.base_url
    server.stop()
    server.stop()
    assert server._temporary.exists()
    server.start()
    assert server.base_url == url
    server.close()
    server.close()


async def test_a_file_outlives_a_kill_and_its_upload_is_whole_or_not_there(tmp_path):
    async with BatchServer(state_dir=tmp_path) as server, client_of(server) as client:
        file_id = await upload(client, b"content")
        server.kill()
        (tmp_path / "files" / "file-half.part").write_bytes(b"half")
        server.start()
        assert (await client.files.content(file_id)).content == b"content"

        async def swept():
            return not list((tmp_path / "files").glob("*.part"))

        await until(swept)
