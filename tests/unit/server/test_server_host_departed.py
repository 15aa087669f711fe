"""Batches whose threads have all been deleted are given up; those of which one may come back are not."""

from datetime import timedelta

import httpx
import pytest
from fakes import named
from hosted import Hosted
from langgraph_sdk.errors import APIError

from batch_bridge._core.models import Cancelled
from batch_bridge._server import departed as _departed


def names(count: int) -> list[tuple[str, str]]:
    return [(named(f"t{number}"), f"{number:032x}") for number in range(count)]


async def in_flight(count: int, **options) -> Hosted:
    """Threads that wait for one batch."""
    hosted = Hosted(**options)
    for thread, request_id in names(count):
        await hosted.park(thread, request_id)
    await hosted.tick()
    assert len(hosted.rows("batches")) == 1
    return hosted


async def test_a_batch_is_cancelled_when_the_last_thread_is_gone_and_not_before():
    hosted = await in_flight(30)
    for thread, _ in names(29):
        del hosted.server.rows[thread]
        await hosted.tick()
        assert not hosted.provider.cancelled()
    hosted.server.rows.clear()
    await hosted.tick()
    assert hosted.provider.cancelled() == ["batch-2"]
    await hosted.tick()
    assert not hosted.rows("batches")
    assert not hosted.rows("outcomes"), "nobody will ask"
    assert not hosted.rows("outbox")
    shown = hosted.here.status()
    assert (shown["in_flight"], shown["dead_letters"]) == (0, [])
    assert not hosted.server.resumed


@pytest.mark.parametrize("status", ["idle", "error", "busy", "interrupted"])
async def test_a_thread_that_is_there_may_come_back(status):
    hosted = await in_flight(3)
    hosted.server.rows.clear()
    hosted.server.put(named("t1"), status=status)  # it has something else to do, say
    for _ in range(5):
        await hosted.tick()
    assert not hosted.provider.cancelled()


async def test_what_another_process_has_sent_is_given_up_too():
    hosted = await in_flight(30)
    hosted.server.rows.clear()
    await hosted.tick(hosted.host())
    assert hosted.provider.cancelled()


async def test_a_search_that_finds_nothing_proves_nothing_by_itself():
    hosted = await in_flight(30)

    async def nothing(**_):
        return []

    searches, hosted.server.threads.search = hosted.server.threads.search, nothing
    for _ in range(3):
        await hosted.tick()
    assert len(hosted.server.got) == 3, "the first thread that is there is enough"
    hosted.server.threads.search = searches
    await hosted.tick()
    assert not hosted.provider.cancelled()


async def test_a_server_that_does_not_answer_proves_nothing():
    hosted = await in_flight(3)
    hosted.server.rows.clear()

    async def broken(_):
        request = httpx.Request("GET", "http://server")
        raise APIError("500", httpx.Response(500, request=request), body=None)

    hosted.server.threads.get = broken
    await hosted.tick()
    assert not hosted.provider.cancelled()


async def test_a_thread_that_is_hidden_is_not_deleted():
    hosted = await in_flight(3)
    hosted.server.rows.clear()
    await hosted.tick(hosted.host(as_user=True), user="ann")
    assert not hosted.provider.cancelled()
    await hosted.tick(hosted.host(), user="service")
    assert hosted.provider.cancelled()


async def test_a_look_costs_one_call_for_one_thread_while_that_is_there():
    hosted = await in_flight(300)
    hosted.server.searched.clear()
    await hosted.tick()
    first = [len(ids) for ids in hosted.server.searched]
    assert first == [_departed._FEW]
    hosted.server.searched.clear()
    for _ in range(5):
        await hosted.tick()
    assert [len(ids) for ids in hosted.server.searched] == [1] * 5
    assert not hosted.server.got


async def test_many_threads_that_are_gone_are_looked_at_a_thousand_in_a_pass(monkeypatch):
    monkeypatch.setattr(_departed, "_MANY", 50)
    hosted = await in_flight(220)
    for thread, _ in names(219):
        del hosted.server.rows[thread]
    for _ in range(8):
        hosted.server.searched.clear()
        await hosted.tick()
        assert sum(map(len, hosted.server.searched)) <= 51
        if hosted.server.searched[-1:] == [[named("t219")]]:
            break
    assert hosted.server.searched == [[named("t219")]], "each is looked at once, and the last is the witness"
    assert not hosted.provider.cancelled()
    hosted.server.rows.clear()
    await hosted.tick()
    assert hosted.provider.cancelled()
    assert len(hosted.server.got) == 5


async def test_no_more_often_than_a_batch_is_polled():
    hosted = await in_flight(3)
    hosted.here._departed._every = timedelta(hours=1)
    await hosted.tick()
    hosted.server.rows.clear()
    for _ in range(3):
        await hosted.tick()
    assert not hosted.provider.cancelled()
    hosted.here._departed._due = None
    await hosted.tick()
    assert hosted.provider.cancelled()


async def test_a_row_that_is_lost_stops_nobody():
    hosted = await in_flight(3)
    await hosted.here._ledger._run([hosted.here._ledger._put("requests", names(3)[1][1], None)])
    hosted.server.rows.clear()
    await hosted.tick(hosted.host())
    assert not hosted.provider.cancelled(), "whose it is, is not known"


async def test_what_was_given_up_before_is_waited_for_by_nobody():
    hosted = await in_flight(3)
    await hosted.command("stop", cancel={"thread_id": named("t1")})
    await hosted.tick()
    hosted.server.rows.clear()
    await hosted.tick(hosted.host())
    assert hosted.provider.cancelled()


async def test_a_process_that_reads_the_ledger_anew_asks_for_the_witness_anew():
    hosted = await in_flight(3)
    await hosted.tick()
    await hosted.here.break_off()
    hosted.server.rows.clear()
    await hosted.tick()
    assert hosted.provider.cancelled()


async def test_a_batch_of_which_nothing_is_known_is_left_alone():
    """All is settled, and the process that was at it has died."""
    hosted = await in_flight(3)
    ledger = hosted.here._ledger
    await ledger.settle({request_id: Cancelled("stopped") for _, request_id in names(3)})
    hosted.server.rows.clear()
    await hosted.tick(hosted.host())
    assert not hosted.provider.cancelled()


async def test_queued_requests_of_deleted_threads_are_not_sent():
    hosted = Hosted(max_age=timedelta(hours=1))
    for thread, request_id in names(3):
        await hosted.park(thread, request_id)
    await hosted.tick()
    del hosted.server.rows[named("t1")]
    await hosted.command("go", flush=True)
    await hosted.tick()
    (batch,) = hosted.provider.batches.values()
    assert [request.thread for request in batch.requests] == [named("t0"), named("t2")]
    assert hosted.counts() == {"go": 2}
