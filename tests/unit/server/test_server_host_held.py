"""A batch whose rows cannot be read: what it may hold is not paid twice, and a person decides."""

import pytest
from fakes import T, U
from hosted import Hosted
from langgraph.store.base import PutOp

from batch_bridge._core.models import Cancelled

A, B = ("aa" * 16, "bb" * 16)
ROOT = ("batch_bridge", "bridge")
TORN = [
    ("batches", {"stage": "submitted", "at": "noon", "handle": "h"}),
    ("batches", {"stage": 7}),
    ("batches", {}),
    ("members", {"ids": [A, 7], "group": ""}),
    ("members", {"ids": [A], "group": "", "keys": ["k", "k"]}),
]


async def torn(kind, row) -> tuple[Hosted, str]:
    """A deployment whose next process finds a row of its one batch torn."""
    hosted = Hosted()
    await hosted.park(T, A)
    await hosted.tick()
    (key,) = hosted.rows("batches")
    await hosted.store.rows.abatch([PutOp((*ROOT, kind), key, row, index=False)])
    return hosted, key


@pytest.mark.parametrize(("kind", "row"), TORN)
async def test_what_a_torn_batch_may_hold_is_not_sent_again_and_others_are(kind, row) -> None:
    hosted, key = await torn(kind, row)
    other = hosted.host()
    await hosted.note(T, A)  # it is asked for again
    await hosted.park(U, B)
    for _ in range(3):
        await hosted.tick(other)
    assert [[each.id for each in batch.requests] for batch in hosted.provider.batches.values()] == [[A], [B]]
    shown = other.status()
    assert shown["held"] == 1
    assert key in shown["last_error"]
    assert f"cancel={{'batch': '{key}'}}" in shown["last_error"]


@pytest.mark.parametrize(("kind", "row"), TORN)
async def test_an_order_gives_it_up_and_what_is_asked_then_is_sent(kind, row) -> None:
    hosted, key = await torn(kind, row)
    other = hosted.host()
    await hosted.tick(other)
    await hosted.command("give up", other, cancel={"batch": key})
    await hosted.tick(other)
    assert hosted.counts()["give up"] == 1
    assert isinstance(hosted.server.resumed[T][A], Cancelled)
    assert other.status()["held"] == 0
    assert not hosted.rows("batches")
    assert not hosted.rows("members")
    await hosted.park(T, B)
    for _ in range(2):
        await hosted.tick(other)
    assert [[each.id for each in batch.requests] for batch in hosted.provider.batches.values()] == [[A], [B]]


async def test_a_batch_that_was_queued_still_when_its_row_was_torn_waits_too() -> None:
    hosted, key = await torn(*TORN[0])
    queued = {"entries": [[A, [T, "", 1, 1.0, ""]]]}
    await hosted.store.rows.abatch([PutOp((*ROOT, "queue"), "000000000000", queued, index=False)])
    other = hosted.host()
    for _ in range(2):
        await hosted.tick(other)
    assert len(hosted.provider.batches) == 1
    await hosted.command("give up", other, cancel={"batch": key})
    for _ in range(2):
        await hosted.tick(other)
    assert len(hosted.provider.batches) == 1
    assert not hosted.rows("queue")
