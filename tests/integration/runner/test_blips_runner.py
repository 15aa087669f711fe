"""A store, a checkpointer and a provider that fail at one call and go on: the run goes on too, and pays once."""

import asyncio
import random

import pytest
from helpers import Desk, State, one_node, within
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, StateGraph
from langgraph.store.memory import InMemoryStore

from batch_bridge import Batcher, Runner, events, wait, wait_many
from batch_bridge.errors import ProviderUnavailable


class Blips:
    """Counts calls, and lets some of them fail: before they take effect, or after."""

    def __init__(self, *at, after=False):
        self.at, self.after, self.calls = set(at), after, 0

    async def __call__(self, call):
        self.calls += 1
        if self.calls not in self.at:
            return await call()
        if self.after:
            await call()
        raise ConnectionError("the network blinked")


class BlippingStore(InMemoryStore):
    def __init__(self, blips):
        super().__init__()
        self.blips = blips

    async def abatch(self, ops):
        held = list(ops)
        return await self.blips(lambda: super(BlippingStore, self).abatch(held))


class BlippingSaver(InMemorySaver):
    def __init__(self, blips):
        super().__init__()
        self.blips = blips

    async def aget_tuple(self, config):
        return await self.blips(lambda: super(BlippingSaver, self).aget_tuple(config))

    async def aput(self, *arguments):
        return await self.blips(lambda: super(BlippingSaver, self).aput(*arguments))

    async def aput_writes(self, config, writes, task_id, task_path=""):
        return await self.blips(lambda: super(BlippingSaver, self).aput_writes(config, writes, task_id, task_path))


async def node(state):
    first, second = await wait_many([f"{state['x']}1", f"{state['x']}2"])
    return {"out": [await wait(f"{first} {second}")]}


def graph():
    inner = one_node(node).compile()
    return StateGraph(State).add_node("inner", inner).add_edge(START, "inner").add_edge("inner", END)


async def run(store=None, saver=None, **options):
    desk = Desk()
    kept = {"store": store or InMemoryStore(), "checkpointer": saver or InMemorySaver()}
    async with Runner(graph(), desk.bridge(linger=0), progress=False, **kept, **options) as runner:
        results = await within(runner.abatch([{"x": "a"}, {"x": "b"}], run_id="r"))
    assert [each["out"] for each in results] == [["a1! a2!!"], ["b1! b2!!"]]
    assert max(desk.counts.values()) == 1, desk.counts
    return desk


async def count(kind, **options):
    blips = Blips()
    await run(**{"store" if kind is BlippingStore else "saver": kind(blips)}, **options)
    return blips.calls


@pytest.mark.sampled
@pytest.mark.parametrize("after", [False, True], ids=["lost", "answer_lost"])
@pytest.mark.parametrize("kind", [BlippingStore, BlippingSaver])
async def test_a_run_goes_on_though_any_one_call_fails(kind, after):
    calls = await count(kind)
    assert calls > 15  # else little was tried

    async def fail(at):
        blips = Blips(at, after=after)
        await run(**{"store" if kind is BlippingStore else "saver": kind(blips)})
        assert blips.calls > at

    places = random.Random(after).sample(range(1, calls - 4), 12) if kind is BlippingSaver else range(1, calls)
    await asyncio.gather(*map(fail, places))


@pytest.mark.sampled(most=2)
@pytest.mark.parametrize("seed", range(6))
async def test_a_run_goes_on_though_three_calls_fail(seed):
    draws = random.Random(seed)
    store = Blips(*draws.sample(range(1, 20), 3), after=draws.random() < 0.5)
    saver = Blips(*draws.sample(range(1, 40), 3), after=draws.random() < 0.5)
    await run(BlippingStore(store), BlippingSaver(saver))


async def test_what_fails_is_told_and_shown():
    told = []
    await run(BlippingStore(Blips(1, 2)), on_event=told.append)
    failed = [each for each in told if isinstance(each, events.StoreFailed)]
    assert [(each.what, each.failures) for each in failed] == [("ledger", 1), ("ledger", 2)]
    assert "blinked" in failed[0].error
    assert failed[0].retry_in < failed[1].retry_in


@pytest.mark.parametrize("kind", [BlippingStore, BlippingSaver])
async def test_a_store_that_is_gone_for_good_ends_the_run_and_the_same_command_goes_on(kind):
    calls = await count(kind)
    for at in (1, calls // 3):
        desk, blips = Desk(), Blips()
        kept = {"store": InMemoryStore(), "checkpointer": InMemorySaver()}
        kept["store" if kind is BlippingStore else "checkpointer"] = kind(blips)
        inputs = [{"x": "a"}, {"x": "b"}]
        async with Runner(graph(), desk.bridge(linger=0), progress=False, store_patience=0.05, **kept) as runner:
            blips.at = set(range(blips.calls + at, 10_000))
            with pytest.raises(ConnectionError, match="blinked") as raised:
                await within(runner.abatch(inputs, run_id="r", return_exceptions=True))
            assert "the same command" in raised.value.__notes__[0]
            blips.at.clear()
            results = await within(runner.abatch(inputs, run_id="r"))  # the same Runner
        assert [each["out"] for each in results] == [["a1! a2!!"], ["b1! b2!!"]]
        assert max(desk.counts.values()) == 1, (at, desk.counts)


async def test_a_store_that_is_gone_once_a_batch_is_created_costs_the_same_runner_nothing():
    """Its pair of functions cannot find the batch again; but this process has seen the handle."""

    class Vanishing(Desk):
        async def submit(self, items):
            handle = await super().submit(items)
            if len(self.counts) == 4:
                blips.at = set(range(blips.calls + 1, 10_000))
            return handle

    desk, blips = Vanishing(), Blips()
    kept = {"store": BlippingStore(blips), "checkpointer": InMemorySaver()}
    inputs = [{"x": "a"}, {"x": "b"}]
    async with Runner(graph(), desk.bridge(linger=0), progress=False, store_patience=0.05, **kept) as runner:
        for _ in range(2):  # it is gone still when the same command comes first
            with pytest.raises(ConnectionError, match="blinked"):
                await within(runner.abatch(inputs, run_id="r", return_exceptions=True))
        blips.at.clear()
        results = await within(runner.abatch(inputs, run_id="r"))
    assert [each["out"] for each in results] == [["a1! a2!!"], ["b1! b2!!"]]
    assert max(desk.counts.values()) == 1, desk.counts


async def test_a_store_that_is_gone_does_not_hold_up_the_end():
    blips = Blips(*range(8, 10_000))
    async with Runner(
        graph(), Desk().bridge(), progress=False, store=InMemoryStore(), checkpointer=BlippingSaver(blips)
    ) as runner:
        call = asyncio.create_task(runner.abatch([{"x": "a"}], run_id="r"))
        while not (await runner.report()).problems:
            await asyncio.sleep(0.001)
        (problem,) = (await runner.report()).problems
        assert "the checkpointer cannot be reached" in problem
        call.cancel()
        await asyncio.wait((call,), timeout=30)
        assert call.cancelled()


async def test_a_bug_is_not_tried_again():
    class Wrong(InMemoryStore):
        calls = 0

        async def abatch(self, ops):
            self.calls += 1
            raise TypeError("no such store")

    store = Wrong()
    with pytest.raises(TypeError, match="no such store"):
        async with Runner(graph(), Desk().bridge(), progress=False, store=store, checkpointer=InMemorySaver()):
            pass
    assert store.calls <= 2, "the call that fails, and one that lets go of what may have been claimed"


async def test_any_one_call_of_a_provider_may_fail():
    class Provider(Desk):
        failing = ""

        def blink(self, verb):
            if self.failing == verb:
                self.failing = ""
                raise ProviderUnavailable("the network blinked")

        async def submit(self, items):
            self.blink("submit")
            return await super().submit(items)

        async def poll(self, handle):
            self.blink("poll")
            return await super().poll(handle)

    for verb in ("submit", "poll"):
        desk = Provider()
        desk.failing = verb
        async with Runner(graph(), desk.bridge(), progress=False, path=":memory:") as runner:
            results = await within(runner.abatch([{"x": "a"}]))
        assert results[0]["out"] == ["a1! a2!!"]
        assert max(desk.counts.values()) == 1
        assert not desk.failing


async def test_a_file_whose_disk_is_full_for_a_moment_holds_a_batcher(tmp_path, monkeypatch):
    from batch_bridge._sqlite.store import SqliteRows

    blips = Blips(2, 4, 6, 8, 9)
    real = SqliteRows.abatch
    monkeypatch.setattr(SqliteRows, "abatch", lambda self, ops: blips(lambda: real(self, held(ops))))
    desk = Desk()
    batcher = Batcher(submit_func=desk.submit, poll_func=desk.poll, path=tmp_path / "b.db", poll_interval=0.02)
    async with batcher:
        assert await within(batcher.amap(["a", "b"])) == ["a!", "b!"]
    assert desk.counts == {"a": 1, "b": 1}
    assert blips.calls > 9


def held(ops):
    return list(ops)
