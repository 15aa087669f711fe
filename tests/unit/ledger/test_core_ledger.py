"""The ledger: its rows, and the order in which they are written."""

from dataclasses import replace
from datetime import timedelta

import pytest
from fakes import MOMENTS, T0, Crash, FakeStore, at, request
from langgraph.store.memory import InMemoryStore

from batch_bridge._core.models import Closed, Errored, Intent, SubmittedBatch, Succeeded, Usage
from batch_bridge._ledger.in_memory import MemoryRows
from batch_bridge._ledger.ledger import Ledger
from batch_bridge._ledger.make import in_memory
from batch_bridge.errors import LedgerError

ONE, TWO = request(1), request(2)
IDS = (ONE.id, TWO.id)
OUTCOMES = {ONE.id: Succeeded({"a": 1}), TWO.id: Errored("no", "c", 400, retryable=True)}
INTENT = Intent("bb-1", IDS, "gpt", T0)
PREPARED = replace(INTENT, prepared={"file": "f-1"})
BATCH = SubmittedBatch("bb-1", IDS, "gpt", at(5), {"id": "b-1"})
CLOSED = Closed("bb-1", {"id": "b-1"}, 2, at(5), at(9), {"succeeded": 1, "errored": 1}, Usage("gpt", 10, 20, 3))


@pytest.fixture
def store():
    return FakeStore()


@pytest.fixture
def ledger(store):
    return Ledger(store, "bridge")


@pytest.fixture(params=["in a store", "in memory"])
def either(request, store):
    return Ledger(store, "bridge") if request.param == "in a store" else in_memory(MemoryRows(), "bridge")


async def live(ledger):
    """Lead two requests and their batch through their whole life."""
    await ledger.enqueue([ONE, TWO])
    await ledger.begin(INTENT)
    await ledger.prepared(PREPARED)
    await ledger.confirm(BATCH)
    await ledger.settle(OUTCOMES)
    await ledger.close(CLOSED)
    await ledger.forget(IDS)


# -- the order of writes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("step", "calls"),
    [
        pytest.param(lambda it: it.enqueue([ONE, TWO]), [["put requests"] * 2], id="intake"),
        pytest.param(lambda it: it.begin(INTENT), [["put members"], ["put batches"]], id="begin"),
        pytest.param(lambda it: it.prepared(PREPARED), [["put members", "put batches"]], id="prepared"),
        pytest.param(lambda it: it.confirm(BATCH), [["put members", "put batches"]], id="confirm"),
        pytest.param(lambda it: it.settle(OUTCOMES), [["put outcomes"] * 2, ["delete requests"] * 2], id="settle"),
        pytest.param(lambda it: it.close(CLOSED), [["put closed"], ["delete batches"], ["delete members"]], id="close"),
        pytest.param(
            lambda it: it.withdraw("bb-1"), [["delete batches"], ["delete members", "delete money"]], id="withdraw"
        ),
        pytest.param(lambda it: it.forget([ONE.id]), [["delete outcomes"]], id="forget"),
        pytest.param(lambda it: it.drop([ONE.id]), [["delete requests"]], id="drop"),
        pytest.param(lambda it: it.enqueue([]), [], id="nothing to write is no call"),
    ],
)
async def test_the_order_of_writes_is_the_documented_one(step, calls, store, ledger):
    await step(ledger)
    assert store.calls == calls


async def test_many_operations_go_in_several_calls(store):
    ledger = Ledger(store, "bridge", chunk=3)
    many = [request(n) for n in range(8)]
    await ledger.enqueue(many)
    assert [len(call) for call in store.calls] == [3, 3, 2]
    assert await ledger.requests([each.id for each in many]) == many


async def test_every_write_done_twice_changes_nothing(store, ledger):
    seen = []
    for step in (
        lambda: ledger.enqueue([ONE, TWO]),
        lambda: ledger.begin(INTENT),
        lambda: ledger.prepared(PREPARED),
        lambda: ledger.confirm(BATCH),
        lambda: ledger.settle(OUTCOMES),
        lambda: ledger.close(CLOSED),
        lambda: ledger.forget(IDS),
    ):
        await step()
        once = store.read()
        await step()
        assert store.read() == once
        seen.append(once)
    assert len(seen) == 7


@pytest.mark.parametrize("moment", MOMENTS)
async def test_a_crash_between_any_two_writes_only_repeats_work(moment):
    calls = 0
    while True:
        calls += 1
        store = FakeStore()
        ledger = Ledger(store, "bridge")
        store.fuse.arm(calls, moment)
        try:
            await live(ledger)
        except Crash:
            store.fuse.revive()
        else:
            assert calls > 10
            return
        rows = store.read()
        for batch in await ledger.open_batches():  # readable at every point
            intent = batch[0] if isinstance(batch, tuple) else batch
            assert intent.requests == IDS
            for each in IDS:  # and nothing of an open batch is lost
                assert each in rows["requests"] or each in rows["outcomes"]
        await live(ledger)
        assert store.read() == {"closed": {"bb-1": store.read()["closed"]["bb-1"]}}


# -- the rows --------------------------------------------------------------------------------------------------


async def test_requests_come_back_in_the_order_asked_and_unknown_ones_are_left_out(either):
    await either.enqueue([ONE, TWO])
    assert await either.requests([TWO.id, "ff" * 16, ONE.id]) == [TWO, ONE]
    assert await either.requests([]) == []


async def test_outcomes_come_back_and_unknown_ones_are_left_out(either):
    await either.settle(OUTCOMES)
    assert await either.outcomes([*IDS, "ff" * 16]) == OUTCOMES
    assert await either.settled(["ff" * 16, ONE.id]) == {ONE.id}


async def test_a_settled_request_is_let_go_of_and_its_outcome_stays(either):
    await either.enqueue([ONE, TWO])
    await either.settle({ONE.id: OUTCOMES[ONE.id]})
    assert await either.requests(IDS) == [TWO]
    assert await either.settled(IDS) == {ONE.id}


async def test_forgotten_outcomes_and_requests_are_gone(either):
    await either.enqueue([ONE])
    await either.settle({TWO.id: OUTCOMES[TWO.id]})
    await either.forget(IDS)
    await either.drop(IDS)
    assert await either.requests(IDS) == []
    assert await either.outcomes(IDS) == {}


async def test_a_batch_is_read_in_the_stage_that_it_has_reached(either):
    await either.begin(INTENT)
    assert await either.open_batches() == [(INTENT, False)]
    await either.prepared(PREPARED)
    assert await either.open_batches() == [(PREPARED, True)]
    await either.confirm(BATCH)
    assert await either.open_batches() == [BATCH]
    await either.close(CLOSED)
    assert await either.open_batches() == []
    assert await either.closed_batches() == [CLOSED]


async def test_an_input_that_needs_no_preparation_still_counts_as_prepared(either):
    await either.begin(INTENT)
    await either.prepared(INTENT)
    assert await either.open_batches() == [(INTENT, True)]


async def test_open_batches_are_read_oldest_first(either):
    for number, second in ((3, 30), (1, 10), (2, 20)):
        await either.begin(replace(INTENT, key=f"bb-{number}", begun_at=at(second)))
    assert [batch.key for batch, _ in await either.open_batches()] == ["bb-1", "bb-2", "bb-3"]


async def test_members_alone_mean_that_nothing_was_sent(store, ledger):
    store.fuse.arm(2, "before")
    with pytest.raises(Crash):
        await ledger.begin(INTENT)
    store.fuse.revive()
    assert await ledger.open_batches() == []


async def test_a_closed_batch_without_usage(either):
    closed = replace(CLOSED, usage=None, handle=None, outcomes={})
    await either.close(closed)
    assert await either.closed_batches() == [closed]


async def test_times_survive_to_the_microsecond_and_in_utc(either):
    begun = T0 + timedelta(microseconds=123456)
    await either.begin(replace(INTENT, begun_at=begun))
    ((intent, _),) = await either.open_batches()
    assert intent.begun_at == begun
    assert intent.begun_at.utcoffset() == timedelta(0)


async def test_all_rows_of_a_kind_lie_in_one_namespace(store, ledger):
    await live(ledger)
    await ledger.enqueue([ONE, TWO])
    namespaces = {item.namespace for item in store.rows.search(("batch_bridge",), limit=100)}
    assert namespaces == {
        ("batch_bridge", "bridge", "requests"),
        ("batch_bridge", "bridge", "closed"),
    }


async def test_bridges_with_one_store_do_not_see_each_other():
    rows = InMemoryStore()
    mine, other = Ledger(FakeStore(rows), "bridge"), Ledger(FakeStore(rows), "bridge2")
    await mine.enqueue([ONE])
    await mine.begin(INTENT)
    await mine.settle({TWO.id: Succeeded(1)})
    assert await other.requests([ONE.id]) == []
    assert await other.open_batches() == []
    assert await other.settled([TWO.id]) == set()


# -- rows that nobody should have touched ----------------------------------------------------------------------


async def test_a_batch_without_its_members_is_set_aside_and_says_what_to_do(store, ledger, caplog):
    await ledger.begin(INTENT)
    await ledger.confirm(BATCH)
    store.rows.delete(("batch_bridge", "bridge", "members"), "bb-1")
    assert await ledger.open_batches() == []
    assert ledger.aside == {"bb-1": BATCH.handle}
    assert "look it up at the provider" in caplog.text


async def test_a_batch_whose_members_another_one_dropped_has_them_again(ledger):
    await ledger.begin(INTENT)
    await ledger.withdraw("bb-1")
    await ledger.confirm(BATCH)
    assert await ledger.open_batches() == [BATCH]


async def test_a_stage_of_a_newer_version_is_an_error_that_says_what_to_do(store, ledger):
    await ledger.begin(INTENT)
    store.rows.put(("batch_bridge", "bridge", "batches"), "bb-1", {"stage": "paused", "at": 0.0})
    with pytest.raises(LedgerError, match=r"stage 'paused'.*newer one\? Upgrade"):
        await ledger.open_batches()
