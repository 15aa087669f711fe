"""What was just written to the ledger is not read back from it, and is there all the same."""

import pytest
from langgraph.store.base import GetOp
from langgraph.store.memory import InMemoryStore

from batch_bridge._core.models import Errored, Succeeded
from batch_bridge._ledger.fresh_outcomes import FreshOutcomes
from batch_bridge._ledger.make import budgeted
from batch_bridge._ledger.rows import RowTable

A, B = "a" * 32, "b" * 32


class Store(InMemoryStore):
    """Counts what is read."""

    def __init__(self) -> None:
        super().__init__()
        self.reads = 0

    async def abatch(self, ops):
        ops = list(ops)
        self.reads += sum(isinstance(op, GetOp) for op in ops)
        return await super().abatch(ops)


@pytest.fixture
def store() -> Store:
    return Store()


async def test_an_outcome_is_read_from_the_store_only_the_second_time(store):
    ledger = budgeted(store, "bridge")
    outcomes = {A: Succeeded({"n": 1}), B: Errored("no", code="x")}
    await ledger.settle(outcomes)
    store.reads = 0
    assert await ledger.outcomes([A, B]) == outcomes
    assert store.reads == 0
    assert await ledger.outcomes([A, B]) == outcomes
    assert store.reads == 2
    assert await budgeted(store, "bridge").outcomes([A]) == {A: outcomes[A]}


async def test_an_outcome_that_was_forgotten_is_gone(store):
    ledger = budgeted(store, "bridge")
    await ledger.settle({A: Succeeded("x")})
    await ledger.forget([A])
    assert await ledger.outcomes([A]) == {}


async def test_what_there_is_no_room_for_is_read_from_the_store(store):
    outcomes = FreshOutcomes(RowTable(store, "bridge"), budget=60)
    await outcomes.add({A: Succeeded("x"), B: Succeeded("y" * 100)})
    assert await outcomes.read([A, B]) == {A: Succeeded("x"), B: Succeeded("y" * 100)}
    assert store.reads == 1
    await outcomes.add({A: Succeeded("z")})
    assert await outcomes.read([A]) == {A: Succeeded("z")}
    assert store.reads == 1
