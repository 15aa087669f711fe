"""Threads that are submitted while something else happens to them: another submit, another call, a sweep, the end."""

import asyncio
import sqlite3

import pytest
from helpers import Desk, State, config_of, one_node, within
from langgraph.store.base import PutOp, SearchOp

from batch_bridge import FlushPolicy, Runner, wait
from batch_bridge.errors import RunMismatchError, RunnerStateError, SubmittedThreadError


async def ask(state: State) -> State:
    return {"out": [await wait(state["x"])]}


def served(tmp_path, desk: Desk, node=ask) -> Runner:
    bridge = desk.bridge(flush=FlushPolicy(max_idle=0.05))
    return Runner(one_node(node), bridge, path=tmp_path / "run.db")


class HeldRows:
    """Holds the writing of rows back until it is let go, and says when the first has come."""

    def __init__(self, submissions):
        self._rows = submissions._rows
        self.arrived, self.go = asyncio.Event(), asyncio.Event()
        submissions._rows = self

    async def abatch(self, ops):
        ops = list(ops)
        if any(getattr(op, "value", None) is not None for op in ops):
            self.arrived.set()
            await self.go.wait()
        return await self._rows.abatch(ops)


async def on_disk(runner) -> list[str]:
    (found,) = await runner._opened.session.rows.abatch([SearchOp(("batch_bridge_submitted",))])
    return [each.key for each in found]


async def test_of_two_inputs_for_one_thread_at_once_one_is_refused(tmp_path):
    async with served(tmp_path, Desk()) as runner:
        one, other = await asyncio.gather(
            runner.submit({"x": "a"}, thread_id="T"), runner.submit({"x": "b"}, thread_id="T"), return_exceptions=True
        )
        assert one == "T"
        assert isinstance(other, RunMismatchError)
        assert (await within(runner.result("T")))["out"] == ["a!"]


async def test_the_same_input_for_one_thread_at_once_is_one_thread(tmp_path):
    desk = Desk()
    async with served(tmp_path, desk) as runner:
        assert await asyncio.gather(*(runner.submit({"x": "a"}, thread_id="T") for _ in range(5))) == ["T"] * 5
        assert (await within(runner.result("T")))["out"] == ["a!"]
    assert desk.batches == [["a"]]


async def test_another_input_than_that_of_a_call_under_way_is_refused(tmp_path):
    async with served(tmp_path, Desk()) as runner:
        call = asyncio.create_task(runner.ainvoke({"x": "a"}, config_of("T")))
        await asyncio.sleep(0)
        with pytest.raises(RunMismatchError):
            await runner.submit({"x": "b"}, thread_id="T")
        assert (await within(call))["out"] == ["a!"]
        assert await on_disk(runner) == []


async def test_a_call_with_another_input_that_is_quicker_is_what_the_thread_has_failed_of(tmp_path):
    async with served(tmp_path, Desk()) as runner:
        rows = HeldRows(runner._opened.submissions)
        submitting = asyncio.create_task(runner.submit({"x": "b"}, thread_id="T"))
        await within(rows.arrived.wait())
        await within(runner.ainvoke({"x": "a"}, config_of("T")))
        rows.go.set()
        await within(submitting)
        with pytest.raises(RunMismatchError):
            await within(runner.result("T"))
        with pytest.raises(SubmittedThreadError, match="RunMismatchError"):
            await within(runner.result("T"))


@pytest.mark.parametrize("ends", [True, False])
async def test_what_another_call_has_paid_while_the_row_was_written_is_not_paid_again(tmp_path, ends):
    desk = Desk() if ends else Desk().hold()
    async with served(tmp_path, desk) as runner:
        rows = HeldRows(runner._opened.submissions)
        submitting = asyncio.create_task(runner.submit({"x": "a"}, thread_id="T"))
        await within(rows.arrived.wait())
        call = asyncio.create_task(runner.ainvoke({"x": "a"}, config_of("T")))
        await within(desk.submitted.wait())
        if not ends:
            call.cancel()
        await within(asyncio.gather(call, return_exceptions=True))
        rows.go.set()
        await within(submitting)
        desk.let_go()
        assert (await within(runner.result("T")))["out"] == ["a!"]
    assert desk.batches == [["a"]]


async def test_a_sweep_that_is_tried_again_leaves_the_row_of_a_thread_that_was_submitted_meanwhile(tmp_path):
    desk = Desk()
    async with served(tmp_path, desk) as runner:
        patient = runner._opened.session.rows
        inner, failing = patient._rows, asyncio.Event()

        class Locked:
            async def abatch(self, ops):
                ops = list(ops)
                is_sweep = any(isinstance(op, PutOp) and op.value is None and op.key == "T" for op in ops)
                if is_sweep and not failing.is_set():
                    failing.set()
                    raise sqlite3.OperationalError("database is locked")
                return await inner.abatch(ops)

        patient._rows = Locked()
        await runner.submit({"x": "a"}, thread_id="T")
        await within(runner.result("T"))
        await within(failing.wait())
        await runner.restart("T")
        desk.hold()
        await within(runner.submit({"x": "b"}, thread_id="T"))
        while runner._opened.submissions._sweeping is not None:
            await asyncio.sleep(0.005)
        assert await on_disk(runner) == ["T"]
        desk.let_go()
        assert (await within(runner.result("T")))["out"] == ["b!"]


async def test_a_submit_that_is_cancelled_leaves_no_row_that_nothing_drives(tmp_path):
    async with served(tmp_path, Desk()) as runner:
        rows = HeldRows(runner._opened.submissions)
        submitting = asyncio.create_task(runner.submit({"x": "a"}, thread_id="T"))
        await within(rows.arrived.wait())
        submitting.cancel()
        await asyncio.gather(submitting, return_exceptions=True)
        waiting = asyncio.create_task(runner.result("T"))
        rows.go.set()
        assert (await within(waiting))["out"] == ["a!"]


async def test_a_submit_that_is_under_way_when_the_runner_closes_says_so(tmp_path):
    async with served(tmp_path, Desk()) as runner:
        rows = HeldRows(runner._opened.submissions)
        submitting = asyncio.create_task(runner.submit({"x": "a"}, thread_id="T"))
        await within(rows.arrived.wait())
    with pytest.raises(RunnerStateError, match="submit it again"):
        await within(submitting)
