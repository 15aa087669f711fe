"""Every fault that a call, a batch or an output can meet."""

import json

import openai
import pytest
from test_server_kit import chats, client_of, create, ran, reached, rows, submit, until, upload

from batch_bridge.testing import BatchServer


@pytest.fixture(scope="module")
def shared():
    with BatchServer() as running:
        yield running


@pytest.fixture
async def server(shared):
    before = dict.fromkeys(_SHARES, False)
    yield shared
    shared.configure(**before, visible_after=0)


_SHARES = [
    "missing_line",
    "doubled_line",
    "unknown_line",
    "garbled_line",
    "batch_failure",
    "unknown_status",
    "forgotten",
    "output_missing",
    "drop_create_response",
    "create_error",
    "create_error_after",
    "create_rate_limit",
    "upload_error",
    "poll_error",
    "list_error",
    "cut_download",
    "realtime_error",
    "slow_response",
]


@pytest.fixture
async def client(server):
    async with client_of(server) as made:
        yield made


async def listed(client):
    return [each.id async for each in client.batches.list()]


async def test_the_next_polls_fail(server, client):
    batch = await ran(client, chats(1))
    server.configure(next_poll_error=2)
    for _ in range(2):
        with pytest.raises(openai.InternalServerError) as caught:
            await client.batches.retrieve(batch.id)
        assert caught.value.status_code == 502
    assert (await client.batches.retrieve(batch.id)).status == "completed"
    server.configure(poll_error=1, poll_error_status=503)
    with pytest.raises(openai.InternalServerError) as caught:
        await client.batches.retrieve(batch.id)
    assert caught.value.status_code == 503


async def test_a_create_that_fails_before_it_takes_effect(server, client):
    file_id = await upload(client, chats(1))
    server.configure(next_create_error=1)
    with pytest.raises(openai.InternalServerError):
        await create(client, file_id)
    assert await listed(client) == []
    assert (await create(client, file_id)).id


async def test_a_create_that_fails_after_it_took_effect(server, client):
    server.configure(next_create_error_after=1)
    with pytest.raises(openai.InternalServerError):
        await submit(client, chats(1))
    (batch_id,) = await listed(client)
    assert (await reached(client, batch_id)).status == "completed"


async def test_a_create_whose_response_is_dropped(server, client):
    server.configure(next_drop_create_response=1)
    with pytest.raises(openai.APIConnectionError):
        await submit(client, chats(1))
    (batch_id,) = await listed(client)
    assert (await reached(client, batch_id)).status == "completed"


async def test_the_sdks_own_retries_create_a_second_batch(server, client):
    server.configure(next_drop_create_response=1)
    file_id = await upload(client, chats(1))
    await create(client.with_options(max_retries=1), file_id)
    assert len(await listed(client)) == 2


async def test_a_create_over_the_rate(server, client):
    server.configure(next_create_rate_limit=1, retry_after=7)
    with pytest.raises(openai.RateLimitError) as caught:
        await submit(client, chats(1))
    assert caught.value.response.headers["retry-after"] == "7"
    assert await listed(client) == []


async def test_uploads_listings_and_realtime_fail(server, client):
    server.configure(next_upload_error=1, next_list_error=1, next_realtime_error=1, realtime_error_status=429)
    with pytest.raises(openai.InternalServerError):
        await upload(client, b"x")
    with pytest.raises(openai.InternalServerError):
        await client.batches.list()
    with pytest.raises(openai.RateLimitError):
        await client.responses.create(model="m", input="hi")
    assert [each async for each in client.files.list()] == []
    await upload(client, b"x")
    await client.batches.list()
    await client.responses.create(model="m", input="hi")


async def test_a_download_that_is_cut(server, client):
    batch = await ran(client, chats(200))
    whole = (await client.files.content(batch.output_file_id)).content
    server.configure(next_cut_download=1)
    got = b""

    async def download():
        nonlocal got
        async with client.files.with_streaming_response.content(batch.output_file_id) as response:
            async for piece in response.iter_bytes():
                got += piece

    with pytest.raises(Exception, match=r"(?i)incomplete|closed|disconnect"):
        await download()
    assert whole.startswith(got)
    assert len(got) < len(whole)
    assert (await client.files.content(batch.output_file_id)).content == whole


async def test_a_slow_response_meets_the_clients_timeout(server, client):
    server.configure(slow_response=1, slow_response_seconds=30)
    with pytest.raises(openai.APITimeoutError):
        await client.with_options(timeout=0.1).batches.list()


async def test_an_unknown_status(server, client):
    server.configure(latency=3600, unknown_status=1, unknown_status_name="resting")
    batch = await submit(client, chats(1))
    assert (await client.batches.retrieve(batch.id)).status == "resting"
    server.configure(latency=0)
    assert (await reached(client, batch.id)).status == "completed"


async def test_a_forgotten_batch(server, client):
    batch = await submit(client, chats(1))
    server.configure(forgotten=1)
    await client.batches.retrieve(batch.id)
    with pytest.raises(openai.NotFoundError):
        await client.batches.retrieve(batch.id)
    assert await listed(client) == []


async def test_a_batch_that_fails_after_its_create(server, client):
    paid = server.stats.paid
    server.configure(batch_failure=1)
    batch = await ran(client, chats(1))
    assert batch.status == "failed"
    assert [each.code for each in batch.errors.data] == ["token_limit_exceeded"]
    assert server.stats.paid == paid


async def test_an_output_that_is_gone(server, client):
    server.configure(output_missing=1)
    batch = await ran(client, chats(1))
    with pytest.raises(openai.NotFoundError):
        await client.files.content(batch.output_file_id)


async def test_output_lines_that_are_missing_doubled_unknown_or_broken(server, client):
    server.configure(missing_line=1)
    batch = await ran(client, chats(5))
    assert await rows(client, batch.output_file_id) == []
    server.configure(missing_line=0.2, doubled_line=0.2, unknown_line=0.2)
    batch = await ran(client, chats(200))
    assert batch.request_counts.completed == 200
    ids = [row["custom_id"] for row in await rows(client, batch.output_file_id)]
    ours = {f"r{index}" for index in range(200)}
    assert 10 < len(ours - set(ids)) < 80
    assert 10 < len([each for each in ids if each not in ours]) < 80
    assert max(map(ids.count, ours)) == 2
    server.configure(missing_line=0, doubled_line=0, unknown_line=0, garbled_line=0.5)
    batch = await ran(client, chats(20))
    broken = 0
    for row in (await client.files.content(batch.output_file_id)).text.splitlines():
        try:
            json.loads(row)
        except json.JSONDecodeError:
            broken += 1
    assert 2 < broken < 18


async def test_a_batch_becomes_visible_late(server, client):
    server.configure(visible_after=3600, drop_create_response=1)
    file_id = await upload(client, chats(1))
    with pytest.raises(openai.APIConnectionError):
        await create(client, file_id)
    server.configure(drop_create_response=0, visible_after=0.4)
    late = await create(client, file_id)
    assert late.status == "validating"
    for call in (client.batches.retrieve, client.batches.cancel):
        with pytest.raises(openai.NotFoundError):
            await call(late.id)
    assert await listed(client) == []

    assert await until(lambda: listed(client)) == [late.id]
    assert (await reached(client, late.id)).status == "completed"


async def test_deleting_the_input_fences_a_late_batch(server, client):
    paid = server.stats.paid
    server.configure(visible_after=0.4)
    late = await submit(client, chats(3))
    assert await listed(client) == []
    await client.files.delete(late.input_file_id)

    await until(lambda: listed(client))
    batch = await reached(client, late.id)
    assert (batch.status, batch.errors.data[0].code) == ("failed", "input_file_not_found")
    assert server.stats.paid == paid


async def test_what_fired_is_counted(server, client):
    server.reset_stats()
    server.configure(next_upload_error=1)
    with pytest.raises(openai.InternalServerError):
        await upload(client, b"x")
    assert server.stats.faults == {"upload_error": 1}
    assert server.stats.calls == {"POST /v1/files": 1}
