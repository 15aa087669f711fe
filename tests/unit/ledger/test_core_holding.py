"""A ledger holds what fits its budget in memory, and writes down the rest."""

from langgraph.store.base import SearchOp
from langgraph.store.memory import InMemoryStore

from batch_bridge._core.models import Request, Succeeded
from batch_bridge._ledger.make import budgeted
from batch_bridge._ledger.memory_budget import weigh

SMALL = [Request(f"{i:032x}", "t", f"item {i}") for i in range(10)]


async def rows(store, kind):
    (found,) = await store.abatch([SearchOp(("batch_bridge", "b", kind), limit=100)])
    return sorted(item.key for item in found)


async def test_what_fits_is_held_and_the_rest_is_written_down():
    store = InMemoryStore()
    ledger = budgeted(store, "b", budget=3 * weigh("item 0"))
    await ledger.enqueue(SMALL)
    assert await rows(store, "requests") == [request.id for request in SMALL[3:]]
    assert await ledger.requests([request.id for request in reversed(SMALL)]) == SMALL[::-1]


async def test_room_is_given_back_when_requests_are_settled_or_dropped():
    store = InMemoryStore()
    ledger = budgeted(store, "b", budget=2 * weigh("item 0"))
    await ledger.enqueue(SMALL[:4])
    await ledger.settle({SMALL[0].id: Succeeded("a"), SMALL[3].id: Succeeded("d")})
    await ledger.drop([SMALL[1].id, SMALL[2].id])
    assert await rows(store, "requests") == []
    assert await rows(store, "outcomes") == [SMALL[0].id, SMALL[3].id]
    await ledger.enqueue(SMALL[4:6])
    assert await rows(store, "requests") == []
    assert await ledger.requests([SMALL[0].id, SMALL[4].id]) == [SMALL[4]]


async def test_a_request_that_is_handed_in_twice_is_held_once():
    ledger = budgeted(InMemoryStore(), "b", budget=weigh("item 0"))
    await ledger.enqueue([SMALL[0], SMALL[0]])
    await ledger.drop([SMALL[0].id])
    await ledger.enqueue([SMALL[1]])
    assert await ledger.requests([SMALL[1].id]) == [SMALL[1]]
