"""Submitted threads leave the event loop to others while it is busy, and take all the room that there is otherwise."""

import asyncio
import math

from helpers import Desk, State, one_node, within

from batch_bridge import FlushPolicy, Runner, wait
from batch_bridge.runner._threads import pace

THREADS = 20


async def most_side_by_side(tmp_path, limit: int) -> int:
    running = most = 0

    async def ask(state: State) -> State:
        nonlocal running, most
        running += 1
        most = max(most, running)
        for _ in range(20):
            await asyncio.sleep(0)
        running -= 1
        return {"out": [await wait(state["x"])]}

    bridge = Desk().bridge(flush=FlushPolicy(max_idle=0.05))
    async with Runner(one_node(ask), bridge, path=tmp_path / "run.db", max_concurrency=limit) as runner:
        await asyncio.gather(*(runner.submit({"x": str(i)}, thread_id=f"T{i}") for i in range(THREADS)))
        results = await within(asyncio.gather(*(runner.result(f"T{i}") for i in range(THREADS))))
    assert [each["out"] for each in results] == [[f"{i}!"] for i in range(THREADS)]
    return most


async def test_few_run_side_by_side_while_turns_of_the_loop_are_long(tmp_path, monkeypatch):
    monkeypatch.setattr(pace, "LONG_TURN", 0.0)
    assert await most_side_by_side(tmp_path, 64) <= pace.FEW


async def test_all_run_side_by_side_where_turns_are_short(tmp_path, monkeypatch):
    monkeypatch.setattr(pace, "LONG_TURN", math.inf)
    together = asyncio.Barrier(THREADS)

    async def ask(state: State) -> State:
        await together.wait()  # of the first legs, and again of the second
        return {"out": [await wait(state["x"])]}

    bridge = Desk().bridge(flush=FlushPolicy(max_idle=0.05))
    async with Runner(one_node(ask), bridge, path=tmp_path / "run.db") as runner:
        await asyncio.gather(*(runner.submit({"x": str(i)}, thread_id=f"T{i}") for i in range(THREADS)))
        results = await within(asyncio.gather(*(runner.result(f"T{i}") for i in range(THREADS))))
    assert len(results) == THREADS


async def test_no_more_run_than_the_limit_that_was_given(tmp_path, monkeypatch):
    monkeypatch.setattr(pace, "LONG_TURN", math.inf)
    assert await most_side_by_side(tmp_path, 3) <= 3
