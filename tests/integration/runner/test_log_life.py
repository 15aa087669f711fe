"""What the log tells of a run at INFO: its life, in ten lines, each of which says what it is about."""

import asyncio
import logging

import pytest
from helpers import Desk, one_node

from batch_bridge import Runner, wait


async def twice(state):
    one = await wait(f"SECRET {state['x']}")
    return {"out": [one, await wait(f"{one} again")]}


@pytest.fixture
def ours(caplog):
    caplog.set_level(logging.INFO, logger="batch_bridge")
    return lambda: [each for each in caplog.records if each.name.startswith("batch_bridge")]


async def test_info_tells_the_life_of_a_run_in_ten_lines(ours):
    async with Runner(one_node(twice), Desk(lambda item: f"{item} ANSWER").bridge(), path="run.db") as runner:
        await runner.abatch([{"x": x} for x in range(20)], run_id="eval-7")
    records = ours()
    lines = [each.getMessage() for each in records]
    told = [
        "the Runner is open on run.db, with bridge",
        "run 'eval-7' begins: 20 threads",
        "with 20 requests is submitted as",
        "settled: {'succeeded': 20}",
        "with 20 requests is submitted as",
        "settled: {'succeeded': 20}",
        "run 'eval-7' has ended: 20 threads done, 0 failed, in ",
        "the Runner is closing",
    ]
    assert len(lines) == len(told) <= 10
    assert [part in line for part, line in zip(told, lines, strict=True)] == [True] * len(told), lines
    assert {each.name for each in records} == {
        "batch_bridge.runner._runner",
        "batch_bridge.runner._run",
        "batch_bridge._engine.sending.submission",
        "batch_bridge._engine.settlement.settling",
    }
    assert [(each.bridge, each.run) for each in records] == [
        ("", ""), ("", "eval-7"), *[("bridge", "")] * 4, ("", "eval-7"), ("", "")
    ]  # fmt: skip
    batches = [each.batch for each in records]
    assert batches[2] == batches[3] != batches[4] == batches[5]
    assert all(batches[each].startswith("bb-") for each in range(2, 6))
    assert not [line for line in lines if "SECRET" in line or "ANSWER" in line]


async def test_a_run_that_is_left_says_how_many_wait(ours):
    async with Runner(one_node(twice), Desk().hold().bridge(), path="run.db") as runner:
        running = asyncio.create_task(runner.abatch([{"x": x} for x in range(3)], run_id="eval"))
        async with asyncio.timeout(60):
            while not [each for each in ours() if "is submitted as" in each.getMessage()]:
                await asyncio.sleep(0.01)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    (line,) = [each.getMessage() for each in ours() if "'eval' is left" in each.getMessage()]
    assert "0 threads done, 0 failed, 3 wait or were stopped" in line


async def test_calls_of_one_thread_are_told_at_debug(ours):
    async with Runner(one_node(twice), Desk().bridge(), path=":memory:") as runner:
        await runner.ainvoke({"x": 1})
    assert not [each for each in ours() if each.getMessage().startswith("run ")]


def test_each_record_has_what_a_format_may_name(caplog):
    from batch_bridge._core.wording.log import about, logger_of

    shown = logging.Formatter("%(name)s [%(bridge)s|%(batch)s|%(run)s] %(message)s")
    logger_of("batch_bridge.x").warning("nothing")
    logger_of("batch_bridge.x").warning("something", extra=about(bridge="b", batch=None, run="r"))
    assert [shown.format(each) for each in caplog.records] == [
        "batch_bridge.x [||] nothing",
        "batch_bridge.x [b||r] something",
    ]
