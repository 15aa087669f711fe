"""A thread that was deleted: what it has queued is not sent, and a batch that is in flight goes on."""

from datetime import timedelta

from fakes import named
from hosted import Hosted


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


async def test_no_batch_is_cancelled_because_no_thread_is_found():
    """A server that hides threads looks as one whose threads were deleted: neither is a reason to cancel paid work."""
    hosted = await in_flight(3)
    hosted.server.rows.clear()
    for _ in range(5):
        await hosted.tick()
    await hosted.tick(hosted.host())
    assert not hosted.provider.cancelled()
    assert hosted.here.status()["in_flight"] == 3


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
