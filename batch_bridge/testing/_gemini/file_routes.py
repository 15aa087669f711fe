"""Gemini's files: the resumable upload, and the download of what a batch has written."""

import time
from collections.abc import AsyncIterator
from urllib.parse import urlencode

from starlette.responses import Response, StreamingResponse

from batch_bridge._sqlite.private_files import touch
from batch_bridge.testing._batches.files import File, new_file_id
from batch_bridge.testing._gemini.batch_routes import KEPT_SECONDS, page_size, result_lines
from batch_bridge.testing._gemini.stand_in import field
from batch_bridge.testing._gemini.wire import file_wire, result_line
from batch_bridge.testing._server.errors import WireError, not_found
from batch_bridge.testing._server.gate import HTTPCall, answer_json, drop, fault

MAX_BYTES = 2_000_000_000
"""Source: ai.google.dev/gemini-api/docs/files: a file is at most 2 GB."""
_STATUS = "X-Goog-Upload-Status"


async def start(call: HTTPCall) -> Response:
    """`POST /upload/v1beta/files` with the command `start`: the answer's header says where the bytes go.

    That address is its own credential, as the provider's is: whose file it will be, and its name, stand in it.
    """
    context = call.core.context
    if call.request.headers.get("x-goog-upload-protocol") != "resumable":
        raise WireError(400, "This server takes resumable uploads only.")
    file = field(await call.json(), "file")
    if context.draws.strikes("upload_error"):
        status = context.settings.faults.upload_error_status
        raise fault(status, "this upload failed and nothing was kept")
    query = {
        "upload_id": new_file_id(),
        "upload_protocol": "resumable",
        "owner": call.tenant,
        "name": str(field(file, "displayName") or ""),
    }
    root = str(call.request.base_url).rstrip("/")
    headers = {"X-Goog-Upload-URL": f"{root}/upload/v1beta/files/bytes?{urlencode(query)}", _STATUS: "active"}
    return answer_json({}, headers=headers)


async def receive(call: HTTPCall) -> Response:
    """`POST` of bytes to the address that `start` gave; with the command `finalize` the file is there."""
    files, query, headers = call.core.context.files, call.request.query_params, call.request.headers
    file_id, owner = query.get("upload_id", ""), query.get("owner", "")
    if not file_id.startswith("file-") or not file_id[5:].isalnum() or not owner:
        raise WireError(404, "There is no such upload.")
    part = files.path(f"{file_id}.part")
    touch(part)
    size = int(headers.get("x-goog-upload-offset", "0"))
    if size > part.stat().st_size:
        raise WireError(400, f"The upload has {part.stat().st_size} bytes, and the offset is {size}.")
    with part.open("r+b") as out:
        out.truncate(size)
        out.seek(size)
        async for chunk in call.request.stream():
            size += len(chunk)
            if size > MAX_BYTES:
                raise WireError(413, f"The file is larger than {MAX_BYTES} bytes.")
            out.write(chunk)
    if "finalize" not in headers.get("x-goog-upload-command", ""):
        return answer_json({}, headers={_STATUS: "active"})
    now = time.time()
    part.rename(files.path(file_id))
    file = File(
        id=file_id,
        tenant=owner,
        filename=query.get("name") or file_id,
        purpose="batch",
        bytes=size,
        created_at=now,
        expires_at=now + KEPT_SECONDS,
    )
    await files.add(file)
    return answer_json({"file": _wire(call, file)}, headers={_STATUS: "final"})


async def listing(call: HTTPCall) -> Response:
    """`GET /v1beta/files`; a page token is the id of the last file shown."""
    query = call.request.query_params
    files, more = call.core.context.files.page(
        call.tenant,
        purpose="batch",
        after=query.get("pageToken") or None,
        limit=page_size(query.get("pageSize")),
        oldest_first=False,
    )
    shown = {"files": [_wire(call, file) for file in files]}
    return answer_json({**shown, "nextPageToken": files[-1].id} if more else shown)


async def retrieve(call: HTTPCall) -> Response:
    """`GET /v1beta/files/{file_id}`."""
    return answer_json(_wire(call, call.core.context.files.get(call.tenant, call.id("file_id"))))


async def delete(call: HTTPCall) -> Response:
    """`DELETE /v1beta/files/{file_id}`."""
    await call.core.context.files.delete(call.tenant, call.id("file_id"))
    return answer_json({})


async def download(call: HTTPCall) -> Response:
    """`GET /v1beta/files/{file_id}:download`: what a batch has written; what was uploaded cannot be downloaded."""
    context = call.core.context
    file = context.files.get(call.tenant, call.id("file_id"))
    if file.purpose != "batch_output":
        raise WireError(400, f"Only generated files can be downloaded, and files/{file.id} was uploaded.")
    batch = context.batches.get(call.tenant, file.filename.rpartition("_")[0])
    if context.draws.hits("output_missing", file.id):
        context.draws.fired["output_missing"] += 1
        raise not_found("file", file.id)
    lines = (result_line(line) for line in result_lines(call, batch))
    most = batch.completed // 2 if context.draws.strikes("cut_download") else None

    async def stream() -> AsyncIterator[bytes]:
        for number, line in enumerate(lines):
            if number == most:
                await drop(call.request)
            yield line

    return StreamingResponse(stream(), media_type="application/octet-stream")


def _wire(call: HTTPCall, file: File) -> dict[str, object]:
    return file_wire(file, str(call.request.base_url).rstrip("/"))
