"""What a single call of a Runner costs, behind a web request: nothing read twice, no row of its own, little memory."""

import asyncio
import gc
import tracemalloc
from collections import Counter

import pytest
from helpers import Desk, State, config_of, one_node, within
from langgraph.store.base import SearchOp

from batch_bridge import FlushPolicy, Runner, wait
from batch_bridge._sqlite.saver import GroupedSqliteSaver
from batch_bridge.errors import RunMismatchError


async def ask(state: State) -> State:
    return {"out": [await wait(state["x"])]}


def served(tmp_path, desk: Desk) -> Runner:
    return Runner(one_node(ask), desk.bridge(flush=FlushPolicy(max_idle=0.05)), path=tmp_path / "run.db")


@pytest.fixture
def reads(monkeypatch) -> Counter[str]:
    """How often each thread's checkpoint is read from the file."""
    counted: Counter[str] = Counter()
    read = GroupedSqliteSaver.get_tuple

    def get_tuple(self, config):
        counted[config["configurable"]["thread_id"]] += 1
        return read(self, config)

    monkeypatch.setattr(GroupedSqliteSaver, "get_tuple", get_tuple)
    return counted


async def rows(runner) -> list[str]:
    (found,) = await runner._opened.session.rows.abatch([SearchOp(("batch_bridge_submitted",), limit=100)])
    return [row.key for row in found]


async def test_a_thread_is_read_once_before_each_leg(tmp_path, reads):
    async with served(tmp_path, Desk()) as runner:
        await within(runner.ainvoke({"x": "a"}, config_of("a")))
        await within(runner.result(await runner.submit({"x": "b"}, thread_id="b")))
    assert reads == {"a": 2, "b": 2}  # before it is begun, and before it is resumed


async def test_a_thread_that_goes_on_after_its_end_begins_where_it_is(tmp_path):
    async with served(tmp_path, Desk()) as runner:
        results = [(await within(runner.ainvoke({"x": name}, config_of("t"))))["out"] for name in "ab"]
        history = [each async for each in runner._opened.session.graph.aget_state_history(config_of("t"))]
    assert results == [["a!"], ["a!", "b!"]]
    assert [each.metadata["step"] for each in reversed(history)] == [-1, 0, 1, 2, 3, 4]


async def test_rows_of_threads_that_have_ended_go_together(tmp_path):
    desk = Desk()
    async with served(tmp_path, desk) as runner:
        handles = [await runner.submit({"x": each}, thread_id=each) for each in "abc"]
        assert sorted(await rows(runner)) == handles
        await within(asyncio.gather(*map(runner.result, handles)))
        again = await runner.submit({"x": "a"}, thread_id="a")  # before its row was deleted
        assert (await within(runner.result(again)))["out"] == ["a!"]
        with pytest.raises(RunMismatchError):
            await runner.submit({"x": "other"}, thread_id="b")
    async with served(tmp_path, desk) as runner:
        assert await rows(runner) == []
        assert (await within(runner.result("c")))["out"] == ["c!"]
    assert sum(desk.sizes) == 3


async def test_calls_of_one_thread_share_a_row_of_what_others_see(tmp_path):
    desk = Desk()
    async with served(tmp_path, desk) as runner:
        handles = [await runner.submit({"x": each}, thread_id=each) for each in "abc"]
        await within(asyncio.gather(*map(runner.result, handles), runner.abatch([{"x": "d"}], run_id="named")))
        shown = runner._opened.session.look().runs
    assert {name: (run["done"], run["running"], run["parked"]) for name, run in shown.items()} == {
        "": (3, 0, 0),
        "named": (1, 0, 0),
    }


async def test_a_thread_that_has_ended_leaves_little_in_memory(tmp_path):
    async with served(tmp_path, Desk()) as runner:

        async def serve(names: range) -> int:
            async def one(name: str) -> None:
                await runner.result(await runner.submit({"x": name}, thread_id=name))

            await within(asyncio.gather(*(one(f"t{i}") for i in names)))
            gc.collect()
            return tracemalloc.get_traced_memory()[0]

        await serve(range(25))
        tracemalloc.start()
        try:
            before = await serve(range(25, 50))
            await serve(range(50, 75))
            grown = await serve(range(75, 100)) - before
        finally:
            tracemalloc.stop()
    assert grown / 50 < 3000  # bytes: that it has ended, what grows by leaps, and what the desk of this test remembers
