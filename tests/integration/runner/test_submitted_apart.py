"""What goes wrong with one submitted thread, or what one waits for, holds up none of the others."""

import asyncio

import pytest
from helpers import Desk, State, one_node, within

from batch_bridge import FlushPolicy, Runner, wait


async def ask(state: State) -> State:
    if state["x"] == "bad":
        raise KeyError("its own")
    return {"out": [await wait(state["x"])]}


def served(tmp_path, desk: Desk, node=ask, **options) -> Runner:
    bridge = desk.bridge(flush=FlushPolicy(max_idle=0.05))
    return Runner(one_node(node), bridge, path=tmp_path / "run.db", **options)


def once(function, error):
    """Return a function that raises an error the first time, and then does what it did."""
    errors = [error]

    async def failing(*args, **options):
        if errors:
            raise errors.pop()
        return await function(*args, **options)

    return failing


async def test_a_store_that_refuses_what_one_has_failed_of_stops_that_one_alone(tmp_path, monkeypatch):
    desk = Desk().hold()
    async with served(tmp_path, desk) as runner:
        for name in "ab":
            await runner.submit({"x": name}, thread_id=name)
        await within(desk.submitted.wait())
        failures = runner._opened.session.failures
        monkeypatch.setattr(failures, "note", once(failures.note, ValueError("the store refuses")))
        await runner.submit({"x": "bad"}, thread_id="bad")
        with pytest.raises(ValueError, match="the store refuses"):
            await within(runner.result("bad"))
        assert set(runner._opened.submissions._live) == {"a", "b"}
        desk.let_go()
        assert [each["out"] for each in await within(asyncio.gather(*map(runner.result, "ab")))] == [["a!"], ["b!"]]
        with pytest.raises(KeyError):
            await within(runner.result("bad"))
    assert desk.batches == [["a", "b"]]


async def test_what_one_has_cost_is_no_reason_to_stop_any(tmp_path, monkeypatch, caplog):
    told = []
    desk = Desk().hold()
    async with served(tmp_path, desk, on_item=lambda place, result, cost=None: told.append((result, cost))) as runner:
        session = runner._opened.session
        monkeypatch.setattr(session.books, "cost_of", once(session.books.cost_of, ValueError("no price")))
        await runner.submit({"x": "a"}, thread_id="a")
        await within(desk.submitted.wait())
        await runner.submit({"x": "bad"}, thread_id="bad")
        with pytest.raises(KeyError):
            await within(runner.result("bad"))
        assert set(runner._opened.submissions._live) == {"a"}
        desk.let_go()
        assert (await within(runner.result("a")))["out"] == ["a!"]
    assert "what a thread has cost could not be added up: ValueError" in caplog.text
    assert [type(result) for result, _ in told] == [KeyError, dict]
    assert told[0][1] is None


async def test_an_error_of_their_call_that_is_not_the_engines_goes_on_with_what_is_left(tmp_path, monkeypatch):
    desk = Desk().hold()
    async with served(tmp_path, desk) as runner:
        for name in "ab":
            await runner.submit({"x": name}, thread_id=name)
        await within(desk.submitted.wait())
        waiting = asyncio.gather(*map(runner.result, "ab"))
        await asyncio.sleep(0)
        runner._opened.submissions._call.output.put_nowait(ValueError("a fault of ours"))
        await asyncio.sleep(0)
        desk.let_go()
        assert [each["out"] for each in await within(waiting)] == [["a!"], ["b!"]]
    assert desk.batches == [["a", "b"]]


async def test_an_error_that_comes_again_and_again_stops_them(tmp_path, monkeypatch):
    desk = Desk().hold()
    async with served(tmp_path, desk) as runner:
        calls = []

        async def results(call, *_):
            calls.append(call)
            if call is None:
                yield
            raise ValueError("a fault of ours")

        monkeypatch.setattr(runner._calls, "results", results)
        await runner.submit({"x": "a"}, thread_id="a")
        with pytest.raises(ValueError, match="a fault of ours"):
            await within(runner.result("a"))
    assert len(calls) <= 3


@pytest.mark.parametrize("limit", [1, 2])
async def test_those_that_wait_for_others_in_their_nodes_leave_these_room_to_run(tmp_path, limit):
    runner = None

    async def node(state: State) -> State:
        if not state["x"].startswith("parent"):
            return {"out": [await wait(state["x"])]}
        child = f"child of {state['x']}"
        await runner.submit({"x": child}, thread_id=child)
        return {"out": (await runner.result(child))["out"]}

    async with served(tmp_path, Desk(), node, max_concurrency=limit) as opened:
        runner = opened
        parents = [f"parent {number}" for number in range(3)]
        for each in parents:
            await runner.submit({"x": each}, thread_id=each)
        results = await within(asyncio.gather(*map(runner.result, parents)))
        assert [each["out"] for each in results] == [[f"child of {each}!"] for each in parents]
        async with asyncio.timeout(10):
            while runner._opened.session.roster.calls:
                await asyncio.sleep(0.005)


async def test_a_wait_that_outlives_its_thread_lends_no_place(tmp_path):
    desk, left = Desk().hold(), []
    runner = None

    async def node(state: State) -> State:
        if state["x"] == "parent":
            left.append(asyncio.create_task(runner.result("child")))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            return {"out": ["left"]}
        return {"out": [await wait(state["x"])]}

    async with served(tmp_path, desk, node, max_concurrency=1) as opened:
        runner = opened
        await runner.submit({"x": "child"}, thread_id="child")
        await within(desk.submitted.wait())
        await runner.submit({"x": "parent"}, thread_id="parent")
        assert (await within(runner.result("parent")))["out"] == ["left"]
        call = runner._opened.submissions._call
        assert call._lent == 0
        desk.let_go()
        assert (await within(left[0]))["out"] == ["child!"]
        assert call._lent == 0


async def test_what_is_sent_when_all_is_idle_is_sent_though_a_node_waits_for_it(tmp_path):
    runner = None

    async def node(state: State) -> State:
        if state["x"] != "parent":
            return {"out": [await wait(state["x"])]}
        await runner.submit({"x": "child"}, thread_id="child")
        return {"out": (await runner.result("child"))["out"]}

    bridge = Desk().bridge(flush=FlushPolicy(when_idle=True))
    async with Runner(one_node(node), bridge, path=tmp_path / "run.db") as opened:
        runner = opened
        await runner.submit({"x": "parent"}, thread_id="parent")
        assert (await within(runner.result("parent")))["out"] == ["child!"]
