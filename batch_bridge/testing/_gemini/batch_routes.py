"""Gemini's batches: operations that hold their requests, or name a file of them."""

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
from starlette.responses import Response

from batch_bridge._sqlite.private_files import open_new
from batch_bridge.testing._batches.batch import ServedBatch
from batch_bridge.testing._batches.batch_calls import (
    creating,
    is_forgotten,
    known,
    listing,
    retrieving,
    seeing,
    untrue_status,
)
from batch_bridge.testing._batches.files import File, new_file_id
from batch_bridge.testing._gemini.names import endpoint_of
from batch_bridge.testing._gemini.stand_in import field
from batch_bridge.testing._gemini.wire import INLINE, NAME, batch_wire, inlined
from batch_bridge.testing._server.errors import WireError
from batch_bridge.testing._server.gate import HTTPCall, answer_json, drop

MAX_INLINE_BYTES = 20_000_000
"""Source: ai.google.dev/gemini-api/docs/batch-api, "Inline requests": under 20 MB."""
MAX_PAGE = 100
KEPT_SECONDS = 172_800.0
"""Source: ai.google.dev/gemini-api/docs/files: files are kept for 48 hours."""


async def create(call: HTTPCall) -> Response:
    """`POST /v1beta/models/{model}:batchGenerateContent`."""
    body = await call.json(max_bytes=MAX_INLINE_BYTES)

    async def create() -> Response:
        return answer_json(batch_wire(await _create(call, body)))

    return await creating(call, create)


async def _create(call: HTTPCall, body: dict[str, Any]) -> ServedBatch:
    batch = field(body, "batch")
    config = field(batch, "inputConfig")
    metadata = {NAME: str(field(batch, "displayName") or "")}
    file_name, requests = field(config, "fileName"), field(field(config, "requests"), "requests")
    if isinstance(file_name, str) and requests is None:
        file = call.core.context.files.get(call.tenant, file_name.removeprefix("files/"))
        seeing(call, file_name)
        file_id = file.id
    elif isinstance(requests, list) and requests and file_name is None:
        metadata[INLINE] = "true"
        file_id = await _keep(call, requests)
    else:
        raise WireError(400, "inputConfig must hold either requests or a fileName.", param="batch.inputConfig")
    return await call.core.create(
        call.tenant,
        endpoint=endpoint_of(call.id("model")),
        input_file_id=file_id,
        metadata=metadata,
        output_expires_after=None,
    )


def _write(path: Path, content: bytes) -> None:
    with open_new(path) as out:
        out.write(content)


async def _keep(call: HTTPCall, requests: list[Any]) -> str:
    """Keep requests that came inside as an input file, which no client sees."""
    lines = []
    for index, each in enumerate(requests):
        request = field(each, "request")
        if not isinstance(request, dict):
            raise WireError(400, f"inputConfig.requests.requests[{index}].request is missing.")
        line = {"key": str(index), "request": request, "metadata": field(each, "metadata")}
        key = field(line["metadata"], "key")
        if isinstance(key, str) and key:
            line["key"] = key
        lines.append(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE))
    content = b"".join(lines)
    files, file_id, now = call.core.context.files, new_file_id(), time.time()
    await asyncio.to_thread(_write, files.path(file_id), content)
    await files.add(
        File(
            id=file_id,
            tenant=call.tenant,
            filename="inline",
            purpose="user_data",
            bytes=len(content),
            created_at=now,
            expires_at=now + KEPT_SECONDS,
        )
    )
    return file_id


async def list_batches(call: HTTPCall) -> Response:
    """`GET /v1beta/batches`; a page token is the id of the last batch shown."""
    listing(call)
    query = call.request.query_params
    size = page_size(query.get("pageSize"))
    batches, more = call.core.context.batches.page(call.tenant, after=query.get("pageToken") or None, limit=size)
    shown = [_wire(call, batch) for batch in batches if not is_forgotten(call, batch)]
    return answer_json({"operations": shown, **({"nextPageToken": batches[-1].id} if more else {})})


def page_size(wanted: str | None) -> int:
    """The size of a page; more than the most is the most, as the provider has it."""
    if wanted is None:
        return MAX_PAGE
    if not (wanted.isascii() and wanted.isdigit() and len(wanted) < 9):  # noqa: PLR2004
        raise WireError(400, f"pageSize: {wanted!r} is not a whole number.", param="pageSize")
    return min(max(int(wanted), 1), MAX_PAGE)


async def retrieve(call: HTTPCall) -> Response:
    """`GET /v1beta/batches/{batch_id}`."""
    context = call.core.context
    batch = await retrieving(call, call.id("batch_id"))
    results = None
    if batch.status == "completed" and batch.total and INLINE in (batch.metadata or {}):
        if context.draws.hits("output_missing", batch.output_file_id):
            context.draws.fired["output_missing"] += 1
            results = []
        else:
            results = await asyncio.to_thread(_results, call, batch)
    response = answer_json(_wire(call, batch, results))
    if results and context.draws.strikes("cut_download"):
        return await drop(call.request)
    return response


async def cancel(call: HTTPCall) -> Response:
    """`POST /v1beta/batches/{batch_id}:cancel`; one that has ended stays as it is."""
    await call.core.cancel(known(call, call.id("batch_id")))
    return answer_json({})


async def delete(call: HTTPCall) -> Response:
    """`DELETE /v1beta/batches/{batch_id}`; what has not run of it will not."""
    batch = known(call, call.id("batch_id"))
    await call.core.cancel(batch)
    await call.core.context.batches.delete(batch.id)
    return answer_json({})


def result_lines(call: HTTPCall, batch: ServedBatch) -> Iterator[bytes]:
    """The lines of our own output and error files; an ended batch's."""
    files = call.core.context.files
    for file_id, size in ((batch.output_file_id, batch.output_bytes), (batch.error_file_id, batch.error_bytes)):
        if size and files.path(file_id).exists():
            with files.path(file_id).open("rb") as lines:
                yield from lines


def _results(call: HTTPCall, batch: ServedBatch) -> list[dict[str, Any]]:
    source = call.core.context.files.path(batch.input_file_id)
    asked = [orjson.loads(line) for line in source.read_bytes().splitlines()] if source.exists() else []
    return inlined(result_lines(call, batch), asked)


def _wire(call: HTTPCall, batch: ServedBatch, results: list[Any] | None = None) -> dict[str, Any]:
    status = untrue_status(call, batch)
    if results is None and batch.total and INLINE in (batch.metadata or {}):
        results = []
    return batch_wire(batch, state=status and f"BATCH_STATE_{status.upper()}", inlined=results)
