"""Realtime tokens are told apart from those of batches, all the way to the report: they have another price."""

from dataclasses import replace

from fakes import FakeStore, at

from batch_bridge._core.models import Closed, Usage
from batch_bridge._host.report import add_up
from batch_bridge._ledger.ledger import Ledger

BATCH = Usage("gpt", 10, 20, 3)
REALTIME = Usage("gpt", 1, 2, 0, realtime=True)


async def test_the_ledger_keeps_them_apart():
    ledger = Ledger(FakeStore(), "bridge")
    closed = Closed("bb-1", {"id": "b-1"}, 2, at(5), at(9), {"succeeded": 2}, BATCH)
    await ledger.close(closed)
    await ledger.close(replace(closed, key="bb-2", usage=REALTIME))
    assert [each.usage for each in await ledger.closed_batches()] == [BATCH, REALTIME]


async def test_what_an_older_version_has_written_is_of_batches():
    store = FakeStore()
    ledger = Ledger(store, "bridge")
    await ledger.close(Closed("bb-1", None, 1, at(5), at(9), {}, BATCH))
    (row,) = store.read()["closed"].values()
    assert row["usage"] == ["gpt", 10, 20, 3]
    (closed,) = await ledger.closed_batches()
    assert closed.usage.realtime is False


def test_the_report_adds_them_up_apart():
    assert add_up([BATCH, REALTIME, BATCH, REALTIME]) == (
        Usage("gpt", 20, 40, 6),
        Usage("gpt", 2, 4, 0, realtime=True),
    )
