"""Other people's clients judge the wire: each vendor's own SDK runs a job of 50 requests.

An SDK that is not installed skips its test; `make env` installs all of them.
"""

import io
import json
import time
import uuid

import httpx
import openai
import pytest
from anthropic import Anthropic
from google import genai
from google.genai.errors import ClientError

from batch_bridge.testing import BatchServer

COUNT = 50
IDS = {f"r{n}" for n in range(COUNT)}


@pytest.fixture(scope="module")
def server():
    with BatchServer() as running:
        yield running


def body(n, **extra):
    return {"messages": [{"role": "user", "content": f"question {n}."}], **extra}


def jsonl(lines):
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)


def ended(look, is_ended):
    """Look until the job has ended."""
    until = time.monotonic() + 60
    while not is_ended(seen := look()):
        assert time.monotonic() < until, seen
        time.sleep(0.02)
    return seen


def check(content, *, model):
    """Each request was answered once, by the model that was named."""
    found = [json.loads(line) for line in content.splitlines()]
    assert {line["custom_id"] for line in found} == IDS
    assert len(found) == COUNT
    for line in found:
        answer = line["response"]["body"]
        assert answer["model"] == model
        assert answer["choices"][0]["message"]["content"].endswith(f"question {line['custom_id'][1:]}.")


def openai_job(client, lines, endpoint):
    file = client.files.create(file=("input.jsonl", jsonl(lines)), purpose="batch")
    batch = client.batches.create(input_file_id=file.id, endpoint=endpoint, completion_window="24h")
    batch = ended(lambda: client.batches.retrieve(batch.id), lambda seen: seen.status == "completed")
    assert [each.id for each in client.batches.list().data] == [batch.id]
    return batch, client.files.content(batch.output_file_id).read()


def azure_lines(url):
    return [{"custom_id": f"r{n}", "method": "POST", "url": url, "body": body(n, model="dep")} for n in range(COUNT)]


def test_openai_at_azures_v1(server):
    address = server.root_url + "/openai/v1"
    with openai.OpenAI(base_url=address, api_key=uuid.uuid4().hex, max_retries=0) as client:
        _, content = openai_job(client, azure_lines("/chat/completions"), "/chat/completions")
        check(content, model="dep")
        file = client.files.create(file=("input.jsonl", jsonl(azure_lines("/v1/chat/completions"))), purpose="batch")
        with pytest.raises(openai.BadRequestError, match="'/v1/chat/completions' is not supported"):
            client.batches.create(input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h")
        assert client.chat.completions.create(**body(0, model="dep")).model == "dep"


def test_groq(server):
    groq = pytest.importorskip("groq", reason="the package groq is not installed")
    lines = azure_lines("/v1/chat/completions")
    with groq.Groq(base_url=server.root_url + "/groq", api_key=uuid.uuid4().hex, max_retries=0) as client:
        batch, content = openai_job(client, lines, "/v1/chat/completions")
        assert batch.request_counts.completed == COUNT
        check(content, model="dep")
        assert client.chat.completions.create(**body(0, model="m")).choices[0].message.content


def test_anthropic(server):
    asked = [{"custom_id": f"r{n}", "params": body(n, model="m", max_tokens=99)} for n in range(COUNT)]
    with Anthropic(base_url=server.root_url, api_key=uuid.uuid4().hex, max_retries=0) as client:
        batch = client.messages.batches.create(requests=asked)
        batch = ended(
            lambda: client.messages.batches.retrieve(batch.id), lambda seen: seen.processing_status == "ended"
        )
        assert batch.request_counts.succeeded == COUNT
        results = list(client.messages.batches.results(batch.id))
    assert {result.custom_id for result in results} == IDS
    assert all(
        result.result.message.content[0].text.endswith(f"question {result.custom_id[1:]}.") for result in results
    )


@pytest.mark.parametrize("version", [None, "v1", "v1beta"], ids=str)
@pytest.mark.parametrize("source", ["file", "inline"])
def test_google(server, version, source):
    options = {"base_url": server.root_url, **({"api_version": version} if version else {})}
    client = genai.Client(api_key=uuid.uuid4().hex, http_options=options)
    asked = [{"contents": [{"role": "user", "parts": [{"text": f"question {n}."}]}]} for n in range(COUNT)]
    if source == "file":
        lines = jsonl({"key": f"r{n}", "request": each} for n, each in enumerate(asked))
        file = client.files.upload(file=io.BytesIO(lines), config={"mime_type": "application/jsonl"})
        job = client.batches.create(model="gemini-2.5-flash", src=file.name, config={"display_name": "fifty"})
    else:
        job = client.batches.create(model="gemini-2.5-flash", src=asked)
    job = ended(lambda: client.batches.get(name=job.name), lambda seen: seen.done)
    assert job.state == "JOB_STATE_SUCCEEDED"
    if source == "file":
        found = [json.loads(line) for line in client.files.download(file=job.dest.file_name).splitlines()]
        assert {line["key"] for line in found} == IDS
    else:
        texts = [each.response.text for each in job.dest.inlined_responses]
        assert [text.rpartition(" ")[2] for text in texts] == [f"{n}." for n in range(COUNT)]
    assert [each.name for each in client.batches.list()] == [job.name]
    client.close()


def test_what_gemini_does_not_have_is_told_in_its_shape(server):
    client = genai.Client(api_key="k", http_options={"base_url": server.root_url})
    with pytest.raises(ClientError) as raised:
        client.batches.get(name="batches/none")
    assert (raised.value.code, raised.value.status) == (404, "NOT_FOUND")
    client.close()
    headers = {"x-goog-api-key": "k"}
    for path in ("/v1beta/nothing", "/v1/nothing"):
        said = httpx.get(server.root_url + path, headers=headers)
        assert (said.status_code, said.json()["error"]["status"]) == (404, "NOT_FOUND")
    said = httpx.get(server.root_url + "/v1/nothing", headers={"anthropic-version": "2023-06-01"}).json()
    assert said["error"]["type"] == "not_found_error"


def test_together(server, tmp_path):
    together = pytest.importorskip("together", reason="the package together is not installed")
    path = tmp_path / "input.jsonl"
    path.write_bytes(jsonl({"custom_id": f"r{n}", "body": body(n, model="m")} for n in range(COUNT)))
    with together.Together(base_url=server.root_url + "/together", api_key=uuid.uuid4().hex, max_retries=0) as client:
        file = client.files.upload(file=path, purpose="batch-api")
        assert (file.bytes, file.filename, file.purpose) == (path.stat().st_size, "input.jsonl", "batch-api")
        job = client.batches.create(input_file_id=file.id, endpoint="/v1/chat/completions").job
        job = ended(lambda: client.batches.retrieve(job.id), lambda seen: seen.status == "COMPLETED")
        check(client.files.content(job.output_file_id).read(), model="m")
        assert [each.id for each in client.batches.list()] == [job.id]
        assert {each.id for each in client.files.list().data} == {file.id, job.output_file_id}
        assert client.chat.completions.create(**body(0, model="m")).choices[0].message.content
        assert client.files.delete(file.id).deleted


@pytest.fixture
def mistral(server):
    client = pytest.importorskip("mistralai.client", reason="the package mistralai is not installed")
    with client.Mistral(api_key=uuid.uuid4().hex, server_url=server.root_url + "/mistral") as opened:
        yield opened


def mistral_end(mistral, job, **options):
    jobs = mistral.batch.jobs
    return ended(lambda: jobs.get(job_id=job.id, **options), lambda seen: seen.status not in ("QUEUED", "RUNNING"))


def test_mistral(mistral):
    content = jsonl({"custom_id": f"r{n}", "body": body(n)} for n in range(COUNT))
    file = mistral.files.upload(file={"file_name": "input.jsonl", "content": content}, purpose="batch")
    assert (file.sample_type, file.source, file.size_bytes) == ("batch_request", "upload", len(content))
    job = mistral.batch.jobs.create(
        input_files=[file.id], model="mistral-small-latest", endpoint="/v1/chat/completions", metadata={"team": "a"}
    )
    job = mistral_end(mistral, job)
    assert (job.status, job.succeeded_requests, job.model) == ("SUCCESS", COUNT, "mistral-small-latest")
    check(mistral.files.download(file_id=job.output_file).read(), model="mistral-small-latest")
    output = mistral.files.retrieve(file_id=job.output_file)
    assert (output.sample_type, output.source, output.deleted) == ("batch_result", "mistral", False)
    assert {each.id for each in mistral.files.list().data} == {file.id, job.output_file}
    assert mistral.chat.complete(**body(0, model="m")).choices[0].message.content


def test_mistral_with_inline_requests(mistral):
    asked = [{"custom_id": f"r{n}", "body": body(n)} for n in range(COUNT)]
    job = mistral.batch.jobs.create(requests=asked, model="m", endpoint="/v1/chat/completions")
    assert job.input_files == []
    job = mistral_end(mistral, job, inline=True)
    check("\n".join(map(json.dumps, job.outputs)), model="m")


def test_mistral_lists_what_is_asked_for(mistral):
    jobs, made = mistral.batch.jobs, []
    for model, metadata in (("a", {}), ("b", {"team": "x"}), ("b", {"team": "y"})):
        asked = [{"body": body(0)}]
        job = jobs.create(requests=asked, model=model, endpoint="/v1/chat/completions", metadata=metadata)
        made.append(mistral_end(mistral, job).id)

    def listed(**options):
        return [each.id for each in jobs.list(**options).data]

    assert listed() == made[::-1]
    assert listed(order_by="created") == made
    assert listed(model="a") == made[:1]
    assert listed(metadata={"team": "y"}) == made[2:]
    assert listed(page=1, page_size=2) == made[:1]
    assert listed(status=["SUCCESS", "FAILED"]) == made[::-1]
    assert listed(status=["RUNNING"]) == []
    assert jobs.list(page_size=1).total == 3
    assert jobs.delete(job_id=made[0]).deleted
    assert listed() == made[:0:-1]
