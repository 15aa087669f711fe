"""The Batch API server's Gemini format, judged by Google's own SDK."""

import asyncio
import io
import json
import time
import uuid

import pytest
from google import genai
from google.genai import types
from google.genai.errors import ClientError, ServerError

from batch_bridge.testing import BatchServer

MODEL = "gemini-2.5-flash"
TOOL = {
    "function_declarations": [
        {
            "name": "look",
            "parameters": {"type": "OBJECT", "properties": {"city": {"type": "STRING"}}, "required": ["city"]},
        }
    ]
}


@pytest.fixture(scope="module")
def server():
    with BatchServer() as running:
        yield running


@pytest.fixture
async def api(server):
    client = genai.Client(api_key=uuid.uuid4().hex, http_options={"base_url": server.root_url})
    yield client.aio
    await client.aio.aclose()


def requests(count):
    return [
        {"contents": [{"role": "user", "parts": [{"text": f"question {n}."}]}], "metadata": {"key": f"k{n}"}}
        for n in range(count)
    ]


def lines(count, size=0):
    for n in range(count):
        text = f"question {n}." + "x" * size
        yield json.dumps({"key": f"k{n}", "request": {"contents": [{"parts": [{"text": text}]}]}}).encode() + b"\n"


async def upload(api, content):
    return await api.files.upload(file=io.BytesIO(content), config={"mime_type": "application/jsonl"})


async def end(api, job):
    deadline = time.monotonic() + 60
    while not (job := await api.batches.get(name=job.name)).done:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)
    return job


async def test_a_model_answers_at_once(api):
    one = await api.models.generate_content(model=MODEL, contents="Hello there")
    two = await api.models.generate_content(model=MODEL, contents="Hello there")
    assert one.text.endswith("You asked: Hello there")
    assert one.text == two.text
    assert one.usage_metadata.total_token_count > 0
    assert one.candidates[0].finish_reason == types.FinishReason.STOP


async def test_a_tool_is_called_when_the_user_spoke_last(api):
    called = await api.models.generate_content(model=MODEL, contents="Hello", config={"tools": [TOOL]})
    (call,) = called.function_calls
    assert (call.name, call.args) == ("look", {"city": "stand-in"})
    contents = [
        types.Content(role="user", parts=[types.Part(text="Hello")]),
        called.candidates[0].content,
        types.Content(role="user", parts=[types.Part.from_function_response(name="look", response={"output": "sun"})]),
    ]
    said = await api.models.generate_content(model=MODEL, contents=contents, config={"tools": [TOOL]})
    assert said.function_calls is None
    none = {"tools": [TOOL], "tool_config": {"function_calling_config": {"mode": "NONE"}}}
    assert (await api.models.generate_content(model=MODEL, contents="Hello", config=none)).function_calls is None


async def test_an_answer_fits_its_schema(api):
    schema = {"type": "OBJECT", "properties": {"n": {"type": "INTEGER"}, "s": {"type": "STRING"}}, "required": ["n"]}
    config = {"response_mime_type": "application/json", "response_schema": schema}
    answer = await api.models.generate_content(model=MODEL, contents="Hello", config=config)
    assert json.loads(answer.text) == {"n": 1}


async def test_embeddings(api):
    config = {"output_dimensionality": 4}
    found = await api.models.embed_content(model="gemini-embedding-001", contents=["a", "b", "a"], config=config)
    a, b, again = [each.values for each in found.embeddings]
    assert len(a) == 4
    assert a == again != b


@pytest.mark.skipif("metadata" not in types.InlinedResponse.model_fields, reason="an older SDK does not read it")
async def test_requests_inside_a_batch_are_answered_in_their_order(api):
    job = await api.batches.create(model=MODEL, src=requests(20), config={"display_name": "d"})
    assert (job.display_name, job.model, job.state) == ("d", f"models/{MODEL}", types.JobState.JOB_STATE_PENDING)
    job = await end(api, job)
    assert job.state == types.JobState.JOB_STATE_SUCCEEDED
    answers = job.dest.inlined_responses
    assert [each.metadata["key"] for each in answers] == [f"k{n}" for n in range(20)]
    assert all(f"question {n}." in each.response.text for n, each in enumerate(answers))


async def test_a_file_of_requests_is_answered_by_key(api):
    file = await upload(api, b"".join(lines(20)))
    assert file.name.startswith("files/")
    job = await end(api, await api.batches.create(model=MODEL, src=file.name))
    content = await api.files.download(file=job.dest.file_name)
    results = {each["key"]: each["response"] for each in map(json.loads, content.splitlines())}
    assert len(results) == 20
    for n in range(20):
        assert f"question {n}." in results[f"k{n}"]["candidates"][0]["content"]["parts"][0]["text"]


async def test_a_large_file_arrives_in_pieces(api, server):
    content = b"".join(lines(9, size=1_000_000))
    before = server.stats.calls.get("POST /upload/v1beta/files/bytes", 0)
    file = await upload(api, content)
    assert file.size_bytes == len(content)
    assert server.stats.calls["POST /upload/v1beta/files/bytes"] == before + 2
    job = await end(api, await api.batches.create(model=MODEL, src=file.name))
    assert len((await api.files.download(file=job.dest.file_name)).splitlines()) == 9


async def test_what_was_uploaded_is_listed_and_deleted_and_not_downloaded(api):
    names = {(await upload(api, b"".join(lines(1)))).name for _ in range(3)}
    assert {file.name async for file in await api.files.list(config={"page_size": 2})} == names
    name = names.pop()
    with pytest.raises(ClientError, match="was uploaded"):
        await api.files.download(file=name)
    await api.files.delete(name=name)
    with pytest.raises(ClientError) as gone:
        await api.files.get(name=name)
    assert (gone.value.code, gone.value.status) == (404, "NOT_FOUND")


async def test_batches_are_listed_newest_first_and_deleted(api):
    jobs = [await api.batches.create(model=MODEL, src=requests(1), config={"display_name": f"d{n}"}) for n in range(5)]
    shown = [job.display_name async for job in await api.batches.list(config={"page_size": 2})]
    assert shown == ["d4", "d3", "d2", "d1", "d0"]
    await api.batches.delete(name=jobs[2].name)
    assert "d2" not in [job.display_name async for job in await api.batches.list()]
    with pytest.raises(ClientError):
        await api.batches.get(name=jobs[2].name)


async def test_keys_see_their_own_alone(api, server):
    job = await api.batches.create(model=MODEL, src=requests(1))
    other = genai.Client(api_key="another", http_options={"base_url": server.root_url}).aio
    with pytest.raises(ClientError, match="404"):
        await other.batches.get(name=job.name)
    assert not [each async for each in await other.batches.list()]
    await other.aclose()


async def test_failing_requests_have_errors_beside_answers(api, server):
    server.configure(line_failure=0.5, line_failure_status=[400, 429, 500])
    try:
        job = await end(api, await api.batches.create(model=MODEL, src=requests(30)))
        file = await upload(api, b"".join(lines(30)))
        from_file = await end(api, await api.batches.create(model=MODEL, src=file.name))
        content = await api.files.download(file=from_file.dest.file_name)
    finally:
        server.configure(line_failure=0.0)
    inside = [each.error.code for each in job.dest.inlined_responses if each.error]
    outside = [each["error"]["code"] for each in map(json.loads, content.splitlines()) if "error" in each]
    assert len(job.dest.inlined_responses) == len(content.splitlines()) == 30
    assert set(inside) == set(outside) == {3, 8, 13}


@pytest.mark.parametrize(
    ("options", "state"),
    [
        ({"expiry": 1.0}, types.JobState.JOB_STATE_EXPIRED),
        ({"batch_failure": 1.0}, types.JobState.JOB_STATE_FAILED),
    ],
)
async def test_batches_that_end_badly_have_no_results(api, server, options, state):
    server.configure(**options)
    try:
        job = await end(api, await api.batches.create(model=MODEL, src=requests(4)))
    finally:
        server.configure(**dict.fromkeys(options, 0.0))
    assert (job.state, job.dest) == (state, None)


async def test_a_batch_can_be_cancelled(api, server):
    server.configure(latency=60.0)
    try:
        job = await api.batches.create(model=MODEL, src=requests(4))
        await api.batches.cancel(name=job.name)
        job = await end(api, job)
        await api.batches.cancel(name=job.name)
    finally:
        server.configure(latency=0.0)
    assert (job.state, job.dest) == (types.JobState.JOB_STATE_CANCELLED, None)


async def test_a_batch_whose_file_is_wrong_or_gone_fails(api, server):
    server.configure(latency=60.0)
    try:
        file = await upload(api, b"".join(lines(1)))
        gone = await api.batches.create(model=MODEL, src=file.name)
        await api.files.delete(name=file.name)
        broken = await api.batches.create(model=MODEL, src=(await upload(api, b'{"custom_id": "a"}\n')).name)
        server.configure(latency=0.0)
        for job in (gone, broken):
            assert (await end(api, job)).state == types.JobState.JOB_STATE_FAILED
    finally:
        server.configure(latency=0.0)
    with pytest.raises(ClientError, match="404"):
        await api.batches.create(model=MODEL, src=file.name)


async def test_errors_are_of_googles_shape(api, server):
    server.configure(next_create_rate_limit=1, next_realtime_error=1, retry_after=7.0)
    with pytest.raises(ClientError) as limited:
        await api.batches.create(model=MODEL, src=requests(1))
    assert (limited.value.code, limited.value.status) == (429, "RESOURCE_EXHAUSTED")
    assert limited.value.details["error"]["details"][0]["retryDelay"] == "7s"
    with pytest.raises(ServerError) as failed:
        await api.models.generate_content(model=MODEL, contents="Hello")
    assert (failed.value.code, failed.value.status) == (500, "INTERNAL")
    with pytest.raises(ClientError) as wrong:
        await api.batches.list(config={"page_size": -1})
    assert (wrong.value.code, wrong.value.status) == (400, "INVALID_ARGUMENT")
