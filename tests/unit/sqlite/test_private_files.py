"""What is written to disk is for its owner only, and is never written through a link."""

import logging
import os
import threading
from datetime import UTC, datetime

import pytest
from file_modes import open_to_others, usual_umask  # noqa: F401  # a fixture
from langgraph.store.base import PutOp

from batch_bridge import Batcher, Bridge, ResponseCache
from batch_bridge._sqlite.file import open_file
from batch_bridge._sqlite.private_files import (
    UnsafeFileError,
    claim_database,
    lock_file,
    make_folder,
    open_new,
    tighten,
    touch,
)
from batch_bridge.errors import CacheError, RunFileError
from batch_bridge.jobs import Jobs

pytestmark = pytest.mark.skipif(os.name != "posix", reason="modes and links as POSIX has them")


async def test_a_run_file_its_log_and_its_lock_are_for_the_owner(tmp_path):
    async with open_file(tmp_path / "run.db") as file:
        await file.store.abatch([PutOp(("a",), "k", {"prompt": "secret"})])
        assert {path.name for path in tmp_path.iterdir()} == {"run.db", "run.db-wal", "run.db-shm", "run.db.lock"}
        assert open_to_others(tmp_path) == []


async def test_a_file_of_an_older_version_is_tightened_with_its_log(tmp_path):
    for name in ("run.db", "run.db-wal", "run.db-shm", "run.db.lock"):
        (tmp_path / name).touch(mode=0o644)
    async with open_file(tmp_path / "run.db"):
        assert open_to_others(tmp_path) == []


async def test_a_cache_is_for_the_owner(tmp_path):
    with ResponseCache(tmp_path / "cache.db") as cache:
        await cache.remember({"key": "answer"}, datetime.now(UTC))
        assert (tmp_path / "cache.db-wal").exists()
        assert open_to_others(tmp_path) == []


async def test_a_batchers_file_and_a_jobs_file_are_for_the_owner(tmp_path):
    async with Batcher(submit_func=list, poll_func=list, path=tmp_path / "batcher.db", poll_interval=0.01) as batcher:
        assert await batcher.amap(["a"]) == ["a"]
        assert open_to_others(tmp_path) == []
    await Jobs(tmp_path / "jobs.db", Bridge(submit=list, poll=list)).asubmit(["a"])
    assert (tmp_path / "jobs.db.turn").exists()
    assert open_to_others(tmp_path) == []


# -- links -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["run.db", "run.db.lock", "run.db-wal", "run.db-shm", "run.db-journal"])
async def test_no_link_is_followed_to_a_run_file(tmp_path, name):
    victim = tmp_path / "victim"
    victim.write_bytes(b"")
    (tmp_path / name).symlink_to(victim)
    with pytest.raises(RunFileError, match="symbolic link") as caught:
        async with open_file(tmp_path / "run.db"):
            pass
    assert str(victim) in str(caught.value)
    assert victim.read_bytes() == b""


async def test_a_link_to_nothing_makes_nothing(tmp_path):
    (tmp_path / "run.db").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "cache.db").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(RunFileError, match="symbolic link"):
        async with open_file(tmp_path / "run.db"):
            pass
    with pytest.raises(CacheError, match="symbolic link"):
        ResponseCache(tmp_path / "cache.db")
    assert not (tmp_path / "elsewhere").exists()


async def test_no_link_is_followed_to_a_jobs_lock(tmp_path):
    (tmp_path / "jobs.db.turn").symlink_to(tmp_path / "victim")
    with pytest.raises(RunFileError, match="symbolic link"):
        await Jobs(tmp_path / "jobs.db", Bridge(submit=list, poll=list)).asubmit(["a"])
    assert not (tmp_path / "victim").exists()


def test_a_link_that_takes_a_files_place_is_not_written_through(tmp_path):
    (tmp_path / "file").symlink_to(tmp_path / "victim")
    for write in (open_new, touch):
        with pytest.raises(OSError, match=r"symbolic links|Too many levels"):
            write(tmp_path / "file")
    assert not (tmp_path / "victim").exists()


def test_what_is_no_file_is_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UnsafeFileError, match="neither a file nor a folder"):
        claim_database(tmp_path / "pipe")
    with pytest.raises(UnsafeFileError, match="a folder"):
        lock_file(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(UnsafeFileError, match="name a folder"):
        make_folder(tmp_path / "file")


# -- owners ----------------------------------------------------------------------------------------------------------


def test_another_users_file_is_refused_and_root_may_use_it(tmp_path, monkeypatch):
    (tmp_path / "run.db").touch(mode=0o666)
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    with pytest.raises(UnsafeFileError, match=r"another user \(uid .*name another file, or change its owner"):
        claim_database(tmp_path / "run.db")
    with pytest.raises(UnsafeFileError, match="name another folder"):
        make_folder(tmp_path)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    claim_database(tmp_path / "run.db")
    assert open_to_others(tmp_path) == []


def test_a_file_system_without_modes_is_a_warning(tmp_path, monkeypatch, caplog):
    (tmp_path / "run.db").touch(mode=0o644)

    def refuse(*_, **__):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr("pathlib.Path.chmod", refuse)
    with caplog.at_level(logging.WARNING, "batch_bridge"):
        tighten(tmp_path / "run.db")
    assert "run.db" in caplog.text


def test_many_threads_claim_one_file(tmp_path):
    failures = []

    def claim():
        try:
            claim_database(tmp_path / "cache.db")
        except OSError as error:
            failures.append(error)

    threads = [threading.Thread(target=claim) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


@pytest.mark.skipif(not hasattr(os, "O_PATH"), reason="only where a name can be held without opening its file")
def test_tightening_does_not_take_away_the_locks_of_this_process(tmp_path):
    import sqlite3

    path = tmp_path / "run.db"
    claim_database(path)
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("CREATE TABLE t (a)")
    holder.execute("BEGIN EXCLUSIVE")
    path.chmod(0o644)
    tighten(path)
    pid = os.fork()
    if not pid:  # locks of POSIX are a process's own, so only another one meets them
        try:
            sqlite3.connect(path, timeout=0).execute("SELECT * FROM t").fetchall()
        except sqlite3.OperationalError:
            os._exit(0)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    holder.close()
