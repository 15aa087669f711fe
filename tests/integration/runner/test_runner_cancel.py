"""A Runner gives up one run of several; and a bridge's own callback is told of its own requests, besides the Runner's."""

import asyncio

import pytest
from helpers import TIMEOUT, Desk, memory, one_node, within

from batch_bridge import Batcher, FlushPolicy, RequestCancelled, wait
from batch_bridge.errors import RunnerStateError
from batch_bridge.events import Cancelled, Delivered, Queued, Settled, Submitted

LATER = FlushPolicy(max_age=3600)


async def ask(state):
    return {"out": [await wait(state["x"], batcher=state.get("batcher", "bridge"))]}


def inputs(name, count=5):
    return [{"x": f"{name} {number}"} for number in range(count)]


async def happens(true):
    async with asyncio.timeout(TIMEOUT):
        while not true():
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("sent", [False, True])
async def test_one_run_is_given_up_and_no_other(sent):
    desk, free = Desk().hold(), asyncio.Event()

    async def ask_unless_busy(state):
        if state["x"] == "busy":  # while a thread runs, what the others ask for stays in the queue
            await free.wait()
            return {"out": ["done"]}
        return await ask(state)

    async with memory(one_node(ask_unless_busy), desk.bridge(flush=LATER)) as runner:
        named = [{"configurable": {"thread_id": f"mine {number}"}} for number in range(5)]
        first = asyncio.create_task(runner.abatch(inputs("a"), run_id="first", return_exceptions=True))
        second = asyncio.create_task(runner.abatch(inputs("b"), named, run_id="second", return_exceptions=True))
        third = asyncio.create_task(runner.abatch(inputs("c"), return_exceptions=True))
        if sent:
            await happens(lambda: len(desk.requests) == 15)
        else:
            busy = asyncio.create_task(runner.ainvoke({"x": "busy"}))
            await happens(lambda: runner._opened.session.traffic.queued == 15)
        assert await runner.cancel(run_id="nobody's") == 0
        assert await runner.cancel(run_id="first") == 5
        assert await runner.cancel(run_id="first") == 0
        assert {type(each) for each in await within(first)} == {RequestCancelled}
        assert await runner.cancel(run_id="second") == 5
        assert {type(each) for each in await within(second)} == {RequestCancelled}
        desk.let_go()
        free.set()
        assert [each["out"] for each in await within(third)] == [[f"c {number}!"] for number in range(5)]
        if not sent:
            await within(busy)
            assert sorted(desk.requests) == [f"c {number}" for number in range(5)]


async def test_a_run_that_is_given_up_and_begun_again_asks_again():
    desk = Desk().hold()
    async with memory(one_node(ask), desk.bridge()) as runner:
        running = asyncio.create_task(runner.abatch(inputs("a", 2), run_id="r", return_exceptions=True))
        await desk.submitted.wait()
        assert await runner.cancel(run_id="r") == 2
        await within(running)
        desk.let_go()
        again = await within(runner.abatch(inputs("a", 2), run_id="r"))
    assert [each["out"] for each in again] == [["a 0!"], ["a 1!"]]


@pytest.mark.parametrize(
    "named", [("request_id", "thread_id"), ("thread_id", "batch"), ("run_id", "batch", "thread_id")]
)
async def test_what_to_give_up_is_named_once(named):
    async with memory(one_node(ask), Desk().bridge()) as runner:
        with pytest.raises(TypeError, match=" and ".join(f"{name}=" for name in sorted(named, key=_place))):
            await runner.cancel(**dict.fromkeys(named, "x"))
    with pytest.raises(RunnerStateError, match="not open"):
        await runner.cancel()


def _place(name):
    return ["request_id", "thread_id", "run_id", "batch"].index(name)


@pytest.mark.parametrize("runner_hears", [False, True])
@pytest.mark.parametrize("workers", [0, 1])
async def test_a_bridge_is_told_of_its_own_and_the_runner_of_all(runner_hears, workers):
    ours, others, both = [], [], []
    bridge = Desk().bridge(on_event=ours.append, callback_workers=workers)
    other = Desk().bridge(name="other", on_event=others.append)
    plain = Desk().bridge(name="plain")
    asked = [{"x": str(number), "batcher": ["bridge", "other", "plain"][number % 3]} for number in range(6)]
    options = {"on_event": both.append} if runner_hears else {}
    async with memory(one_node(ask), bridge, other, plain, **options) as runner:
        await within(runner.abatch(asked))
    for told, name in ((ours, "bridge"), (others, "other")):
        assert {each.bridge for each in told} == {name}
        assert [type(each) for each in told] == [type(each) for each in both if each.bridge == name] or not runner_hears
        for kind in (Queued, Submitted, Settled, Delivered):
            assert sum(len(each.requests) for each in told if isinstance(each, kind)) == 2
    assert {each.bridge for each in both} == ({"bridge", "other", "plain"} if runner_hears else set())


async def test_a_bridge_is_told_what_was_given_up():
    told = []
    desk = Desk().hold()
    async with memory(one_node(ask), desk.bridge(on_event=told.append)) as runner:
        running = asyncio.create_task(runner.abatch(inputs("a", 3), return_exceptions=True))
        await desk.submitted.wait()
        await runner.cancel()
        await within(running)
    assert sum(len(each.requests) for each in told if isinstance(each, Cancelled)) == 3


async def test_a_bridges_callback_that_fails_harms_nothing(caplog):
    def fail(event):
        raise ValueError("of the user")

    async with memory(one_node(ask), Desk().bridge(on_event=fail)) as runner:
        assert [each["out"] for each in await within(runner.abatch(inputs("a", 2)))] == [["a 0!"], ["a 1!"]]
    assert caplog.text.count("on_event failed; this is logged once") == 1


def test_a_batcher_tells_through_its_own_callback_once():
    told = []
    desk = Desk()
    with Batcher(submit_func=desk.submit, poll_func=desk.poll, poll_interval=0.02, on_event=told.append) as batcher:
        batcher.map(["a"])
    assert [type(each) for each in told] == [Queued, Submitted, Settled, Delivered]
