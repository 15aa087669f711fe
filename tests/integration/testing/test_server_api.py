"""The wire format, as the real client sees it."""

import httpx
import openai
import pytest
from openai.types import Batch, FileObject
from pydantic import BaseModel
from test_server_kit import CHAT, chats, client_of, create, jsonl, line, ran, reached, rows, submit, upload

from batch_bridge.testing import BatchServer


@pytest.fixture(scope="module")
def server():
    with BatchServer() as running:
        yield running


@pytest.fixture
async def client(server):
    async with client_of(server) as made:
        yield made


async def test_a_file_lives_and_dies(client):
    made = await client.files.create(
        file=("in.jsonl", b"content"),
        purpose="batch",
        expires_after={"anchor": "created_at", "seconds": 3600},
    )
    assert isinstance(made, FileObject)
    assert (made.bytes, made.filename, made.purpose, made.status) == (7, "in.jsonl", "batch", "processed")
    assert made.expires_at == made.created_at + 3600
    assert await client.files.retrieve(made.id) == made
    assert (await client.files.content(made.id)).content == b"content"
    assert [each async for each in client.files.list()] == [made]
    assert [each async for each in client.files.list(purpose="vision")] == []
    assert (await client.files.delete(made.id)).deleted
    for call in (client.files.retrieve, client.files.content, client.files.delete):
        with pytest.raises(openai.NotFoundError):
            await call(made.id)


async def test_a_batch_from_end_to_end(client):
    batch = await submit(client, chats(20), metadata={"key": "value"})
    assert isinstance(batch, Batch)
    assert (batch.status, batch.endpoint, batch.completion_window) == ("validating", CHAT, "24h")
    assert batch.output_file_id is batch.error_file_id is batch.errors is None
    batch = await reached(client, batch.id)
    assert batch.status == "completed"
    assert batch.metadata == {"key": "value"}
    assert batch.model == "m"
    assert (batch.request_counts.total, batch.request_counts.completed, batch.request_counts.failed) == (
        20,
        20,
        0,
    )
    assert batch.created_at <= batch.in_progress_at <= batch.finalizing_at <= batch.completed_at
    assert batch.expires_at == batch.created_at + 86_400
    assert batch.error_file_id is None
    out = await rows(client, batch.output_file_id)
    ids = [row["custom_id"] for row in out]
    assert sorted(ids) == sorted(f"r{index}" for index in range(20))
    assert ids != [f"r{index}" for index in range(20)]
    for row in out:
        assert set(row) == {"id", "custom_id", "response", "error"}
        assert set(row["response"]) == {"status_code", "request_id", "body"}
        assert row["error"] is None
        text = row["response"]["body"]["choices"][0]["message"]["content"]
        assert text.endswith(f"ask {row['custom_id']}")
    used = [row["response"]["body"]["usage"] for row in out]
    assert batch.usage.input_tokens == sum(each["prompt_tokens"] for each in used)
    assert batch.usage.output_tokens == sum(each["completion_tokens"] for each in used)
    file = await client.files.retrieve(batch.output_file_id)
    assert file.purpose == "batch_output"


@pytest.mark.parametrize(
    ("url", "body"),
    [
        ("/v1/responses", {"input": "hi"}),
        ("/v1/embeddings", {"input": ["a"], "dimensions": 4}),
        ("/v1/completions", {"prompt": "hi"}),
        ("/v1/moderations", {"input": "hi"}),
        ("/v1/images/generations", {"prompt": "hi"}),
    ],
)
async def test_every_endpoint_runs_in_a_batch(client, url, body):
    one = line("a", url) | {"body": {"model": "m", **body}}
    batch = await ran(client, jsonl([one]), endpoint=url)
    (row,) = await rows(client, batch.output_file_id)
    assert row["response"]["status_code"] == 200


async def test_realtime_answers_are_the_batchs(client):
    messages = [{"role": "user", "content": "ask a"}]
    answer = await client.chat.completions.create(model="m", messages=messages)
    (row,) = await rows(client, (await ran(client, jsonl([line("a")]))).output_file_id)
    assert answer.to_dict() == row["response"]["body"]
    assert answer._request_id.startswith("req_")


async def test_the_rest_of_the_client_works_in_realtime(client):
    class Person(BaseModel):
        name: str
        age: int

    parsed = await client.chat.completions.parse(
        model="m", messages=[{"role": "user", "content": "hi"}], response_format=Person
    )
    assert parsed.choices[0].message.parsed.age == 1
    assert (await client.responses.parse(model="m", input="hi", text_format=Person)).output_parsed.age == 1
    assert "[stand-in answer" in (await client.responses.create(model="m", input="hi")).output_text
    vectors = (await client.embeddings.create(model="m", input=["a", "a", "b"])).data
    assert len(vectors[0].embedding) == 1536
    assert vectors[0].embedding == vectors[1].embedding != vectors[2].embedding
    assert (await client.completions.create(model="m", prompt="hi")).choices[0].text
    assert not (await client.moderations.create(input="hi")).results[0].flagged
    assert (await client.images.generate(prompt="hi")).data[0].b64_json
    assert [each.id async for each in client.models.list()]
    assert (await client.models.retrieve("org/any")).id == "org/any"
    with pytest.raises(openai.BadRequestError, match="messages"):
        await client.post("/chat/completions", body={"model": "m"}, cast_to=dict)


@pytest.mark.parametrize(
    ("changes", "error", "param"),
    [
        ({"input_file_id": "file-none"}, openai.NotFoundError, "id"),
        ({"completion_window": "1h"}, openai.BadRequestError, "completion_window"),
        ({"endpoint": "/v1/nothing"}, openai.BadRequestError, "endpoint"),
        ({"endpoint": "/v1/videos"}, openai.BadRequestError, "endpoint"),
        ({"metadata": {str(n): "x" for n in range(17)}}, openai.BadRequestError, "metadata"),
        ({"metadata": {"k" * 65: "x"}}, openai.BadRequestError, "metadata"),
        ({"metadata": {"k": "x" * 513}}, openai.BadRequestError, "metadata.k"),
        ({"metadata": {"k": 1}}, openai.BadRequestError, "metadata.k"),
        ({"metadata": [1]}, openai.BadRequestError, "metadata"),
        ({"output_expires_after": {"anchor": "created_at", "seconds": 5}}, openai.BadRequestError, None),
        ({"extra_body": {"endpoint": 7}}, openai.BadRequestError, "endpoint"),
        ({"extra_body": {"input_file_id": None}}, openai.BadRequestError, "input_file_id"),
    ],
)
async def test_a_wrong_create_is_refused_in_the_providers_shape(client, changes, error, param):
    file_id = await upload(client, chats(1))
    with pytest.raises(error) as caught:
        await create(client, file_id, **changes)
    assert set(caught.value.body) == {"message", "type", "param", "code"}
    if param is not None:
        assert caught.value.param == param
    assert [each async for each in client.batches.list()] == []


async def test_a_file_of_another_purpose_is_refused(client):
    file = await client.files.create(file=("x", b"x"), purpose="user_data")
    with pytest.raises(openai.BadRequestError, match="purpose"):
        await create(client, file.id)
    with pytest.raises(openai.BadRequestError, match="purpose"):
        await client.files.create(file=("x", b"x"), purpose="nonsense")
    with pytest.raises(openai.BadRequestError, match="seconds"):
        await client.files.create(
            file=("x", b"x"), purpose="batch", expires_after={"anchor": "created_at", "seconds": 1}
        )


async def test_a_bad_file_fails_in_validation_with_its_lines(client):
    content = chats(2) + b"nope\n" + jsonl([line("r0"), line("x", "/v1/responses")])
    batch = await ran(client, content)
    assert batch.status == "failed"
    assert batch.failed_at is not None
    assert batch.errors.object == "list"
    found = [(each.code, each.line) for each in batch.errors.data]
    assert found == [("invalid_json_line", 3), ("duplicate_custom_id", 4), ("url_mismatch", 5)]
    assert batch.output_file_id is batch.error_file_id is None


async def test_listing_is_newest_first_in_pages(client):
    file_id = await upload(client, chats(1))
    made = [(await create(client, file_id)).id for _ in range(5)]
    first = await client.batches.list(limit=2)
    assert [each.id for each in first.data] == [made[4], made[3]]
    assert first.has_more
    assert [each.id async for each in client.batches.list(limit=2)] == made[::-1]
    last = await client.batches.list(after=made[1], limit=2)
    assert [each.id for each in last.data] == [made[0]]
    assert not last.has_more
    for wrong in (0, 101):
        with pytest.raises(openai.BadRequestError, match="limit"):
            await client.batches.list(limit=wrong)
    with pytest.raises(openai.NotFoundError):
        await client.batches.list(after="batch_none")


async def test_tenants_see_nothing_of_each_other(server, client):
    batch = await ran(client, chats(1))
    async with client_of(server) as other:
        for call, id_ in (
            (other.batches.retrieve, batch.id),
            (other.batches.cancel, batch.id),
            (other.files.retrieve, batch.output_file_id),
            (other.files.content, batch.output_file_id),
            (other.files.delete, batch.input_file_id),
        ):
            with pytest.raises(openai.NotFoundError):
                await call(id_)
        with pytest.raises(openai.NotFoundError):
            await create(other, batch.input_file_id)
        assert [each async for each in other.batches.list()] == []
        assert [each async for each in other.files.list()] == []


async def test_without_a_key_nothing_is_answered(server):
    async with httpx.AsyncClient(base_url=server.base_url) as bare:
        for headers in ({}, {"authorization": "Bearer"}, {"authorization": "Basic x"}):
            answer = await bare.get("/batches", headers=headers)
            assert answer.status_code == 401
            assert set(answer.json()["error"]) == {"message", "type", "param", "code"}


async def test_the_page_for_people_and_unknown_routes(server):
    async with httpx.AsyncClient() as bare:
        root = server.base_url.removesuffix("/v1")
        page = await bare.get(root)
        assert "paid twice" in page.text
        for method, path in (("GET", "/v1/none"), ("DELETE", "/v1/batches"), ("POST", "/nothing")):
            answer = await bare.request(method, root + path)
            assert answer.status_code == 404
            assert "Invalid URL" in answer.json()["error"]["message"]
        refused = await bare.post(
            root + "/_control/configure",
            content="{}",
            headers={"content-type": "text/plain", "authorization": f"Bearer {server.control_token}"},
        )
        assert refused.status_code == 415
