"""A Runner and a LangGraph deployment on one store: one of them has a bridge, and the other says so."""

from datetime import timedelta

import pytest
from fakes import T0
from helpers import Desk, one_node, within
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.store.memory import InMemoryStore

from batch_bridge import Runner, wait
from batch_bridge._ledger.claims import Claims
from batch_bridge._server.lease import Lease
from batch_bridge.errors import StoreInUseError

NOW = timedelta(0)


async def ask(state):
    return {"out": [await wait(state["x"])]}


async def test_a_runner_is_refused_a_bridge_that_is_a_deployments() -> None:
    store = InMemoryStore()
    kept = {"store": store, "checkpointer": InMemorySaver(), "progress": False}
    lease = Lease(store, "bridge")
    assert await lease.take(T0) is False
    await lease.end(T0)  # between two ticks it is the deployment's still
    with pytest.raises(StoreInUseError, match="belongs to a LangGraph deployment") as refused:
        await Runner(one_node(ask), Desk().bridge(), **kept).__aenter__()
    assert (refused.value.host, refused.value.pid) == ("", 0)
    async with Runner(one_node(ask), Desk().bridge(name="another"), **kept) as runner:
        assert (await within(runner.abatch([{"x": "a"}])))[0]["out"] == ["a!"]


async def test_a_deployment_sends_nothing_while_a_runner_has_its_bridge() -> None:
    store = InMemoryStore()
    claims, lease = Claims(store), Lease(store, "bridge")
    await claims.take("bridge 'bridge'", NOW)
    assert await lease.take(T0) is None
    assert "a Runner (process" in lease.problem
    assert await store.aget(("batch_bridge", "bridge", "lease"), "lease") is None
    await claims.close()
    assert await lease.take(T0) is False
    assert not lease.problem


async def test_a_runner_that_is_gone_keeps_no_deployment_waiting() -> None:
    store = InMemoryStore()
    claims, lease = Claims(store), Lease(store, "bridge")
    await claims.take("bridge 'bridge'", NOW)
    (row,) = [each for each in await store.asearch(("batch_bridge_claims",)) if each.key != "owner"]
    await store.aput(row.namespace, row.key, {**row.value, "machine": "another", "at": T0.timestamp()})
    assert await lease.take(T0) is False
    await claims.close()
