"""Many clients, large batches, and requests that make no sense."""

import asyncio
import json
import socket
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
import sampling
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_server_kit import CHAT, chats, client_of, ran, rows, submit, upload

from batch_bridge.testing import BatchServer


def rss(pid, kind):
    for row in Path(f"/proc/{pid}/status").read_text().splitlines():
        if row.startswith(kind):
            return int(row.split()[1]) / 1024
    raise AssertionError(kind)


@pytest.fixture(scope="module")
def server():
    with BatchServer() as running:
        yield running


async def test_a_large_batch_needs_little_memory(server, tmp_path):
    """50,000 lines of 1 kB; the bound is far below the 50 MB of the file."""
    path = tmp_path / "large.jsonl"
    padding = "x" * 850
    with path.open("w") as out:
        for index in range(50_000):
            body = {"model": "m", "messages": [{"role": "user", "content": f"{index} {padding}"}]}
            out.write(json.dumps({"custom_id": f"r{index}", "method": "POST", "url": CHAT, "body": body}) + "\n")
    before = rss(server.pid, "VmRSS")
    async with client_of(server) as client:
        with path.open("rb") as source:
            file_id = (await client.files.create(file=source, purpose="batch")).id
        batch = await ran(client, b"", input_file_id=file_id)
        assert batch.request_counts.completed == 50_000
        count = 0
        async with client.files.with_streaming_response.content(batch.output_file_id) as response:
            async for _ in response.iter_lines():
                count += 1
    assert count == 50_000
    assert rss(server.pid, "VmHWM") - before < 40


async def test_many_clients_at_once(server):
    many = sampling.many(200, 50)

    async def one(client, index):
        batch = await ran(client.with_options(api_key=f"key-{index}"), chats(3, f"c{index}-"), within=30)
        mine = client.with_options(api_key=f"key-{index}")
        return batch.status, {row["custom_id"] for row in await rows(mine, batch.output_file_id)}

    async with client_of(server) as client:
        results = await asyncio.gather(*(one(client, index) for index in range(many)))
    assert results == [("completed", {f"c{index}-{n}" for n in range(3)}) for index in range(many)]


PATHS = [
    "/",
    "/files",
    "/batches",
    "/batches/x",
    "/batches/x/cancel",
    "/files/x/content",
    "/chat/completions",
]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=8,
)
NAMES = st.sampled_from(["input_file_id", "endpoint", "completion_window", "metadata", "model", "messages", "input"])
BODIES = st.one_of(
    st.binary(max_size=60),
    JSON.map(lambda value: json.dumps(value).encode()),
    st.dictionaries(NAMES, JSON).map(lambda value: json.dumps(value).encode()),
)
FUZZ = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@given(
    method=st.sampled_from(["GET", "POST", "DELETE", "PUT", "HEAD"]),
    path=st.sampled_from(PATHS),
    query=st.dictionaries(st.sampled_from(["limit", "after", "order", "purpose"]), st.text(max_size=8)),
    kind=st.sampled_from(["application/json", "multipart/form-data; boundary=b", "multipart/form-data", "x"]),
    body=BODIES,
)
@FUZZ
def test_requests_without_sense_get_an_error(server, *, method, path, query, kind, body):
    headers = {"authorization": "Bearer fuzz", "content-type": kind}
    answer = httpx.request(method, server.base_url + path, params=query, content=body, headers=headers)
    assert answer.status_code < 500
    if answer.is_error and method != "HEAD":
        assert set(answer.json()["error"]) == {"message", "type", "param", "code"}


@given(st.lists(st.binary(max_size=40), max_size=4))
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_forms_without_sense_are_refused(server, pieces):
    body = b"--b\r\n" + b"\r\n--b\r\n".join(
        b'Content-Disposition: form-data; name="' + piece[:9] + b'"\r\n\r\n' + piece for piece in pieces
    )
    headers = {"authorization": "Bearer fuzz", "content-type": "multipart/form-data; boundary=b"}
    answer = httpx.post(server.base_url + "/files", content=body + b"\r\n--b--\r\n", headers=headers)
    assert answer.status_code == 400


@given(st.binary(max_size=200))
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_bytes_that_are_no_http_do_not_end_it(server, data):
    where = urlsplit(server.base_url)
    with socket.create_connection((where.hostname, where.port), timeout=60) as connection:
        connection.sendall(b"POST /v1/files HTTP/1.1\r\n" + data)
    assert server.stats.batches >= 0


@given(st.lists(BODIES.filter(lambda raw: raw.strip()), min_size=1, max_size=5))
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_input_files_without_sense_fail_their_batch_only(server, lines):
    async def run():
        async with client_of(server) as client:
            batch = await ran(client, b"\n".join(lines))
            assert batch.status == "failed"
            assert batch.errors.data[0].code != "server_error"

    asyncio.run(run())


async def test_an_upload_that_breaks_off_leaves_nothing(server):
    where = urlsplit(server.base_url)
    head = (
        b"POST /v1/files HTTP/1.1\r\nhost: x\r\nauthorization: Bearer broken\r\ncontent-length: 1000000\r\n"
        b"content-type: multipart/form-data; boundary=b\r\n\r\n--b\r\n"
        b'content-disposition: form-data; name="file"; filename="f"\r\n\r\nabc'
    )
    with socket.create_connection((where.hostname, where.port), timeout=60) as connection:
        connection.sendall(head)
    async with client_of(server, "broken") as client:
        assert [each async for each in client.files.list()] == []
        assert (await submit(client, chats(1))).status == "validating"
        assert await upload(client, b"x")
