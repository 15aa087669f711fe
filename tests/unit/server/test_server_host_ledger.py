"""A bridge's ledger on a server: another process goes on with its queue and its outbox, whenever the first one died."""

from types import SimpleNamespace

import pytest
from fakes import T0, Crash, FakeStore, at, request

from batch_bridge._core.models import Intent, SubmittedBatch, Succeeded
from batch_bridge._core.policy.batching import Waiting
from batch_bridge._node.platform.announce import announce
from batch_bridge._server.records import DeploymentStore, ServerRecords
from batch_bridge.errors import NoStoreError

A, B, C = (request(n) for n in range(3))


def waiting(*requests) -> list[Waiting]:
    return [Waiting(each.id, "", 1, at(n), "", thread=each.thread) for n, each in enumerate(requests)]


async def queued(store, *requests) -> ServerRecords:
    records = ServerRecords(store, "b")
    await records.ledger.enqueue(requests)
    await records.ledger.queued(waiting(*requests))
    return records


async def reloaded(store) -> ServerRecords:
    store.fuse.revive()
    records = ServerRecords(store, "b")
    await records.load()
    return records


async def test_another_process_finds_the_queue_and_whose_it_is() -> None:
    store = FakeStore()
    await queued(store, A, B, C)
    other = await reloaded(store)
    assert await other.ledger.queue() == waiting(A, B, C)
    assert other.owners.thread_of(B.id) == B.thread
    assert other.queued_of(B.thread) == {B.id}
    await other.ledger.unqueued([A.id])
    await other.ledger.drop([B.id])
    assert [each.id for each in await other.ledger.queue()] == [C.id]
    assert other.queued_of(B.thread) == set()
    assert other.owners.thread_of(B.id) == ""
    assert await other.ledger.requests([A.id, B.id, C.id]) == [A, C]
    assert [each.id for each in await (await reloaded(store)).ledger.queue()] == [C.id]


async def test_a_request_leaves_the_queue_when_its_batch_is_confirmed_and_not_before() -> None:
    store = FakeStore()
    records = await queued(store, A, B)
    await records.ledger.begin(Intent("k", (A.id,), "", T0))
    assert len(await (await reloaded(store)).ledger.queue()) == 2
    store.take()
    await records.ledger.confirm(SubmittedBatch("k", (A.id,), "", T0, "h"))
    assert store.take() == ["put members", "put batches", "put queue"]
    assert [each.id for each in await (await reloaded(store)).ledger.queue()] == [B.id]


async def test_whom_an_outcome_is_for_is_written_before_the_outcome() -> None:
    store = FakeStore()
    records = await queued(store, A)
    store.take()
    await records.ledger.settle({A.id: Succeeded("a")})
    names = store.take()
    assert names.index("put outbox") < names.index("put outcomes") < names.index("delete requests")
    other = await reloaded(store)
    assert dict(other.outbox.items()) == {A.id: A.thread}
    assert await other.ledger.queue() == []


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("step", range(1, 6))
async def test_a_process_that_dies_while_it_settles_loses_no_outcome(step, moment) -> None:
    store = FakeStore()
    first = await queued(store, A, B)
    records = await reloaded(store)  # it knows the threads from the rows alone
    store.fuse.arm(step, moment)
    try:
        await records.ledger.settle({A.id: Succeeded("a"), B.id: Succeeded("b")})
    except Crash:
        pass
    other = await reloaded(store)
    for each in (A, B):
        outcome, kept = await other.ledger.outcomes([each.id]), await other.ledger.requests([each.id])
        assert outcome or kept  # it can be settled again, or it is
        if outcome:
            assert other.outbox.get(each.id) == each.thread
    await other.ledger.settle({A.id: Succeeded("a"), B.id: Succeeded("b")})
    again = await reloaded(store)
    assert dict(again.outbox.items()) == {A.id: A.thread, B.id: B.thread}
    assert await again.ledger.queue() == []
    assert set(await first.ledger.outcomes([A.id, B.id])) == {A.id, B.id}


async def test_dead_letters_are_kept_until_they_are_delivered_again() -> None:
    store = FakeStore()
    records = await queued(store, A, B)
    await records.ledger.settle({A.id: Succeeded("a"), B.id: Succeeded("b")})
    store.take()
    await records.bury([A.id, B.id, C.id], "gone", T0)
    assert store.take() == ["put dead", "delete outbox"]
    other = await reloaded(store)
    assert dict(other.dead.items()) == {
        A.id: [A.thread, "gone", T0.timestamp()],
        B.id: [B.thread, "gone", T0.timestamp()],
    }
    assert len(other.outbox) == 0
    store.take()
    assert await other.replay([A.id]) == 1
    assert store.take() == ["put outbox", "put dead"]
    assert dict(other.outbox.items()) == {A.id: A.thread}
    assert await other.replay(None) == 1
    assert len(other.dead) == 0
    assert await other.replay(None) == 0


async def test_a_ledger_outside_of_a_tick_says_so() -> None:
    with pytest.raises(RuntimeError, match="outside of a tick"):
        await ServerRecords(DeploymentStore(), "b").load()


async def test_a_graph_without_a_store_is_told_so() -> None:
    runtime = SimpleNamespace(store=None, execution_info=SimpleNamespace(thread_id="t"), server_info=None)
    with pytest.raises(NoStoreError, match="store"):
        await announce(runtime, {"b": ["x"]}, idle=False)
