"""Threads that are submitted are one call of the Runner: what they share, and what none of them does to another."""

import asyncio
import base64
import contextvars

import pytest
from helpers import Desk, State, config_of, memory, one_node, within

from batch_bridge import FlushPolicy, Runner, wait
from batch_bridge.errors import RunMismatchError

who = contextvars.ContextVar("who", default="nobody")


async def ask(state: State) -> State:
    return {"out": [await wait(state["x"])]}


def served(tmp_path, desk: Desk, node=ask, limit: int | None = None) -> Runner:
    bridge = desk.bridge(flush=FlushPolicy(max_idle=0.05))
    return Runner(one_node(node), bridge, path=tmp_path / "run.db", max_concurrency=limit)


async def test_no_more_of_them_run_at_once_than_the_runner_was_told(tmp_path):
    running, most = 0, 0

    async def node(state: State) -> State:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1
        return {"out": [await wait(state["x"])]}

    desk = Desk()
    async with served(tmp_path, desk, node, limit=2) as runner:
        handles = [await runner.submit({"x": f"{i}"}, thread_id=f"t{i}") for i in range(7)]
        results = await within(asyncio.gather(*map(runner.result, handles)))
        assert len(runner._opened.session.roster.calls) == 0
    assert [each["out"] for each in results] == [[f"{i}!"] for i in range(7)]
    assert most == 2


def test_a_runner_that_would_run_nothing_is_refused(tmp_path):
    with pytest.raises(ValueError, match="max_concurrency=0"):
        served(tmp_path, Desk(), limit=0)


async def test_what_waits_to_begin_is_in_the_file_and_not_in_memory(tmp_path):
    desk = Desk()
    async with served(tmp_path, desk, limit=1) as runner:
        runner._opened.submissions._at_hand = 2
        handles = await asyncio.gather(*(runner.submit({"x": f"{i}"}, thread_id=f"t{i}") for i in range(8)))
        held = runner._opened.submissions._live.values()
        assert sum(each.row is not None for each in held) <= 3 < len(held)  # one of them begins
        results = await within(asyncio.gather(*map(runner.result, handles)))
    assert [each["out"] for each in results] == [[f"{i}!"] for i in range(8)]


async def test_each_runs_in_the_context_of_its_own_request(tmp_path):
    seen = []

    async def node(state: State) -> State:
        seen.append((state["x"], who.get()))
        return {"out": [await wait(state["x"])]}

    async def request(runner, name: str) -> None:
        who.set(name)
        await runner.submit({"x": name}, thread_id=name)

    async with served(tmp_path, Desk(), node) as runner:
        await asyncio.gather(*(asyncio.create_task(request(runner, name)) for name in "abc"))
        await within(asyncio.gather(*map(runner.result, "abc")))
    assert sorted(seen) == [(name, name) for name in "aabbcc"]  # before it parked, and after


async def test_one_that_cannot_begin_stops_no_other(tmp_path):
    """Its state is another input's: its row was deleted, and it was begun again."""
    desk = Desk().hold()
    async with served(tmp_path, desk) as runner:
        await runner.submit({"x": "a"}, thread_id="a")
        other = asyncio.create_task(runner.ainvoke({"x": "b"}, config_of("b")))
        await within(desk.submitted.wait())
        submissions = runner._opened.submissions
        submissions._start("b", {"digest": "0" * 32, **_row(runner, {"x": "c"})}, is_left=False)
        with pytest.raises(RunMismatchError):
            await within(runner.result("b"))
        desk.let_go()
        assert (await within(runner.result("a")))["out"] == ["a!"]
        assert (await within(other))["out"] == ["b!"]


def _row(runner, value):
    kind, data = runner._opened.submissions._saver.serde.dumps_typed({"input": value, "config": {}})
    return {"kind": kind, "data": base64.b64encode(data).decode()}


async def test_one_that_another_call_drives_is_joined_and_continued(tmp_path):
    desk = Desk().hold()
    async with served(tmp_path, desk) as runner:
        first = asyncio.create_task(runner.ainvoke({"x": "a"}, config_of("a")))
        await within(desk.submitted.wait())
        await runner.submit({"x": "a"}, thread_id="a")
        waiting = asyncio.create_task(runner.result("a"))
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        desk.let_go()
        assert (await within(waiting))["out"] == ["a!"]
    assert desk.batches == [["a"]]


async def test_progress_counts_them_and_their_call_ends_with_the_last(tmp_path):
    desk = Desk().hold()
    async with served(tmp_path, desk) as runner:
        for name in "abc":
            await runner.submit({"x": name}, thread_id=name)
        await within(desk.submitted.wait())
        shown = runner._calls.look()
        assert (shown.done, shown.total) == (0, 3)
        assert len(runner._opened.session.roster.calls) == 1
        desk.let_go()
        await within(asyncio.gather(*map(runner.result, "abc")))
        async with asyncio.timeout(10):
            while runner._opened.session.roster.calls:
                await asyncio.sleep(0.005)
        shown = runner._calls.look()
        assert (shown.done, shown.total) == (3, 3)


async def test_what_is_submitted_while_the_last_one_ends_is_not_lost():
    async with memory(one_node(ask), Desk().bridge(flush=FlushPolicy(max_idle=0.001))) as runner:
        for number in range(20):
            handle = await runner.submit({"x": f"{number}"})
            assert (await within(runner.result(handle)))["out"] == [f"{number}!"]
