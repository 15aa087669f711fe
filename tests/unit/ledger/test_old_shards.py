"""Rows of version 0.1, which lay in 256 namespaces of a kind."""

from fakes import FakeStore, named
from langgraph.store.base import PutOp

from batch_bridge._core.models import Request, Succeeded
from batch_bridge._ledger.ledger import Ledger
from batch_bridge._server.records import ServerRecords

ROOT = ("batch_bridge", "bridge")
IDS = [named(f"request {each}") for each in range(40)]


def _old(kind, request_id, row):
    return PutOp((*ROOT, kind, request_id[:2]), request_id, row)


async def test_rows_of_version_0_1_are_found_where_this_version_looks():
    store = FakeStore()
    asked, answered = IDS[:20], IDS[20:]
    await store.abatch([_old("requests", each, {"thread": "t", "text": f'"{each}"'}) for each in asked])
    await store.abatch([_old("outcomes", each, {"kind": "succeeded", "answer": each}) for each in answered])
    ledger = Ledger(store, "bridge")
    await ledger.read_attempts()
    assert await ledger.requests(asked) == [Request(each, "t", each) for each in asked]
    assert await ledger.outcomes(answered) == {each: Succeeded(each) for each in answered}
    await ledger.drop(asked)
    await ledger.forget(answered)
    assert not store.read(), "nothing of them is left in the old places"


async def test_a_row_of_this_version_is_newer_than_one_of_the_old():
    store = FakeStore()
    ledger = Ledger(store, "bridge")
    await store.abatch([_old("outcomes", IDS[0], {"kind": "succeeded", "answer": "old"})])
    await ledger.settle({IDS[0]: Succeeded("new")})
    await ledger.read_attempts()
    assert await ledger.outcomes([IDS[0]]) == {IDS[0]: Succeeded("new")}


async def test_they_are_moved_though_the_process_dies_half_way():
    store = FakeStore()
    await store.abatch([_old("outcomes", each, {"kind": "succeeded", "answer": each}) for each in IDS[:3]])
    for calls in range(1, 12):
        store.fuse.arm(calls, "middle")
        try:
            await Ledger(store, "bridge").read_attempts()
        except BaseException:
            store.fuse.revive()
    ledger = Ledger(store, "bridge")
    await ledger.read_attempts()
    assert await ledger.outcomes(IDS[:3]) == {each: Succeeded(each) for each in IDS[:3]}


async def test_a_long_queue_is_read_by_page_and_its_owner_speaks_meanwhile():
    store = FakeStore()
    pieces = [
        PutOp((*ROOT, "outbox"), f"{each:012d}", {"entries": [[named(str(each)), _uuid(each)]]}) for each in range(600)
    ]
    await store.abatch(pieces)
    said = []

    async def renew():
        said.append(len(store.calls))

    ledger = ServerRecords(store, "bridge")
    await ledger.load(renew)
    assert len(ledger.outbox) == 600
    assert len(said) == 2, "between 250, 250 and 100"


def _uuid(number):
    return f"00000000-0000-4000-8000-{number:012d}"
