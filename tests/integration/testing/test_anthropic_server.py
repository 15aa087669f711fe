"""The Batch API server in Anthropic's wire format, judged by the real SDK."""

import asyncio
import json
import uuid

import httpx
import pytest
from anthropic import (
    Anthropic,
    APIConnectionError,
    AsyncAnthropic,
    BadRequestError,
    InternalServerError,
    NotFoundError,
    RateLimitError,
)
from openai import AsyncOpenAI

from batch_bridge.testing import BatchServer


@pytest.fixture(scope="module")
def server():
    with BatchServer() as running:
        yield running


@pytest.fixture(autouse=True)
def fresh(server):
    server.reset_stats()
    yield
    server.configure(
        latency=0.0,
        cancel_seconds=0.0,
        expiry=0.0,
        line_failure=0.0,
        line_failure_status=500,
        unknown_status=0.0,
        output_missing=0.0,
        poll_error=0.0,
    )


@pytest.fixture
async def client(server):
    async with AsyncAnthropic(
        base_url=server.root_url, api_key=f"key-{uuid.uuid4().hex}", max_retries=0, timeout=60
    ) as made:
        yield made


def params(text="Hello", **more):
    return {"model": "claude-haiku-4-5", "max_tokens": 50, "messages": [{"role": "user", "content": text}], **more}


def entries(count):
    return [{"custom_id": f"r{n}", "params": params(f"question {n}.")} for n in range(count)]


async def ended(client, batch):
    for _ in range(2_000):
        batch = await client.messages.batches.retrieve(batch.id)
        if batch.processing_status == "ended":
            return batch
        await asyncio.sleep(0.005)
    raise AssertionError(batch)


async def results(client, batch):
    return {each.custom_id: each.result async for each in await client.messages.batches.results(batch.id)}


async def test_a_message(client):
    answer = await client.messages.create(**params())
    assert answer.type == "message"
    assert answer.content[0].text.endswith("You asked: Hello")
    assert answer.stop_reason == "end_turn"
    assert answer.usage.input_tokens > 0
    assert (await client.messages.count_tokens(**{k: v for k, v in params().items() if k != "max_tokens"})).input_tokens


async def test_the_sync_client_is_answered_too(server):
    with Anthropic(base_url=server.root_url, auth_token="bearer") as client:
        assert client.messages.create(**params()).role == "assistant"


async def test_a_tool_is_called_once_the_user_has_spoken(client):
    tools = [
        {"name": "first", "input_schema": {"type": "object", "properties": {"n": {"type": "integer"}}}},
        {"name": "second", "input_schema": {"type": "object", "properties": {}}},
    ]
    called = await client.messages.create(**params(tools=tools))
    (block,) = called.content
    assert (block.type, block.name, called.stop_reason) == ("tool_use", "first", "tool_use")
    assert isinstance(block.input["n"], int)
    demanded = await client.messages.create(**params(tools=tools, tool_choice={"type": "tool", "name": "second"}))
    assert demanded.content[0].name == "second"
    silent = await client.messages.create(**params(tools=tools, tool_choice={"type": "none"}))
    assert silent.content[0].type == "text"
    conversation = [
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": [block.model_dump(exclude_none=True)]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": block.id, "content": "forty-two"}]},
    ]
    answer = await client.messages.create(**{**params(tools=tools), "messages": conversation})
    assert answer.content[0].text.endswith("You asked: forty-two")


async def test_an_answer_fits_the_schema(client):
    schema = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    answer = await client.messages.create(**params(output_config={"format": {"type": "json_schema", "schema": schema}}))
    assert set(json.loads(answer.content[0].text)) == {"city"}


async def test_a_batch_from_create_to_delete(client, server):
    created = await client.messages.batches.create(requests=entries(7))
    assert (created.type, created.processing_status) == ("message_batch", "in_progress")
    assert created.request_counts.processing == 7
    assert created.results_url is None
    assert created.expires_at > created.created_at
    batch = await ended(client, created)
    counts = batch.request_counts
    assert (counts.succeeded, counts.processing, counts.errored, counts.canceled, counts.expired) == (7, 0, 0, 0, 0)
    assert batch.results_url.startswith(server.root_url)
    assert batch.ended_at >= batch.created_at
    found = await results(client, batch)
    assert set(found) == {f"r{n}" for n in range(7)}
    assert all(f"question {each[1:]}." in result.message.content[0].text for each, result in found.items())
    assert (await client.messages.batches.delete(batch.id)).type == "message_batch_deleted"
    with pytest.raises(NotFoundError):
        await client.messages.batches.retrieve(batch.id)
    assert [each async for each in client.messages.batches.list()] == []
    stats = server.stats
    assert (stats.batches, stats.requests, stats.paid, stats.paid_twice) == (1, 7, 7, 0)


async def test_a_batch_gives_the_answers_of_realtime(client):
    direct = await client.messages.create(**params("question 0."))
    batch = await ended(client, await client.messages.batches.create(requests=entries(1)))
    assert (await results(client, batch))["r0"].message == direct


async def test_models_may_be_mixed(client):
    mixed = [{"custom_id": name, "params": params(model=name)} for name in ("claude-a", "claude-b")]
    batch = await ended(client, await client.messages.batches.create(requests=mixed))
    assert {each: result.message.model for each, result in (await results(client, batch)).items()} == {
        "claude-a": "claude-a",
        "claude-b": "claude-b",
    }


async def test_a_request_that_is_wrong_is_errored_alone(client):
    wrong = {"custom_id": "wrong", "params": {"model": "claude-a", "messages": []}}
    batch = await ended(client, await client.messages.batches.create(requests=[*entries(1), wrong]))
    assert batch.request_counts.errored == 1
    found = await results(client, batch)
    assert found["r0"].type == "succeeded"
    assert found["wrong"].error.error.type == "invalid_request_error"
    assert "max_tokens" in found["wrong"].error.error.message


@pytest.mark.parametrize(
    ("status", "kind"),
    [(400, "invalid_request_error"), (429, "rate_limit_error"), (500, "api_error"), (529, "overloaded_error")],
)
async def test_lines_fail_with_a_type(client, server, status, kind):
    server.configure(line_failure=1.0, line_failure_status=status)
    batch = await ended(client, await client.messages.batches.create(requests=entries(2)))
    assert {each.error.error.type for each in (await results(client, batch)).values()} == {kind}


async def test_a_batch_is_cancelled(client, server):
    server.configure(latency=60.0, cancel_seconds=0.2)
    created = await client.messages.batches.create(requests=entries(3))
    cancelled = await client.messages.batches.cancel(created.id)
    assert cancelled.processing_status == "canceling"
    assert cancelled.cancel_initiated_at is not None
    with pytest.raises(BadRequestError, match="cancel it before"):
        await client.messages.batches.delete(created.id)
    batch = await ended(client, created)
    assert batch.request_counts.canceled == 3
    assert {each.type for each in (await results(client, batch)).values()} == {"canceled"}
    with pytest.raises(BadRequestError, match="has ended"):
        await client.messages.batches.cancel(created.id)


async def test_a_batch_expires(client, server):
    server.configure(expiry=1.0)
    batch = await ended(client, await client.messages.batches.create(requests=entries(4)))
    kinds = sorted(each.type for each in (await results(client, batch)).values())
    assert kinds == ["expired", "expired", "succeeded", "succeeded"]
    assert (batch.request_counts.expired, batch.request_counts.succeeded) == (2, 2)


async def test_listings_have_pages(client):
    made = [(await client.messages.batches.create(requests=entries(1))).id for _ in range(5)]
    newest_first = made[::-1]
    page = await client.messages.batches.list(limit=2)
    assert ([each.id for each in page.data], page.has_more) == (newest_first[:2], True)
    assert (page.first_id, page.last_id) == (newest_first[0], newest_first[1])
    assert [each.id async for each in client.messages.batches.list(limit=2)] == newest_first
    after = await client.messages.batches.list(limit=2, after_id=newest_first[3])
    assert ([each.id for each in after.data], after.has_more) == (newest_first[4:], False)
    before = await client.messages.batches.list(limit=2, before_id=newest_first[3])
    assert ([each.id for each in before.data], before.has_more) == (newest_first[1:3], True)
    with pytest.raises(BadRequestError, match="limit"):
        await client.messages.batches.list(limit=1_001)


@pytest.mark.parametrize(
    ("requests", "said"),
    [
        (None, "requests"),
        ([], "at least one"),
        ([{"custom_id": "a"}], "params"),
        ([{"custom_id": "a b", "params": params()}], "match pattern"),
        ([{"custom_id": "a" * 65, "params": params()}], "match pattern"),
        ([{"custom_id": "a", "params": params()}] * 2, "unique"),
    ],
)
async def test_a_create_is_checked(client, server, requests, said):
    with pytest.raises(BadRequestError, match=said) as raised:
        await client.messages.batches.create(requests=requests)
    assert raised.value.body["error"]["type"] == "invalid_request_error"
    assert raised.value.request_id.startswith("req_")
    assert server.stats.batches == 0


async def test_keys_do_not_see_each_other(client, server):
    batch = await client.messages.batches.create(requests=entries(1))
    async with AsyncAnthropic(base_url=server.root_url, api_key="another", max_retries=0) as other:
        with pytest.raises(NotFoundError):
            await other.messages.batches.retrieve(batch.id)
    async with AsyncOpenAI(base_url=server.base_url, api_key=client.api_key) as same_key:
        assert (await same_key.batches.list()).data == []
    async with httpx.AsyncClient() as keyless:
        nobody = await keyless.get(f"{server.root_url}/v1/messages/batches")
    assert (nobody.status_code, nobody.json()["error"]["type"]) == (401, "authentication_error")
    assert "x-api-key" in nobody.json()["error"]["message"]


async def test_faults_of_calls(client, server):
    server.configure(next_create_rate_limit=1, retry_after=3.0)
    with pytest.raises(RateLimitError) as limited:
        await client.messages.batches.create(requests=entries(1))
    assert limited.value.response.headers["retry-after"] == "3"
    server.configure(next_create_error=1)
    with pytest.raises(InternalServerError):
        await client.messages.batches.create(requests=entries(1))
    assert server.stats.batches == 0
    server.configure(next_create_error_after=1)
    with pytest.raises(InternalServerError):
        await client.messages.batches.create(requests=entries(1))
    server.configure(next_drop_create_response=1)
    with pytest.raises(APIConnectionError):
        await client.messages.batches.create(requests=entries(1))
    assert server.stats.batches == 2
    server.configure(next_poll_error=1, next_list_error=1, next_realtime_error=1, poll_error_status=529)
    with pytest.raises(InternalServerError):
        await client.messages.batches.list()
    batch, _ = (await client.messages.batches.list()).data
    with pytest.raises(InternalServerError) as overloaded:
        await client.messages.batches.retrieve(batch.id)
    assert overloaded.value.body["error"]["type"] == "overloaded_error"
    with pytest.raises(InternalServerError):
        await client.messages.create(**params())
    server.configure(poll_error_status=502)


async def test_an_unknown_status_and_results_that_are_gone(client, server):
    server.configure(unknown_status=1.0, latency=60.0)
    created = await client.messages.batches.create(requests=entries(1))
    assert (await client.messages.batches.retrieve(created.id)).processing_status == "paused"
    server.configure(unknown_status=0.0, latency=0.0, output_missing=1.0)
    batch = await ended(client, created)
    with pytest.raises(NotFoundError):
        await client.messages.batches.results(batch.id)


async def test_a_killed_server_goes_on(tmp_path):
    with BatchServer(state_dir=tmp_path, latency=0.5) as server:
        async with AsyncAnthropic(base_url=server.root_url, api_key="k", max_retries=0) as client:
            created = await client.messages.batches.create(requests=entries(20))
            server.kill()
            server.start()
            batch = await ended(client, created)
            assert set(await results(client, batch)) == {f"r{n}" for n in range(20)}
        assert (server.stats.paid, server.stats.paid_twice) == (20, 0)
