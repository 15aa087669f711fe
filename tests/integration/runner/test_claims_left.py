"""What killed processes leave of their claims does not stay in the store."""

from datetime import UTC, datetime, timedelta

import pytest
from helpers import Desk, one_node, within
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.store.memory import InMemoryStore

from batch_bridge import Runner, wait
from batch_bridge._core import clock as _clock
from batch_bridge._ledger.claims import Claims, _namespace
from batch_bridge._server.threads import claims as _claims

NO = timedelta(0)


async def ask(state):
    return {"out": [await wait(state["x"])]}


def held(store):
    return {row.key for row in store.search(("batch_bridge_claims",), limit=1000)}


async def left_by_the_dead(store, **here):
    """Leave what a process leaves that owns a run and is killed; nothing of it lives on."""
    dead = Claims(store)
    dead._here |= {"started": "before", **here}
    await dead.take("run 'never continued'", NO)
    dead._beating.cancel()
    assert len(held(store)) == 2


async def test_a_runner_lets_go_of_the_claims_of_processes_that_are_gone():
    store = InMemoryStore()
    await left_by_the_dead(store)
    async with Runner(one_node(ask), Desk().bridge(), store=store, checkpointer=InMemorySaver(), progress=False) as one:
        assert len(held(store)) == 2  # its own, and that it is the owner
        assert (await within(one.abatch([{"x": "a"}], run_id="r")))[0]["out"] == ["a!"]
    assert held(store) == set()


@pytest.mark.parametrize(("days", "stays"), [(1, True), (8, False)])
async def test_those_of_other_machines_go_after_a_week(days, stays, monkeypatch):
    store = InMemoryStore()
    monkeypatch.setattr(_clock, "now", lambda: datetime.now(UTC) - timedelta(days=days))
    await left_by_the_dead(store, machine="another", host="there")
    monkeypatch.undo()
    await Claims(store).sweep()
    assert (len(held(store)) == 2) is stays


async def test_a_sweep_leaves_who_lives_and_what_is_a_deployments():
    store, living = InMemoryStore(), Claims(InMemoryStore())
    living._store = store
    await living.take("run 'r'", NO)
    await _claims.claim(store, "thread", "bridge", datetime.now(UTC))
    await Claims(store).sweep()
    await living.check()
    assert len(held(store)) == 3
    await living.close()


async def test_a_deployments_claims_on_threads_go_once_they_count_no_more():
    store, now = InMemoryStore(), datetime.now(UTC)
    await _claims.claim(store, "old", "bridge", now - timedelta(minutes=5))
    await _claims.claim(store, "young", "other", now)
    await left_by_the_dead_beside(store)
    await _claims.forget_stale(store, now)
    assert held(store) == {"other", "a runner's"}


async def left_by_the_dead_beside(store):
    store.put(_namespace("run 'r'"), "a runner's", {"machine": "m", "at": 0.0})
