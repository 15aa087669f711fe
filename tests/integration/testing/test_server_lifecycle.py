"""Every status, every way to end, and what is counted."""

import os

import openai
import pytest
from test_server_kit import chats, client_of, create, jsonl, line, ran, reached, rows, submit, until, upload

from batch_bridge.testing import BatchServer

pytest_plugins = ["batch_bridge.testing.pytest_plugin"]


def started(**options):
    """Options for the fixture; its marker is not known yet while this module is imported."""
    return pytest.mark.parametrize("batch_server", [options], indirect=True, ids=["server"])


@pytest.fixture
async def client(batch_server):
    async with client_of(batch_server) as made:
        yield made


@started(latency=1.0)
async def test_a_batch_takes_its_latency_and_passes_every_status(client):
    batch = await submit(client, chats(50))
    seen, counts = [batch.status], []

    async def ended():
        now = await client.batches.retrieve(batch.id)
        if now.status != seen[-1]:
            seen.append(now.status)
        counts.append(now.request_counts.completed)
        assert (now.output_file_id is None) == (now.status != "completed")
        return now.status == "completed"

    await until(ended)
    assert seen == ["validating", "in_progress", "finalizing", "completed"]
    assert counts == sorted(counts)
    assert len(set(counts)) > 5
    batch = await client.batches.retrieve(batch.id)
    assert batch.completed_at - batch.created_at in (1, 2)


@started(latency=3600)
async def test_live_batches_follow_a_change_of_the_latency(client, batch_server):
    batch = await submit(client, chats(5))
    assert (await client.batches.retrieve(batch.id)).status == "validating"
    batch_server.configure(latency=0)
    assert (await reached(client, batch.id)).status == "completed"


@started(latency=100, shuffle=False)
async def test_a_cancel_half_way_keeps_what_was_done(client, batch_server):
    batch = await submit(client, chats(1000))
    batch_server.configure(latency=2.5)
    await until(lambda: _done(client, batch.id, 100))
    batch_server.configure(cancel_seconds=60)
    cancelled = await client.batches.cancel(batch.id)
    assert (cancelled.status, cancelled.output_file_id) == ("cancelling", None)
    assert (await client.batches.cancel(batch.id)).status == "cancelling"
    batch_server.configure(cancel_seconds=0)
    batch = await reached(client, batch.id)
    assert batch.status == "cancelled"
    assert batch.cancelling_at <= batch.cancelled_at
    done, rest = await rows(client, batch.output_file_id), await rows(client, batch.error_file_id)
    assert len(done) == batch.request_counts.completed >= 100
    assert len(done) + len(rest) == 1000
    assert {(row["response"], row["error"]["code"]) for row in rest} == {(None, "batch_cancelled")}
    stats = batch_server.stats
    assert (stats.paid, stats.cancelled, stats.executed) == (len(done), len(rest), len(done))
    with pytest.raises(openai.ConflictError, match="cancelled"):
        await client.batches.cancel(batch.id)


async def _done(client, batch_id, count):
    return (await client.batches.retrieve(batch_id)).request_counts.completed >= count


@started(latency=3600)
async def test_a_cancel_during_validation_runs_nothing(client, batch_server):
    batch = await submit(client, chats(5))
    await client.batches.cancel(batch.id)
    batch = await reached(client, batch.id)
    assert batch.status == "cancelled"
    assert batch.output_file_id is batch.error_file_id is None
    assert batch_server.stats.executed == 0


@started(expiry=1, expiry_share=0.3)
async def test_an_expired_batch_keeps_what_was_done(client, batch_server):
    batch = await ran(client, chats(10))
    assert batch.status == "expired"
    assert batch.expired_at is not None
    assert len(await rows(client, batch.output_file_id)) == 3
    rest = await rows(client, batch.error_file_id)
    assert len(rest) == 7
    assert {(row["response"], row["error"]["code"]) for row in rest} == {(None, "batch_expired")}
    assert (batch_server.stats.paid, batch_server.stats.expired) == (3, 7)


@started(stuck=1, stuck_share=0.9)
async def test_a_stuck_batch_stays_until_it_is_freed(client, batch_server):
    batch = await submit(client, chats(10))
    await until(lambda: _done(client, batch.id, 9))
    now = await client.batches.retrieve(batch.id)
    assert (now.status, now.request_counts.completed) == ("in_progress", 9)
    batch_server.configure(stuck=0)
    assert (await reached(client, batch.id)).status == "completed"


@started(stuck=1, stuck_share=0, window_seconds=0.3)
async def test_the_window_closes_on_a_stuck_batch(client):
    batch = await ran(client, chats(3))
    assert batch.status == "expired"
    assert batch.output_file_id is None
    assert len(await rows(client, batch.error_file_id)) == 3


@started(line_failure=1, line_failure_status=[0, 400, 429, 500])
async def test_failed_lines_go_to_the_error_file_and_are_not_paid(client, batch_server):
    batch = await ran(client, chats(40))
    assert (batch.status, batch.output_file_id) == ("completed", None)
    assert (batch.request_counts.completed, batch.request_counts.failed) == (0, 40)
    found = await rows(client, batch.error_file_id)
    assert {row["response"]["status_code"] for row in found} == {0, 400, 429, 500}
    assert all(row["error"] is None for row in found)
    assert (batch_server.stats.paid, batch_server.stats.failed, batch_server.stats.executed) == (0, 40, 40)


async def test_a_line_that_the_endpoint_refuses_is_a_400(client):
    good, bad = line("good"), line("bad", messages=None)
    batch = await ran(client, jsonl([good, bad]))
    assert [row["custom_id"] for row in await rows(client, batch.output_file_id)] == ["good"]
    (row,) = await rows(client, batch.error_file_id)
    assert (row["custom_id"], row["response"]["status_code"]) == ("bad", 400)
    assert row["response"]["body"]["error"]["param"] == "messages"


async def test_paid_twice(client, batch_server):
    content = jsonl([line("a"), line("b"), line("c", messages=[{"role": "user", "content": "ask a"}])])
    await ran(client, content)
    stats = batch_server.stats
    assert (stats.requests, stats.executed, stats.paid) == (3, 3, 3)
    assert (stats.paid_twice, stats.bodies_repeated, stats.batches) == (0, 1, 1)
    again = await ran(client, jsonl([line("a"), line("d")]))
    assert batch_server.stats.paid_twice == 1
    assert batch_server.paid_twice() == [(again.id, "a")]
    async with client_of(batch_server) as other:
        await ran(other, content)
    assert batch_server.stats.paid_twice == 1
    batch_server.reset_stats()
    assert batch_server.stats.paid == batch_server.stats.batches == 0
    await ran(client, content)
    assert (batch_server.stats.paid_twice, batch_server.stats.batches_by_status) == (0, {"completed": 1})


@started(latency=3600, enqueued_tokens=50)
async def test_the_limit_of_enqueued_tokens(client, batch_server):
    first, second = await submit(client, chats(2)), await submit(client, chats(2, "s"))
    other = await submit(client, jsonl([line("a", model="other")]))
    batch_server.configure(latency=5)
    failed = await reached(client, second.id, "failed", "in_progress")
    running = await reached(client, first.id, "failed", "in_progress")
    assert {failed.status, running.status} == {"failed", "in_progress"}
    (error,) = (failed if failed.status == "failed" else running).errors.data
    assert error.code == "token_limit_exceeded"
    assert (await reached(client, other.id, "failed", "in_progress")).status == "in_progress"
    assert batch_server.stats.requests == 3


@started(batches_per_hour=2, max_lines=3, max_upload_bytes=1_000_000)
async def test_the_other_limits(client):
    file_id = await upload(client, chats(4))
    first = await create(client, file_id)
    await create(client, file_id)
    with pytest.raises(openai.RateLimitError) as caught:
        await create(client, file_id)
    assert int(caught.value.response.headers["retry-after"]) > 3_000
    (error,) = (await reached(client, first.id)).errors.data
    assert error.code == "too_many_tasks"
    with pytest.raises(openai.APIStatusError, match="larger than 1000000"):
        await upload(client, b"x" * 1_000_001)


async def test_the_input_may_go_once_the_batch_has_read_it(client, batch_server):
    batch_server.configure(latency=0.5)
    batch = await submit(client, chats(5))
    await reached(client, batch.id, "in_progress")
    await client.files.delete(batch.input_file_id)
    assert (await reached(client, batch.id)).status == "completed"


def test_ctrl_c_in_the_terminal_is_its_parents_to_answer():
    with BatchServer() as server:
        assert os.getsid(server.pid) != os.getsid(0)
