"""Rows of submitted threads that have ended: they go, whatever comes in between, and stop nobody."""

import asyncio

import pytest
from helpers import Desk, ask, config_of, one_node, within
from langgraph.store.base import PutOp, SearchOp

from batch_bridge import Runner
from batch_bridge.runner import _submissions


def opened(path, desk):
    return Runner(one_node(ask), desk.bridge(), path=path, progress=False)


async def rows(runner):
    submissions = runner._opened.submissions
    (found,) = await submissions._rows.abatch([SearchOp(submissions._namespace)])
    return [row.key for row in found]


@pytest.fixture
def killed(monkeypatch):
    """Have Runners leave the rows of threads that have ended, as one that is killed at once does."""

    async def sweep(_):
        return None

    with monkeypatch.context() as patch:
        patch.setattr(_submissions.Submissions, "_sweep", sweep)
        yield patch


async def test_a_row_that_was_left_of_a_thread_that_has_moved_on_is_dropped(tmp_path, killed):
    desk, path = Desk(), tmp_path / "run.db"
    async with opened(path, desk) as runner:
        handle = await runner.submit({"x": "a"})
        assert (await within(runner.result(handle)))["out"] == ["a!"]
        after = (await within(runner.ainvoke({"x": "b"}, config_of(handle))))["out"]
        assert await rows(runner) == [handle]
    killed.undo()
    async with opened(path, desk) as runner:
        assert (await within(runner.result(handle)))["out"] == after
    async with opened(path, desk) as runner:
        assert await rows(runner) == []
        assert (await within(runner.result(handle)))["out"] == after
    assert desk.batches == [["a"], ["b"]]


async def test_a_sweep_that_fails_is_made_again_and_does_not_break_the_end(tmp_path, monkeypatch):
    desk, path, failed = Desk(), tmp_path / "run.db", asyncio.Event()
    async with opened(path, desk) as runner:
        submissions = runner._opened.submissions
        write = submissions._rows.abatch
        works = False

        async def abatch(ops):
            if not works and any(op == PutOp(submissions._namespace, op[1], None) for op in ops):
                failed.set()
                raise OSError("the disk is full")
            return await write(ops)

        monkeypatch.setattr(submissions._rows, "abatch", abatch)
        handles = [await runner.submit({"x": name}) for name in "ab"]
        await within(asyncio.gather(*map(runner.result, handles)))
        await within(failed.wait())
        works = True
        async with asyncio.timeout(20):
            while await rows(runner):
                await asyncio.sleep(0.01)
        works = False
        last = await runner.submit({"x": "c"})
        await within(runner.result(last))
    async with opened(path, desk) as runner:
        assert (await within(runner.result(last)))["out"] == ["c!"]
    assert desk.counts == {"a": 1, "b": 1, "c": 1}
