"""A thread that a budget has ended has failed, for who counts; a retry and the same command run it again."""

import asyncio
import sqlite3
from contextlib import closing

from helpers import Desk, one_node, within
from typer.testing import CliRunner

from batch_bridge import Budget, BudgetExceeded, Runner, wait
from batch_bridge._cli.app import app
from batch_bridge._status.read import read_status
from batch_bridge._status.runs import failed_threads


async def node(state):
    if state["x"] == "held":
        return {"out": [await wait("held", batcher="held")]}
    return {"out": [await wait(n, batcher="bridge") for n in range(3)]}


def written(path):
    with closing(sqlite3.connect(path)) as connection:
        return failed_threads(connection)


async def test_a_thread_that_a_budget_has_ended_counts_as_failed_and_goes_on_with_a_higher_one(tmp_path):
    path = tmp_path / "run.db"
    desk, held = Desk(), Desk().hold()

    def runner(limit):
        bridges = [desk.bridge(), held.bridge(name="held")]
        budget = Budget(requests_per_thread=limit)
        return Runner(one_node(node), bridges, path=path, budget=budget, progress=False)

    async def seen(**wanted):
        async with asyncio.timeout(30):
            while (threads := (await asyncio.to_thread(read_status, path)).threads) and any(
                getattr(threads, name) != value for name, value in wanted.items()
            ):
                await asyncio.sleep(0.05)

    async def command(*arguments):
        done = await asyncio.to_thread(CliRunner().invoke, app, [*arguments])
        return done.exit_code, done.output

    inputs = [{"x": "over"}, {"x": "held"}]
    async with runner(2) as first:
        running = asyncio.create_task(first.abatch(inputs, run_id="job", return_exceptions=True))
        await within(held.submitted.wait())
        await within(seen(failed=1, done=0, parked=1))
        assert written(path) == {"job": {"budget_exceeded": 1}}
        code, output = await command("retry", str(path), "--run", "job")
        assert (code, "1 threads that had failed are run again" in output) == (0, True), output
        assert len(desk.requests) == 2, "it asks the same again, and nothing of it is sent"
        held.let_go()
        results = await within(running)
    assert [type(each) for each in results] == [BudgetExceeded, dict]
    code, output = await command("status", str(path))
    assert code == 1
    assert "give a higher budget" in output
    async with runner(3) as higher:
        results = await within(higher.abatch(inputs, run_id="job"))
    assert results[0]["out"] == ["0!", "1!", "2!"]
    assert (len(desk.requests), len(held.requests)) == (3, 1)
    assert written(path) == {}
    code, output = await command("status", str(path))
    assert code == 0, output
