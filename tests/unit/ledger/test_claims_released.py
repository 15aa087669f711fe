"""A claim whose store takes long: it is renewed, or released, while an earlier call is not answered yet."""

import asyncio
from datetime import timedelta

import pytest
from langgraph.store.base import GetOp, PutOp, SearchOp
from langgraph.store.memory import InMemoryStore

from batch_bridge._ledger.claims import Claims
from batch_bridge.errors import StoreInUseError

NO = timedelta(0)


class SlowStore(InMemoryStore):
    """Holds a call back that begins with an operation of a kind, until it is told to go on."""

    def __init__(self):
        super().__init__()
        self.holds = {}

    def hold(self, kind, number=1):
        reached, go_on = asyncio.Event(), asyncio.Event()
        self.holds[kind] = [number, reached, go_on]
        return reached, go_on

    async def abatch(self, ops):
        held = list(ops)
        if (hold := self.holds.get(type(held[0]))) is not None:
            hold[0] -= 1
            if hold[0] == 0:
                hold[1].set()
                await hold[2].wait()
        return await super().abatch(held)


async def turns():
    for _ in range(20):
        await asyncio.sleep(0)


async def test_a_run_that_is_released_while_it_is_looked_up_was_not_taken_over():
    store = SlowStore()
    claims = Claims(store)
    await claims.take("bridge 'b'", NO)
    await claims.take("run 'r'", NO)
    reached, go_on = store.hold(GetOp)
    checking = asyncio.create_task(claims.check())
    await reached.wait()
    await claims.release("run 'r'")
    go_on.set()
    await checking
    await claims.close()
    assert await store.asearch(("batch_bridge_claims",)) == []


async def test_a_bridge_that_is_taken_over_while_a_run_is_released_is_lost():
    store = SlowStore()
    claims = Claims(store)
    await claims.take("bridge 'b'", NO)
    await claims.take("run 'r'", NO)
    (owner,) = [each for each in await store.asearch(("batch_bridge_claims",)) if each.key == "owner"][:1]
    reached, go_on = store.hold(GetOp)
    checking = asyncio.create_task(claims.check())
    await reached.wait()
    await claims.release("run 'r'")
    for row in await store.asearch(("batch_bridge_claims",)):
        if row.key == "owner":
            await store.aput(row.namespace, "owner", {**owner.value, "holder": "another"})
    go_on.set()
    with pytest.raises(StoreInUseError, match="bridge 'b' was taken over"):
        await checking
    await claims.close()


async def test_a_claim_that_is_renewed_as_it_is_released_and_taken_again_is_kept():
    """Its row has one key for both, so a late renewal must neither write the old row over the new one nor delete it."""
    store = SlowStore()
    claims, other = Claims(store, term=timedelta(seconds=0.3)), Claims(store)
    await claims.take("run 'r'", NO)
    renews, renewed = store.hold(PutOp)
    await renews.wait()

    async def take_again():
        await claims.release("run 'r'")
        await claims.take("run 'r'", NO)

    _, taken = store.hold(SearchOp, 2)  # its ticket is written, and it is about to own it
    taking = asyncio.create_task(take_again())
    await turns()
    renewed.set()
    await turns()
    taken.set()
    await taking
    rows = {each.key for each in await store.asearch(("batch_bridge_claims",))}
    assert rows == {"owner", claims._holder}
    with pytest.raises(StoreInUseError):
        await other.take("run 'r'", NO)
    await claims.close()
    assert await store.asearch(("batch_bridge_claims",)) == []


async def test_an_owner_lives_though_one_call_of_its_store_hangs():
    store = SlowStore()
    claims, other = (Claims(store, term=timedelta(seconds=0.3)) for _ in range(2))
    for each in (claims, other):
        each._here["machine"] = ""  # it cannot be seen whether it lives
    await claims.take("run 'r'", NO)
    hangs, _ = store.hold(PutOp)
    await hangs.wait()
    with pytest.raises(StoreInUseError):
        await other.take("run 'r'", timedelta(seconds=0.7))
    await claims.check()
    await claims.close()
    assert await store.asearch(("batch_bridge_claims",)) == []


async def test_a_run_that_is_taken_again_while_its_release_waits_stays_owned():
    store = SlowStore()
    claims, other = Claims(store, term=timedelta(seconds=0.6)), Claims(store)
    await claims.take("run 'r'", NO)
    reached, go_on = store.hold(GetOp)
    await reached.wait()  # it is being renewed
    releasing = asyncio.create_task(claims.release("run 'r'"))
    await turns()
    await claims.take("run 'r'", NO)
    go_on.set()
    await releasing
    await claims.check()
    with pytest.raises(StoreInUseError):
        await other.take("run 'r'", NO)
    await claims.close()
    await other.close()
