"""What a process leaves behind is said: batches that no later run collects, and threads that had ended before."""

import asyncio
import contextlib
import logging
import signal
import subprocess
import time

import pytest
import warm
from helpers import Desk, memory, one_node, within

from batch_bridge import Batcher, Runner, wait


async def ask(state):
    return {"out": [await wait(state["x"])]}


INPUTS = [{"x": each} for each in "abc"]


def warnings(caplog):
    return [each.getMessage() for each in caplog.records if "will be billed" in each.getMessage()]


async def leave(runner, desk, **options):
    """Cancel a run, as Ctrl-C does, once its batch is at the provider."""
    running = asyncio.create_task(runner.abatch(INPUTS, **options))
    await within(desk.submitted.wait())
    await asyncio.sleep(0.05)
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running


@pytest.mark.parametrize("path", [":memory:", "run.db"])
async def test_a_run_without_a_name_warns_of_its_batches(path, tmp_path, caplog):
    desk = Desk().hold()
    where = path if path == ":memory:" else tmp_path / path
    async with Runner(one_node(ask), desk.bridge(), path=where, progress=False) as runner:
        await leave(runner, desk)
    (said,) = warnings(caplog)
    assert "1 batch is in flight and will be billed" in said
    assert "bb-" in said
    assert 'run_id="…"' in said
    assert 'path="run.db"' in said


async def test_a_run_in_memory_warns_though_it_has_a_name(caplog):
    desk = Desk().hold()
    async with memory(one_node(ask), desk.bridge()) as runner:
        await leave(runner, desk, run_id="r")
    assert len(warnings(caplog)) == 1


async def test_a_run_that_can_be_continued_says_nothing(tmp_path, caplog):
    desk = Desk().hold()
    async with Runner(one_node(ask), desk.bridge(), path=tmp_path / "run.db", progress=False) as runner:
        await leave(runner, desk, run_id="r")
    assert warnings(caplog) == []


async def test_a_run_that_has_ended_says_nothing(caplog):
    async with memory(one_node(ask), Desk().bridge()) as runner:
        await runner.abatch(INPUTS)
    assert warnings(caplog) == []


def test_a_batcher_without_a_file_warns_and_one_with_a_file_does_not(tmp_path, caplog):
    for path, count in ((None, 1), (tmp_path / "batcher.db", 0)):
        caplog.clear()
        sent = []
        batcher = Batcher(
            submit_func=lambda items, sent=sent: sent.append(items) or "job-7", poll_func=lambda handle: None, path=path
        )
        future = asyncio.new_event_loop()
        with contextlib.closing(future) as loop, contextlib.suppress(TimeoutError):
            loop.run_until_complete(asyncio.wait_for(batcher.amap(["a"]), 0.3))
        assert sent
        batcher.close(wait=False)
        assert len(warnings(caplog)) == count
        if count:
            assert "('job-7')" in warnings(caplog)[0]
            assert 'path="batcher.db"' in warnings(caplog)[0]


PROGRAM = """
import sys
from batch_bridge import Batcher
def submit(items):
    print("sent", flush=True)
    return "job-7"
batcher = Batcher(submit_func=submit, poll_func=lambda handle: None)
batcher.map(["a", "b"])
"""


def test_ctrl_c_in_a_script_warns():
    process = warm.start(["-c", PROGRAM], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout.readline() == "sent\n"
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert process.returncode != 0
    assert said.count("will be billed") == 1, said
    assert "'job-7'" in said


# -- what had ended before -----------------------------------------------------------------------------------------


async def test_a_run_that_had_ended_says_that_nothing_was_asked(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    desk = Desk()
    for _ in range(2):
        async with Runner(one_node(ask), desk.bridge(), path=tmp_path / "run.db", progress=False) as runner:
            await runner.abatch(INPUTS, run_id="r")
    async with Runner(one_node(ask), desk.bridge(), path=tmp_path / "run.db", progress=False) as runner:
        await runner.abatch([*INPUTS, {"x": "d"}], run_id="r")
    told = [(each.levelname, each.getMessage()) for each in caplog.records if "had ended before" in each.getMessage()]
    assert [level for level, _ in told] == ["WARNING", "INFO"]
    assert "run 'r': 3 of 3 threads had ended before, nothing was sent" in told[0][1]
    assert "3 of 4 threads had ended before; their results" in told[1][1]
    assert "choose another run_id" in told[0][1]
    assert desk.requests == ["a", "b", "c", "d"]
