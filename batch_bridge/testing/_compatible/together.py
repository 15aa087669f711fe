"""Together's batches and files, which its SDK uploads to an address that it is given.

Source: docs.together.ai/reference/batch-create; the SDK's `UploadManager` (github.com/togethercomputer/together-py).
"""

import time
from typing import Any
from urllib.parse import quote, urlencode

from starlette.responses import Response

from batch_bridge._sqlite.private_files import open_new
from batch_bridge.testing._batches.batch import ServedBatch
from batch_bridge.testing._batches.batch_calls import creating, is_forgotten, listing, retrieving, untrue_status
from batch_bridge.testing._batches.endpoints import CHAT
from batch_bridge.testing._batches.files import KEPT_SECONDS, File, new_file_id
from batch_bridge.testing._batches.form import TOGETHER_PREFIX
from batch_bridge.testing._compatible.shared import cancelled, iso
from batch_bridge.testing._openai import batch_routes as batches
from batch_bridge.testing._openai import file_routes as files
from batch_bridge.testing._server.errors import WireError, missing
from batch_bridge.testing._server.gate import HTTPCall, answer_json

PURPOSE = "batch-api"
_FOUND = 302


async def upload(call: HTTPCall) -> Response:
    """`POST /together/v1/files`: keeps the form's file; without one, says where the file is to be put, as the SDK asks.

    That address is its own credential, as the provider's is: whose file it will be, and its name, stand in it.
    """
    async with files.received(call) as received:
        fields = received.form.fields
        if received.form.filename is not None:
            return answer_json(_file(await files.keep(call, received, call.core.context.settings.limits)))
    for param in ("file_name", "purpose"):
        if not fields.get(param):
            raise missing(param)
    query = urlencode({"owner": call.tenant, "name": fields["file_name"], "purpose": fields["purpose"]})
    root = str(call.request.base_url).rstrip("/")
    headers = {
        "Location": f"{root}{TOGETHER_PREFIX}/upload/{quote(received.file_id)}?{query}",
        "X-Together-File-Id": received.file_id,
    }
    return Response(status_code=_FOUND, headers=headers)


async def put(call: HTTPCall) -> Response:
    """`PUT` of a file's content to the address that `upload` gave; may be repeated."""
    context, query = call.core.context, call.request.query_params
    file_id, owner = call.id("file_id"), query.get("owner", "")
    if not file_id.startswith("file-") or not file_id[5:].isalnum() or not owner:
        raise WireError(404, "There is no such upload.")
    size, part = 0, context.files.path(f"{new_file_id()}.part")
    try:
        with open_new(part) as out:
            async for chunk in call.request.stream():
                size += len(chunk)
                if size > context.settings.limits.max_upload_bytes:
                    raise WireError(413, f"The file is larger than {context.settings.limits.max_upload_bytes} bytes.")
                out.write(chunk)
        is_new = not context.files.path(file_id).exists()
        part.rename(context.files.path(file_id))
    finally:
        part.unlink(missing_ok=True)
    if is_new:
        now, name, purpose = time.time(), query.get("name") or file_id, query.get("purpose", PURPOSE)
        file = File(
            id=file_id,
            tenant=owner,
            filename=name,
            purpose=purpose,
            bytes=size,
            created_at=now,
            expires_at=now + KEPT_SECONDS,
        )
        await context.files.add(file)
    return Response()


async def retrieve_file(call: HTTPCall) -> Response:
    """`GET /together/v1/files/{file_id}`, and `POST …/preprocess`, by which the SDK ends an upload."""
    return answer_json(_file(call.core.context.files.get(call.tenant, call.id("file_id"))))


async def list_files(call: HTTPCall) -> Response:
    """`GET /together/v1/files`: all of them."""
    shown, _ = call.core.context.files.page(call.tenant, purpose=None, after=None, limit=1 << 30, oldest_first=False)
    return answer_json({"data": [_file(file) for file in shown]})


def _file(file: File) -> dict[str, Any]:
    return {**file.wire(), "FileType": "jsonl", "Processed": True, "processing_status": "COMPLETED"}


async def create(call: HTTPCall) -> Response:
    """`POST /together/v1/batches`: the answer holds the job, and a warning."""
    body = {"completion_window": "24h", **await call.json(max_bytes=batches.MAX_BODY_BYTES)}

    async def create() -> Response:
        named = {**body, "endpoint": f"{TOGETHER_PREFIX}{body.get('endpoint')}"}
        model = body.get("model_id")
        batch = await batches.make(
            call,
            named,
            endpoints=(TOGETHER_PREFIX + CHAT,),
            purpose=PURPOSE,
            model=model if isinstance(model, str) else None,
        )
        return answer_json({"job": _wire(call, batch), "warning": ""})

    return await creating(call, create)


async def list_batches(call: HTTPCall) -> Response:
    """`GET /together/v1/batches`: all of them, as a bare list."""
    listing(call)
    shown, _ = call.core.context.batches.page(call.tenant, after=None, limit=1 << 30)
    return answer_json([_wire(call, batch) for batch in shown if not is_forgotten(call, batch)])


async def retrieve(call: HTTPCall) -> Response:
    """`GET /together/v1/batches/{batch_id}`."""
    return answer_json(_wire(call, await retrieving(call, call.id("batch_id"))))


async def cancel(call: HTTPCall) -> Response:
    """`POST /together/v1/batches/{batch_id}/cancel`."""
    return answer_json(_wire(call, await cancelled(call)))


def _wire(call: HTTPCall, batch: ServedBatch) -> dict[str, Any]:
    wire: dict[str, Any] = batch.wire()
    status = untrue_status(call, batch) or {"cancelling": "canceling"}.get(batch.status, batch.status)
    return {
        "id": batch.id,
        "input_file_id": batch.input_file_id,
        "status": status.upper(),
        "job_deadline": iso(batch.expires_at),
        "created_at": iso(batch.created_at),
        "endpoint": batch.endpoint.removeprefix(TOGETHER_PREFIX),
        "progress": 100.0 * batch.done / batch.total if batch.total else 0.0,
        "model_id": batch.model,
        "output_file_id": wire["output_file_id"],
        "error_file_id": wire["error_file_id"],
        "error": "; ".join(str(each["message"]) for each in batch.errors) or None,
        "completed_at": None if batch.completed_at is None else iso(batch.completed_at),
    }
