"""The Files API."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from starlette.responses import FileResponse, Response, StreamingResponse

from batch_bridge.testing._batches.files import KEPT_SECONDS, PURPOSES, File, new_file_id
from batch_bridge.testing._server.errors import WireError, invalid, missing, not_found
from batch_bridge.testing._server.gate import HTTPCall, answer_json, drop, fault
from batch_bridge.testing._server.switches.limits import Limits
from batch_bridge.testing._server.upload import MultipartUpload, receive

MAX_PAGE = 10_000


async def upload(call: HTTPCall) -> Response:
    """`POST /v1/files`."""
    return answer_json((await receive_file(call)).wire())


async def receive_file(call: HTTPCall, *, least_life: int | None = None, most_life: int | None = None) -> File:
    """Take a file in.

    Args:
        call: The upload.
        least_life: The least seconds that its expiry may be; what the server's limits say without it.
        most_life: The most.

    Raises:
        WireError: It is not taken; nothing was kept.
    """
    lives = {"min_expires_after": least_life, "max_expires_after": most_life}
    limits = call.core.context.settings.limits
    limits = replace(limits, **{name: life for name, life in lives.items() if life is not None})
    async with received(call) as upload:
        return await keep(call, upload, limits)


@dataclass(frozen=True, slots=True)
class Upload:
    """A form that has arrived.

    Attributes:
        file_id: The id that its file is to have.
        part: Where its content lies.
        form: The form.
    """

    file_id: str
    part: Path
    form: MultipartUpload


@asynccontextmanager
async def received(call: HTTPCall) -> AsyncIterator[Upload]:
    """Receive the form of an upload; what is not kept of it is gone at the end.

    Raises:
        WireError: It cannot be read, or a fault hit.
    """
    files, settings = call.core.context.files, call.core.context.settings
    if call.core.context.draws.strikes("upload_error"):
        raise fault(settings.faults.upload_error_status, "this upload failed and nothing was kept")
    file_id = new_file_id()
    part = files.path(f"{file_id}.part")
    content_type, most = call.request.headers.get("content-type"), settings.limits.max_upload_bytes
    try:
        yield Upload(file_id, part, await receive(content_type, call.request.stream(), part, max_bytes=most))
    finally:
        part.unlink(missing_ok=True)


async def keep(call: HTTPCall, upload: Upload, limits: Limits) -> File:
    """Keep the file of a form.

    Raises:
        WireError: The form is not as it must be.
    """
    files = call.core.context.files
    file = _checked(call.tenant, upload.file_id, upload.form, limits)
    upload.part.rename(files.path(file.id))
    await files.add(file)
    return file


def _checked(tenant: str, file_id: str, form: MultipartUpload, limits: Limits) -> File:
    if form.filename is None:
        raise missing("file")
    purpose = form.fields.get("purpose")
    if purpose is None:
        raise missing("purpose")
    if purpose not in PURPOSES:
        raise invalid("purpose", f"'{purpose}' is not one of {', '.join(PURPOSES)}.")
    now = time.time()
    expires = float(KEPT_SECONDS) if purpose in ("batch", "batch-api") else None
    if "expires_after[seconds]" in form.fields or "expires_after[anchor]" in form.fields:
        seconds = form.fields.get("expires_after[seconds]", "")
        whole = int(seconds) if seconds.isascii() and seconds.isdigit() and len(seconds) < 16 else None  # noqa: PLR2004
        expires = expiry(form.fields.get("expires_after[anchor]"), whole, limits, "expires_after")
    return File(
        id=file_id,
        tenant=tenant,
        filename=form.filename,
        purpose=purpose,
        bytes=form.size,
        created_at=now,
        expires_at=None if expires is None else now + expires,
    )


def expiry(anchor: object, seconds: object, limits: Limits, param: str) -> int:
    """The seconds of an `expires_after`, checked."""
    if anchor != "created_at":
        raise invalid(f"{param}.anchor", "the only anchor is 'created_at'.")
    least, most = limits.min_expires_after, limits.max_expires_after
    if not isinstance(seconds, int) or isinstance(seconds, bool) or not least <= seconds <= most:
        raise invalid(f"{param}.seconds", f"a whole number from {least} to {most} is expected.")
    return seconds


async def listing(call: HTTPCall) -> Response:
    """`GET /v1/files`."""
    query = call.request.query_params
    order = query.get("order", "desc")
    if order not in ("asc", "desc"):
        raise invalid("order", "'asc' or 'desc' is expected.")
    files, more = call.core.context.files.page(
        call.tenant,
        purpose=query.get("purpose"),
        after=query.get("after"),
        limit=page_size(query.get("limit"), MAX_PAGE, default=MAX_PAGE),
        oldest_first=order == "asc",
    )
    return answer_json(page([file.wire() for file in files], more))


def page(data: list[dict[str, object]], more: bool) -> dict[str, object]:  # noqa: FBT001
    """One page of a list, as the API shows it."""
    first, last = (data[0]["id"], data[-1]["id"]) if data else (None, None)
    return {"object": "list", "data": data, "first_id": first, "last_id": last, "has_more": more}


def page_size(limit: str | None, most: int, *, default: int) -> int:
    """The size of a page, as the client asks for it."""
    if limit is None:
        return default
    if not (limit.isascii() and limit.isdigit() and len(limit) < 9 and 1 <= int(limit) <= most):  # noqa: PLR2004
        raise invalid("limit", f"a whole number from 1 to {most} is expected.")
    return int(limit)


async def retrieve(call: HTTPCall) -> Response:
    """`GET /v1/files/{file_id}`."""
    return answer_json(call.core.context.files.get(call.tenant, call.id("file_id")).wire())


async def delete(call: HTTPCall) -> Response:
    """`DELETE /v1/files/{file_id}`."""
    file_id = call.id("file_id")
    await call.core.context.files.delete(call.tenant, file_id)
    return answer_json({"id": file_id, "object": "file", "deleted": True})


async def content(call: HTTPCall) -> Response:
    """`GET /v1/files/{file_id}/content`."""
    context = call.core.context
    file = context.files.get(call.tenant, call.id("file_id"))
    path = context.files.path(file.id)
    is_output = file.purpose == "batch_output" and file.filename.endswith("_output.jsonl")
    if is_output and context.draws.hits("output_missing", file.id):
        context.draws.fired["output_missing"] += 1
        raise not_found("file", file.id)
    if not path.exists():
        raise WireError(404, f"The content of {file.id} is gone.", code="not_found")
    if context.draws.strikes("cut_download"):
        return StreamingResponse(
            _cut(call, path, file.bytes // 2),
            media_type="application/octet-stream",
            headers={"content-length": str(file.bytes)},
        )
    return FileResponse(path, media_type="application/octet-stream")


async def _cut(call: HTTPCall, path: Path, size: int) -> AsyncIterator[bytes]:
    with path.open("rb") as source:
        while size > 0 and (piece := source.read(min(size, 65_536))):
            size -= len(piece)
            yield piece
    await drop(call.request)
