"""What others have the owner of a file do: flush, cancel, retry, pause and resume."""

import asyncio
import sqlite3
import time
from contextlib import closing

import orjson
import pytest
from helpers import Desk, one_node
from test_status import look, until
from typer.testing import CliRunner

from batch_bridge import Batcher, FlushPolicy, RequestCancelled, Runner, wait
from batch_bridge._cli.app import app
from batch_bridge._status.commands import answer


async def node(state):
    return {"out": [await wait(state["x"])]}


async def command(*arguments, path="run.db", code=0):
    verb, *rest = arguments
    done = await asyncio.to_thread(CliRunner().invoke, app, [verb, path, *rest])
    assert done.exit_code == code, (done.exit_code, done.output)
    return done.output


async def test_flush_sends_what_waits():
    desk = Desk()
    policy = FlushPolicy(max_requests=100, max_age=3600)
    batcher = Batcher(submit_func=desk.submit, poll_func=desk.poll, poll_interval=0.02, path="b.db", flush=policy)
    async with batcher:
        asking = asyncio.create_task(batcher.asubmit("a"))
        await until("b.db", lambda seen: seen["queued"] == 1)
        assert "1 requests that waited are sent" in await command("flush", path="b.db")
        assert await asking == "a!"


async def test_a_thread_a_batch_and_all_are_cancelled_once():
    desk = Desk().hold()
    async with Runner(one_node(node), desk.bridge(flush=FlushPolicy(max_requests=2, max_age=0.01))) as runner:
        running = asyncio.create_task(
            runner.abatch([{"x": x} for x in range(6)], run_id="eval", return_exceptions=True)
        )
        seen = await until("run.db", lambda seen: seen["in_flight"] == 6)
        assert "cancel: 1 requests" in await command("cancel", "--thread", "eval:0", "--id", "mine")
        assert "cancel: 1 requests" in await command("cancel", "--thread", "eval:0", "--id", "mine"), (
            "it is one command"
        )
        assert "cancel: 0 requests" in await command("cancel", "--thread", "eval:0"), "nothing is left to cancel"
        batch = seen["batches"][-1]
        await command("cancel", "--batch", batch["key"])
        await command("cancel")
        assert all(isinstance(result, RequestCancelled) for result in await running)
    assert look(code=1)["threads"]["failed"] == 6
    assert "name one of" in await command("cancel", "--thread", "a", "--run", "b", code=2)


async def test_a_pause_sends_nothing_collects_and_outlives_its_owner():
    desk = Desk().hold()
    async with Runner(one_node(node), desk.bridge()) as runner:
        first = asyncio.create_task(runner.abatch([{"x": "a"}], run_id="one"))
        await until("run.db", lambda seen: seen["in_flight"] == 1)
        await command("pause")
        second = asyncio.create_task(runner.abatch([{"x": "b"}], run_id="two"))
        seen = await until("run.db", lambda seen: seen["queued"] == 1 and seen["paused"])
        assert seen["in_flight"] == 1
        desk.let_go()
        assert await first == [{"x": "a", "out": ["a!"]}]
        second.cancel()
        await asyncio.gather(second, return_exceptions=True)
    async with Runner(one_node(node), desk.bridge()) as runner:
        second = asyncio.create_task(runner.abatch([{"x": "b"}], run_id="two"))
        await until("run.db", lambda seen: seen["queued"] == 1 and seen["paused"])
        assert len(desk.batches) == 1
        assert "it sends again" in await command("resume")
        assert await second == [{"x": "b", "out": ["b!"]}]


async def test_threads_that_have_failed_are_run_again_while_their_run_goes_on():
    bad = {"a"}
    desk = Desk(lambda item: ValueError("no") if item in bad else f"{item}!")
    slow = Desk().hold()

    async def either(state):
        return {"out": [await wait(state["x"], batcher=state["batcher"])]}

    bridges = [desk.bridge(name="one", attempts=1), slow.bridge(name="two")]
    async with Runner(one_node(either), bridges) as runner:
        inputs = [{"x": "a", "batcher": "one"}, {"x": "b", "batcher": "two"}]
        running = asyncio.create_task(runner.abatch(inputs, run_id="eval"))
        await until("run.db", lambda seen: seen["threads"]["failed"] == 1 and seen["in_flight"] == 1)
        bad.clear()
        assert "1 threads that had failed are run again" in await command("retry")
        await until("run.db", lambda seen: seen["threads"]["done"] == 1 and not seen["threads"]["failed"])
        slow.let_go()
        assert [result["out"] for result in await running] == [["a!"], ["b!"]]
    assert look(code=0)["threads"]["done"] == 2


async def test_a_command_that_no_process_could_carry_out_is_refused_with_a_reason():
    async with Runner(one_node(node), Desk().bridge()):
        pass
    assert "owned by no process" in await command("pause", code=1)


async def test_a_command_outlives_a_crash_of_the_owner():
    async with Runner(one_node(node), Desk().bridge()):
        pass
    row = {"verb": "pause", "target": {}, "state": "asked", "at": time.time()}
    with closing(sqlite3.connect("run.db")) as connection, connection:
        put = "INSERT INTO store (prefix, key, value) VALUES ('batch_bridge_commands', 'left', ?)"
        connection.execute(put, (orjson.dumps(row),))
    async with Runner(one_node(node), Desk().bridge()):
        seen = await until("run.db", lambda seen: seen["paused"])
        assert answer("run.db", "left").state == "done"
    assert seen["paused"]


@pytest.mark.parametrize(
    "row", [{"verb": "explode", "target": {}}, {"target": {}}, {"verb": "cancel", "target": {"x": "y"}}]
)
async def test_a_command_that_makes_no_sense_is_refused_and_harms_nothing(row):
    desk = Desk()
    async with Runner(one_node(node), desk.bridge()) as runner:
        with closing(sqlite3.connect("run.db")) as connection, connection:
            put = "INSERT INTO store (prefix, key, value) VALUES ('batch_bridge_commands', 'odd', ?)"
            connection.execute(put, (orjson.dumps({**row, "state": "asked", "at": 0}),))
        async with asyncio.timeout(30):
            while True:
                with closing(sqlite3.connect("run.db")) as connection:
                    ((value,),) = connection.execute("SELECT value FROM store WHERE key = 'odd'").fetchall()
                if orjson.loads(value)["state"] == "refused":
                    break
                await asyncio.sleep(0.05)
        assert await runner.abatch([{"x": "a"}]) == [{"x": "a", "out": ["a!"]}]
