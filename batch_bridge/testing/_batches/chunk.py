"""A piece of a batch: read from its input, answered, and written as the lines of its output."""

import random
from array import array
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO

import orjson

from batch_bridge._sqlite.private_files import touch
from batch_bridge.testing._answers.answer import Answer, AnswerRequest, refused
from batch_bridge.testing._batches.batch import ServedBatch, usage_of
from batch_bridge.testing._batches.dirt import dirty, marked
from batch_bridge.testing._batches.form import answered_at, form_of
from batch_bridge.testing._server.seeded_random import SeededRandom, draw

CHUNK_LINES = 500
CHUNK_BYTES = 4_000_000
"""A piece is at most so large, however long the lines; this bounds the server's memory."""

_IDENTITY_BYTES = 16
_NEVER_RAN = {
    "batch_expired": "This request could not be executed before the completion window expired.",
    "batch_cancelled": "This request was not executed because the batch was cancelled.",
}


@dataclass(frozen=True, slots=True)
class RequestLine:
    """One request of a batch.

    Attributes:
        custom_id: Its own.
        request: What is asked.
        failure: The answer that a fault gives it in place of a real one.
        unrun: The code that a fault gives it in place of any answer.
    """

    custom_id: str
    request: AnswerRequest
    failure: Answer | None
    unrun: str | None = None


@dataclass(slots=True)
class Chunk:
    """What a piece of a batch has come to.

    Attributes:
        output: Lines for the output file.
        errors: Lines for the error file.
        lines: How many requests ran.
        completed: How many of them succeeded.
        usage: Input, cached, output and reasoning tokens of these.
        paid: Identity, body digest and `custom_id` of these.
        fired: How often each fault hit.
    """

    output: bytearray = field(default_factory=bytearray)
    errors: bytearray = field(default_factory=bytearray)
    lines: int = 0
    completed: int = 0
    usage: list[int] = field(default_factory=lambda: [0, 0, 0, 0])
    paid: list[tuple[bytes, bytes, str]] = field(default_factory=list)
    fired: Counter[str] = field(default_factory=Counter)


def running_order(batch: ServedBatch, total: int) -> "array[int]":
    """The order in which the lines run and are written; the same after a restart."""
    order = array("L", range(total))
    if batch.order_seed is not None:
        random.Random(batch.order_seed).shuffle(order)  # noqa: S311
    return order


def chunk_end(offsets: "array[int]", order: "array[int]", start: int, stop: int) -> int:
    """Where a piece that begins at `start` ends, so that it stays within the bounds above."""
    size, end = 0, start
    for end in range(start, min(stop, start + CHUNK_LINES)):
        size += offsets[2 * order[end] + 1]
        if size > CHUNK_BYTES and end > start:
            return end
    return end + 1


def read_lines(
    source: BinaryIO, offsets: "array[int]", indices: Sequence[int], batch: ServedBatch, draws: SeededRandom
) -> list[RequestLine]:
    """Read and parse some lines of a file that passed validation, and draw which of them fail."""
    lines = []
    form = form_of(batch.endpoint)
    for index in indices:
        source.seek(offsets[2 * index])
        data = form.read(orjson.loads(source.read(offsets[2 * index + 1])), batch.endpoint)
        custom_id: str = data["custom_id"]
        failure = unrun = None
        if draws.hits("line_failure", batch.ordinal, custom_id):
            failure = _failure(draws, batch.ordinal, custom_id)
        elif draws.hits("error_answer", batch.ordinal, custom_id):
            failure = Answer(200, refused(500, "A fault of the test server: an error with status 200.").body)
        elif draws.hits("unrun_line", batch.ordinal, custom_id):
            failure, unrun = Answer(0, None), draws.faults.unrun_line_code
        body = data["body"] if form.addressed or batch.model is None else {"model": batch.model, **data["body"]}
        lines.append(RequestLine(custom_id, AnswerRequest(answered_at(data["url"]), body), failure, unrun))
    return lines


def _failure(draws: SeededRandom, ordinal: int, custom_id: str) -> Answer:
    status = draws.pick_status(ordinal, custom_id)
    code = {400: "invalid_value", 429: "rate_limit_exceeded"}.get(status, "server_error")
    answer = refused(status, f"A fault of the test server: this request failed with {status}.", code=code)
    wraps = status != 0 and draws.hits("wrapped_error", ordinal, custom_id)
    return Answer(status, {"error": answer.body}) if wraps else answer


def write_lines(
    batch: ServedBatch, lines: Sequence[RequestLine], answers: Sequence[Answer], draws: SeededRandom
) -> Chunk:
    """The output of some lines, with the faults that garble it."""
    chunk = Chunk(lines=len(lines))
    later = bytearray()
    for line, answer in zip(lines, answers, strict=True):
        raw = _output_line(batch, line.custom_id, answer)
        if line.failure is not None:
            _write_failure(chunk, batch, line, raw)
            continue
        if not answer.ok:
            chunk.errors += raw
            continue
        chunk.completed += 1
        chunk.paid.append(identities(batch.tenant, line))
        for place, tokens in enumerate(usage_of(answer.body)):
            chunk.usage[place] += tokens
        key = (batch.ordinal, line.custom_id)
        hit = [fault for fault in _LINE_FAULTS if draws.hits(fault, *key)]
        chunk.fired.update(hit)
        if "unknown_line" in hit:
            later += _output_line(batch, f"unknown-{line.custom_id}", answer)
        if "missing_line" in hit:
            continue
        if "dirty_line" in hit:
            raw = dirty(_output_line(batch, line.custom_id, replace(answer, body=marked(answer.body, _which(key)))))
        if "doubled_line" in hit:
            later += raw
        chunk.output += raw[: len(raw) // 2] + b"\n" if "garbled_line" in hit else raw
    chunk.output += later
    return chunk


def _write_failure(chunk: Chunk, batch: ServedBatch, line: RequestLine, raw: bytes) -> None:
    """Write a line that a fault has kept from being asked; an error with a good status is in the output."""
    if line.unrun is not None:
        chunk.fired["unrun_line"] += 1
        chunk.errors += unrun_line(batch, line.custom_id, line.unrun)
    elif line.failure is not None and line.failure.ok:
        chunk.fired["error_answer"] += 1
        chunk.output += raw
    else:
        chunk.fired["line_failure"] += 1
        chunk.errors += raw


_LINE_FAULTS = ("missing_line", "doubled_line", "unknown_line", "garbled_line", "dirty_line")


def _which(key: tuple[int, str]) -> float:
    return draw(0, "dirt", *key)


def identities(tenant: str, line: RequestLine) -> tuple[bytes, bytes, str]:
    """What a paid line is known by: with its `custom_id`, by its body alone, and the `custom_id`."""
    raw = orjson.dumps(line.request.body, option=orjson.OPT_SORT_KEYS)
    body = sha256(f"{tenant}\0{line.request.url}\0".encode() + raw).digest()[:_IDENTITY_BYTES]
    return sha256(body + line.custom_id.encode()).digest()[:_IDENTITY_BYTES], body, line.custom_id


def _output_line(batch: ServedBatch, custom_id: str, answer: Answer) -> bytes:
    name = sha256(f"{batch.id}\0{custom_id}".encode()).hexdigest()
    response = {
        "status_code": answer.status_code,
        "request_id": name[32:] if answer.status_code else "",
        "body": answer.body,
    }
    line = {"id": f"batch_req_{name[:32]}", "custom_id": custom_id, "response": response, "error": None}
    return orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE | orjson.OPT_NON_STR_KEYS)


def unrun_line(batch: ServedBatch, custom_id: str, code: str) -> bytes:
    """The line in the error file of a request that never ran."""
    name = sha256(f"{batch.id}\0{custom_id}".encode()).hexdigest()
    told = f"A fault of the test server: this request never ran ({code})."
    error = {"code": code, "message": _NEVER_RAN.get(code, told)}
    line = {"id": f"batch_req_{name[:32]}", "custom_id": custom_id, "response": None, "error": error}
    return orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE)


def append_at(path: Path, position: int, data: bytes | bytearray) -> int:
    """Write at the committed length, over what a killed process left beyond it; returns the new length."""
    if not data and not path.exists():
        return position
    touch(path)
    with path.open("r+b") as out:
        out.truncate(position)
        out.seek(position)
        out.write(data)
    return position + len(data)
