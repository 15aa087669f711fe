"""Lines of results that were damaged on their way: no reader raises, and no neighbour is touched.

`BATCH_BRIDGE_FUZZ=100000` is the whole of it; by default a seeded sample is read.
"""

import json
import os
import random
from collections import Counter
from contextlib import asynccontextmanager
from types import SimpleNamespace

import orjson
import pytest
from json_values import same
from langgraph.store.memory import InMemoryStore

from batch_bridge._core import outcomes as _outcome
from batch_bridge._core.models import Ended, Errored, SubmittedBatch, Succeeded
from batch_bridge._engine.settlement.outcome_writer import settle
from batch_bridge._ledger.ledger import Ledger
from batch_bridge.errors import LedgerError
from batch_bridge.providers._shared.http.response_limits import ResponseLimits
from batch_bridge.providers.anthropic import _download as _anthropic_download
from batch_bridge.providers.anthropic._download import AnthropicUsageTotal
from batch_bridge.providers.anthropic._handle import write_custom_id
from batch_bridge.providers.gemini import _download as _gemini_download
from batch_bridge.providers.gemini._result import GeminiUsageTotal as GeminiBill
from batch_bridge.providers.openai import _download as _openai_download

LINES = int(os.environ.get("BATCH_BRIDGE_FUZZ", "1500"))
"""Damaged lines in all, over the vendors and the kinds of items."""
IN_A_FILE = 20
MISSING = Errored("not named", code="missing_result", retryable=True)
TOKENS = (
    *(b"NaN", b"Infinity", b"-Infinity", b"null", b"true", b"{}", b"[]", b'""', b"1e999", b"9" * 25, b"-" + b"8" * 20),
    *(
        b"\xff",
        b"\xed\xa0\x80",
        b"\xc3",
        b"\x00",
        b"\x01",
        b"\n",
        b"\r",
        b"\t",
        b'"',
        b"\\",
        rb"\u",
        rb"\ud800",
        rb"\x",
    ),
    *(
        b"{",
        b"}",
        b"[",
        b"]",
        b",",
        b":",
        b"[" * 300,
        b"]" * 300,
        b'{"a":' * 1_500,
        b'"error":{"error":',
        b"\xef\xbb\xbf",
    ),
    *(
        b'"status_code":"200"',
        b'"status_code":200.0',
        b'"error":"text",',
        b'"body":null',
        b'"custom_id":7',
        b'"key":"x"',
    ),
)


def damaged(draws, line):
    """A line after one to four accidents."""
    data = bytearray(line)
    for _ in range(draws.choice((1, 1, 1, 2, 4))):
        at = draws.randrange(len(data) + 1)
        to = min(len(data), at + draws.choice((1, 1, 2, 8, 40)))
        match draws.randrange(7):
            case 0 if data:
                data[at - 1] ^= 1 << draws.randrange(8)
            case 1:
                del data[at:to]
            case 2:
                data[at:at] = draws.choice(TOKENS)
            case 3:
                data[at:to] = draws.choice(TOKENS)
            case 4:
                data[at:at] = data[at:to]
            case 5:
                del data[at:]
            case _:
                data[at:to] = draws.randbytes(to - at)
    return bytes(data)


# -- real lines ----------------------------------------------------------------------------------------------------------


def openai_lines(request_id, draws, *, message):
    name = f"{request_id}-m" if message else request_id
    usage = {"prompt_tokens": 9, "completion_tokens": 12, "total_tokens": 21}
    call = {
        "id": "call_1",
        "type": "function",
        "function": {"name": "f", "arguments": '{"wei": 115792089237316195423}'},
    }
    said = {"role": "assistant", "content": "Grüße, ✓ \ud83d\ude00", "refusal": None, "tool_calls": [call]}
    choice = {"index": 0, "message": said, "logprobs": None, "finish_reason": "stop"}
    chat = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]}
    output = {"type": "message", "id": "msg_1", "content": [{"type": "output_text", "text": "Hi", "annotations": []}]}
    response = {"id": "resp_1", "object": "response", "model": "m", "status": "completed", "output": [output]}
    body = draws.choice([{**chat, "usage": usage}, response])
    answer = {"status_code": 200, "request_id": "req_1", "body": body}
    return {"id": "batch_req_1", "custom_id": name, "response": answer, "error": None}


def anthropic_lines(request_id, draws, *, message):
    use = {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"wei": 115792089237316195423, "deep": [[[1]]]}}
    content = [{"type": "text", "text": "Grüße, ✓"}, use]
    usage = {"input_tokens": 1, "output_tokens": 2}
    said = {"id": "msg_1", "type": "message", "role": "assistant", "model": "c", "content": content, "usage": usage}
    error = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}, "request_id": "req_1"}
    good = {"type": "succeeded", "message": said}
    return {
        "custom_id": write_custom_id(request_id, "0" * 24, wants_message=message),
        "result": good if message else draws.choice([good, good, {"type": "errored", "error": error}]),
    }


def gemini_lines(request_id, draws, *, message):
    parts = [{"text": "Grüße, ✓"}, {"functionCall": {"name": "f", "args": {"wei": 115792089237316195423}}}]
    response = {
        "candidates": [{"content": {"role": "model", "parts": parts}, "finishReason": "STOP"}],
        "usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": 4},
    }
    key = f"{request_id}-m" if message else request_id
    line = {"key": key, "response": response}
    return line if draws.random() < 0.5 else dict(reversed(line.items()))


# -- each vendor's way from bytes to outcomes ------------------------------------------------------------------------------


def chunks(draws, content):
    """The content as a network may cut it."""
    at = 0
    while at < len(content):
        size = draws.choice((1, 7, 100, 5_000))
        yield content[at : at + size]
        at += size


class Stream:
    """A response whose bytes come in chunks."""

    def __init__(self, pieces):
        self._pieces = pieces

    async def iter_bytes(self):
        for piece in self._pieces:
            yield piece

    aiter_bytes = iter_bytes

    async def aclose(self):
        pass


async def openai(content, requests, draws):
    @asynccontextmanager
    async def answered(_):
        yield Stream(chunks(draws, content))

    client = SimpleNamespace(files=SimpleNamespace(with_streaming_response=SimpleNamespace(content=answered)))

    async def call(_, stream, __):
        return await stream(client)

    clients = SimpleNamespace(call=call, limits=ResponseLimits())
    batch = SimpleNamespace(id="batch_1", output_file_id="file_1", error_file_id=None)
    files = await _openai_download.fetch(clients, batch)
    async for pairs in _openai_download.read_outcomes(clients, batch, files, requests):
        for pair in pairs:
            yield pair


async def anthropic(content, requests, draws):
    async def results(_):
        return SimpleNamespace(http_response=Stream(chunks(draws, content)))

    async def call(_, stream, __):
        return await stream(SimpleNamespace(messages=SimpleNamespace(batches=SimpleNamespace(results=results))))

    clients = SimpleNamespace(call=call, limits=ResponseLimits())
    download = await _anthropic_download.fetch(clients, "msgbatch_1")
    async for pair in _anthropic_download.read_outcomes(
        clients, "msgbatch_1", download, requests, AnthropicUsageTotal("m")
    ):
        yield pair


async def gemini(content, requests, draws):
    async def call(_, download, __):
        async def into(*, file, destination=None):
            if destination is None:
                return content
            await destination.write(content)
            return None

        return await download(SimpleNamespace(aio=SimpleNamespace(files=SimpleNamespace(download=into))))

    job = SimpleNamespace(name="batches/1", inlined=None, responses_file="files/1")
    clients = SimpleNamespace(call=call, limits=ResponseLimits())
    results = await _gemini_download.fetch(clients, "files/1")
    async for pair in _gemini_download.read_outcomes(clients, job, results, requests, GeminiBill("m")):
        yield pair


VENDORS = {
    "openai": (openai, openai_lines),
    "anthropic": (anthropic, anthropic_lines),
    "gemini": (gemini, gemini_lines),
}
WAYS = [(vendor, message) for vendor in VENDORS for message in (False, True)]


def id_of(number):
    return random.Random(f"id {number}").randbytes(16).hex()


def batch_of(requests):
    from datetime import UTC, datetime

    return SubmittedBatch("bb-1", tuple(requests), "g", datetime(2026, 1, 1, tzinfo=UTC), {"id": "batch_1"})


async def settled(outcomes, requests):
    """What each request has ended with, by way of the ledger."""
    ledger = Ledger(InMemoryStore(), ("fuzz",))
    await settle(ledger, batch_of(requests), Ended(outcomes, missing=MISSING), inherited=False)
    return await ledger.outcomes(requests)


@pytest.mark.parametrize(("vendor", "message"), WAYS, ids=[f"{v}-{'message' if m else 'body'}" for v, m in WAYS])
async def test_a_damaged_line_touches_no_neighbour(vendor, message, caplog):
    caplog.set_level("ERROR")
    read, line_of = VENDORS[vendor]
    kinds = Counter()
    requests = [id_of(number) for number in range(2 * IN_A_FILE)]
    for file in range(-(-LINES // IN_A_FILE // len(WAYS))):
        draws = random.Random(f"{vendor} {message} {file}")
        lines = [json.dumps(line_of(each, draws, message=message), ensure_ascii=file % 2 == 0) for each in requests]
        whole = [line.encode(errors="surrogatepass") for line in lines]
        spoilt = [damaged(draws, line) if place % 2 else line for place, line in enumerate(whole)]
        ended = await settled(read(b"\n".join(spoilt), requests, draws), requests)
        assert ended.keys() == set(requests)
        expected = await settled(read(b"\n".join(whole), requests, draws), requests)
        for place, member in enumerate(requests):
            if place % 2 == 0:
                assert isinstance(expected[member], Succeeded) or vendor == "anthropic"
                same_answer = same(_outcome.shown(ended[member]), _outcome.shown(expected[member]))
                assert same_answer, (
                    f"{spoilt[place - 1]!r} and {spoilt[place + 1 :][:1]!r} have touched {whole[place]!r}"
                )
            else:
                kinds[getattr(ended[member], "code", "answered")] += 1
    assert min(kinds["answered"], kinds["unreadable_answer"], kinds["missing_result"]) > 5, (
        kinds
    )  # all happen, and often


async def test_a_line_that_cannot_be_read_is_its_requests_own_error():
    draws = random.Random(0)
    for vendor, (read, line_of) in VENDORS.items():
        requests = [id_of(number) for number in range(3)]
        lines = [json.dumps(line_of(each, random.Random(5), message=True)).encode() for each in requests]
        cut = lines[1][: len(lines[1]) * 2 // 3] if not lines[1].startswith(b'{"response"') else lines[1][40:]
        ended = await settled(read(b"\n".join([lines[0], cut, lines[2]]), requests, draws), requests)
        own = ended[requests[1]]
        assert (own.code, own.retryable, own.body) == ("unreadable_answer", True, cut.strip().decode()[:2_000]), vendor
        good = {requests[0], requests[2]}
        assert {each for each in requests if isinstance(ended[each], Succeeded)} == good


async def test_a_line_that_comes_again_whole_is_the_answer():
    for read, line_of in VENDORS.values():
        member = id_of(1)
        line = json.dumps(line_of(member, random.Random(5), message=True)).encode()
        ended = await settled(read(line[:-9] + b"\n" + line, [member], random.Random(0)), [member])
        assert isinstance(ended[member], Succeeded)


def test_a_damaged_row_of_the_ledger_is_an_outcome_or_a_ledger_error():
    rows = [
        _outcome.to_json(outcome)
        for outcome in (
            Succeeded({"text": "Hi", "wei": 2**80}),
            Succeeded([1, None]),
            Errored("no", "c", 429, retryable=True, body={"wei": 2**80}, provider_request_id="r"),
        )
    ]
    rows[2]["attempts"] = [["bb-1", "expired", "expired", 1.0]]
    for number in range(max(2_000, LINES // 10)):
        draws = random.Random(number)
        try:
            row = json.loads(damaged(draws, json.dumps(draws.choice(rows)).encode()))
        except (ValueError, RecursionError):
            continue
        try:
            outcome = _outcome.from_json(row)
        except LedgerError:
            continue
        assert same(_outcome.shown(_outcome.from_json(_outcome.to_json(outcome))), _outcome.shown(outcome))
        orjson.dumps(_outcome.to_json(outcome))
