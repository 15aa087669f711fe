"""One owner for a bridge and for a run in a store that several Runners may open, in one process and in two."""

import asyncio
import os
import socket
from datetime import timedelta

import pytest
from helpers import Desk, one_node, within
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.store.memory import InMemoryStore

from batch_bridge import Runner, wait
from batch_bridge._ledger.claims import Claims
from batch_bridge._ledger.patience import Patience, PatientRows
from batch_bridge.errors import StoreInUseError

NO = timedelta(0)


async def ask(state):
    return {"out": [await wait(state["x"])]}


async def test_a_second_runner_on_a_bridge_is_refused_by_host_and_process():
    kept = {"store": InMemoryStore(), "checkpointer": InMemorySaver(), "progress": False}
    async with Runner(one_node(ask), Desk().bridge(), **kept):
        with pytest.raises(StoreInUseError, match=f"process {os.getpid()} on {socket.gethostname()}") as refused:
            await Runner(one_node(ask), Desk().bridge(), **kept).__aenter__()
        assert (refused.value.host, refused.value.pid) == (socket.gethostname(), os.getpid())
    async with Runner(one_node(ask), Desk().bridge(), **kept) as runner:  # it is free again
        assert (await within(runner.abatch([{"x": "a"}])))[0]["out"] == ["a!"]


async def test_a_second_runner_waits_for_as_long_as_it_is_told_to():
    kept = {"store": InMemoryStore(), "checkpointer": InMemorySaver(), "progress": False}
    desk = Desk().hold()
    first = Runner(one_node(ask), desk.bridge(), **kept)
    await first.__aenter__()
    call = asyncio.create_task(first.abatch([{"x": "a"}], run_id="r"))
    await within(desk.submitted.wait())
    second = Runner(one_node(ask), desk.bridge(), patience=30, **kept)
    entering = asyncio.create_task(second.__aenter__())
    await asyncio.sleep(0.05)
    assert not entering.done()
    call.cancel()
    await first.__aexit__(None, None, None)
    await within(entering)
    desk.let_go()
    assert (await within(second.abatch([{"x": "a"}], run_id="r")))[0]["out"] == ["a!"]
    await second.__aexit__(None, None, None)
    assert desk.counts == {"a": 1}


async def test_one_run_has_one_runner_though_their_bridges_differ():
    kept = {"store": InMemoryStore(), "checkpointer": InMemorySaver(), "progress": False}
    desk, other = Desk().hold(), Desk()
    async with (
        Runner(one_node(ask), desk.bridge(name="one"), **kept) as first,
        Runner(one_node(ask), other.bridge(name="two"), **kept) as second,
    ):
        call = asyncio.create_task(first.abatch([{"x": "a"}], run_id="r"))
        await within(desk.submitted.wait())
        with pytest.raises(StoreInUseError, match="run 'r'"):
            await second.abatch([{"x": "a"}], run_id="r")
        assert (await within(second.abatch([{"x": "b"}], run_id="s")))[0]["out"] == ["b!"]
        desk.let_go()
        await within(call)
        assert (await within(second.abatch([{"x": "a"}], run_id="r")))[0]["out"] == ["a!"]
    assert (desk.counts, other.counts) == ({"a": 1}, {"b": 1})


async def test_of_many_that_want_it_at_once_one_gets_it():
    store = InMemoryStore()
    all_of_them = [Claims(store) for _ in range(8)]
    results = await asyncio.gather(*(each.take("it", NO) for each in all_of_them), return_exceptions=True)
    assert sum(each is None for each in results) == 1
    assert all(each is None or isinstance(each, StoreInUseError) for each in results)
    for each in all_of_them:
        await each.close()


async def test_an_owner_that_was_taken_for_dead_does_nothing_more():
    store, term = InMemoryStore(), timedelta(seconds=0.3)
    sleeper, waker = Claims(store, term=term), Claims(store, term=term)
    for each, host in ((sleeper, "there"), (waker, "here")):
        each._here = {**each._here, "host": host, "machine": ""}  # it cannot be seen whether it lives
    await sleeper.take("it", NO)
    await sleeper.check()
    sleeper._beating.cancel()  # the machine sleeps
    await within(waker.take("it", timedelta(seconds=5)))
    await waker.check()
    with pytest.raises(StoreInUseError, match="on here"):
        await sleeper.check()
    await sleeper.close()
    await waker.check()
    await waker.close()
    assert store.search(("batch_bridge_claims",)) == []


async def test_an_owner_that_lives_keeps_it_through_a_blip():
    class Blinking(InMemoryStore):
        left = 2

        async def abatch(self, ops):
            if self.left:
                self.left -= 1
                raise ConnectionError("blink")
            return await super().abatch(ops)

    store, term = Blinking(), timedelta(seconds=0.6)
    owner, other = (Claims(PatientRows(store, Patience("ledger")), term=term) for _ in range(2))
    owner._here["machine"] = ""
    await owner.take("it", NO)
    store.left = 1
    with pytest.raises(StoreInUseError):
        await other.take("it", timedelta(seconds=1.5))
    await owner.check()
    await owner.close()
    await other.close()


async def test_a_batch_without_members_is_set_aside_and_reported(caplog):
    store, desk = InMemoryStore(), Desk()
    kept = {"store": store, "checkpointer": InMemorySaver(), "progress": False}
    store.put(("batch_bridge", "bridge", "batches"), "bb-lost", {"stage": "submitted", "at": 1.0, "handle": "batch_7"})
    async with Runner(one_node(ask), desk.bridge(), **kept) as runner:
        assert (await within(runner.abatch([{"x": "a"}])))[0]["out"] == ["a!"]
        problems = (await runner.report()).problems
    assert [("bb-lost" in each, "batch_7" in each) for each in problems] == [(True, True)]
    assert "set aside" in caplog.text
