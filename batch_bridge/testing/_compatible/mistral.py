"""Mistral's jobs and files.

Source: docs.mistral.ai/studio-api/batch-processing, and the SDK's `BatchJob`, `CreateBatchJobRequest` and
`CreateFileResponse` (github.com/mistralai/client-python).
"""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

import orjson
from starlette.responses import Response

from batch_bridge.testing._batches.batch import ServedBatch
from batch_bridge.testing._batches.batch_calls import creating, is_forgotten, known, listing, retrieving, untrue_status
from batch_bridge.testing._batches.dirt import clean
from batch_bridge.testing._batches.endpoints import CHAT, EMBEDDINGS, MODERATIONS
from batch_bridge.testing._batches.files import File
from batch_bridge.testing._batches.form import MISTRAL_PREFIX
from batch_bridge.testing._compatible.shared import cancelled
from batch_bridge.testing._openai import batch_routes as batches
from batch_bridge.testing._openai import file_routes as files
from batch_bridge.testing._server.errors import WireError, missing
from batch_bridge.testing._server.gate import HTTPCall, answer_json

MAX_INLINE: Final = 10_000
"""Requests in a create call. Source: docs.mistral.ai/studio-api/batch-processing, "inline batching"."""
T = TypeVar("T")
_STATUS: Final = {
    "validating": "QUEUED",
    "in_progress": "RUNNING",
    "finalizing": "RUNNING",
    "completed": "SUCCESS",
    "failed": "FAILED",
    "expired": "TIMEOUT_EXCEEDED",
    "cancelling": "CANCELLATION_REQUESTED",
    "cancelled": "CANCELLED",
}
_SAMPLES: Final = {"output": "batch_result", "error": "batch_error"}
_PAGE: Final = 100
_LONGEST: Final = 168
_QUERY: Final = ("page", "page_size", "model", "agent_id", "created_after", "created_by_me", "status", "order_by")
"""What a listing takes; its SDK sends the pairs of `metadata` beside these, under their own names."""


async def upload(call: HTTPCall) -> Response:
    """`POST /mistral/v1/files`."""
    return answer_json(_file(await files.receive_file(call)))


async def list_files(call: HTTPCall) -> Response:
    """`GET /mistral/v1/files`, by the numbers of pages."""
    query = call.request.query_params
    shown, _ = call.core.context.files.page(
        call.tenant, purpose=query.get("purpose"), after=None, limit=1 << 30, oldest_first=False
    )
    data = [_file(file) for file in _page(shown, query)]
    return answer_json({"object": "list", "data": data, "total": len(shown)})


async def retrieve_file(call: HTTPCall) -> Response:
    """`GET /mistral/v1/files/{file_id}`."""
    return answer_json({**_file(call.core.context.files.get(call.tenant, call.id("file_id"))), "deleted": False})


def _file(file: File) -> dict[str, Any]:
    wire = file.wire()
    if file.purpose != "batch_output":
        return {**wire, "sample_type": "batch_request", "source": "upload"}
    kind = file.filename.removesuffix(".jsonl").rpartition("_")[2]
    return {**wire, "purpose": "batch", "sample_type": _SAMPLES[kind], "source": "mistral"}


async def create(call: HTTPCall) -> Response:
    """`POST /mistral/v1/batch/jobs`, with files or with the requests themselves."""
    given = await call.json()

    async def create() -> Response:
        return answer_json(_wire(call, await _make(call, given)))

    return await creating(call, create)


async def _make(call: HTTPCall, given: Mapping[str, Any]) -> ServedBatch:
    if not given.get("endpoint"):
        raise missing("endpoint")
    hours = given.get("timeout_hours", 24)
    if not isinstance(hours, int) or not 0 < hours <= _LONGEST:
        raise WireError(422, f"timeout_hours: a whole number from 1 to {_LONGEST} is expected.")
    names, requests, model = given.get("input_files"), given.get("requests"), given.get("model")
    if bool(names) == bool(requests):
        raise WireError(422, "Give either input_files or requests.")
    if names and (not isinstance(names, list) or len(names) != 1):
        raise WireError(422, "input_files: this server takes a list of one.")
    endpoints = tuple(MISTRAL_PREFIX + each for each in (CHAT, EMBEDDINGS, MODERATIONS))
    body = {
        "input_file_id": names[0] if names else None,
        "endpoint": f"{MISTRAL_PREFIX}{given['endpoint']}",
        "completion_window": batches.WINDOW,
        "metadata": given.get("metadata"),
    }
    lines = None if names else _lines(requests)
    return await batches.make(
        call, body, endpoints=endpoints, model=model if isinstance(model, str) else None, lines=lines
    )


def _lines(requests: object) -> list[bytes]:
    """Requests that came inside as lines; one without a `custom_id` is known by its place."""
    if not isinstance(requests, list) or len(requests) > MAX_INLINE:
        raise WireError(422, f"requests: a list of at most {MAX_INLINE} is expected.")
    lines = []
    for index, each in enumerate(requests):
        if not isinstance(each, dict) or not isinstance(each.get("body"), dict):
            raise WireError(422, f"requests.{index}.body: an object is expected.")
        line = {"custom_id": each.get("custom_id") or str(index), "body": each["body"]}
        lines.append(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE | orjson.OPT_NON_STR_KEYS))
    return lines


async def list_jobs(call: HTTPCall) -> Response:
    """`GET /mistral/v1/batch/jobs`, by the numbers of pages; filtered by model, status, time and metadata."""
    listing(call)
    query = call.request.query_params
    shown, _ = call.core.context.batches.page(call.tenant, after=None, limit=1 << 30)
    statuses, pairs = query.getlist("status"), {name: query[name] for name in query if name not in _QUERY}
    after = query.get("created_after")
    since = None if after is None else _moment(after)
    shown = [
        batch
        for batch in shown
        if not is_forgotten(call, batch)
        and query.get("model") in (None, batch.model)
        and (not statuses or _STATUS[batch.status] in statuses)
        and (since is None or batch.created_at > since)
        and pairs.items() <= (batch.metadata or {}).items()
    ]
    if query.get("order_by", "-created") == "created":
        shown.reverse()
    data = [_wire(call, batch) for batch in _page(shown, query)]
    return answer_json({"object": "list", "data": data, "total": len(shown)})


def _page(all_of: Sequence[T], query: Mapping[str, str]) -> Sequence[T]:
    try:
        number, size = int(query.get("page", "0")), int(query.get("page_size", str(_PAGE)))
    except ValueError as error:
        raise WireError(422, "page, page_size: whole numbers are expected.") from error
    return all_of[number * size : (number + 1) * size]


def _moment(text: str) -> float:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise WireError(422, f"created_after: {text!r} is no time.") from error
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


async def retrieve(call: HTTPCall) -> Response:
    """`GET /mistral/v1/batch/jobs/{batch_id}`; with `inline=true` its results are inside."""
    batch = await retrieving(call, call.id("batch_id"))
    shown = _wire(call, batch)
    if batch.ended and call.request.query_params.get("inline") == "true":
        shown["outputs"] = await asyncio.to_thread(_results, call, batch)
    return answer_json(shown)


def _results(call: HTTPCall, batch: ServedBatch) -> list[Any]:
    path = call.core.context.files.path(batch.output_file_id)
    lines = path.read_bytes()[: batch.output_bytes].splitlines() if path.exists() else []
    return [orjson.loads(clean(line)) for line in lines]


async def cancel(call: HTTPCall) -> Response:
    """`POST /mistral/v1/batch/jobs/{batch_id}/cancel`."""
    return answer_json(_wire(call, await cancelled(call)))


async def delete(call: HTTPCall) -> Response:
    """`DELETE /mistral/v1/batch/jobs/{batch_id}`; what has not run of it will not."""
    batch = known(call, call.id("batch_id"))
    await call.core.cancel(batch)
    await call.core.context.batches.delete(batch.id)
    return answer_json({"id": batch.id, "object": "batch", "deleted": True})


def _wire(call: HTTPCall, batch: ServedBatch) -> dict[str, Any]:
    wire: dict[str, Any] = batch.wire()
    status = untrue_status(call, batch)
    return {
        "id": batch.id,
        "object": "batch",
        "input_files": [batch.input_file_id] if batch.input_file_id else [],
        "metadata": batch.metadata or {},
        "endpoint": batch.endpoint.removeprefix(MISTRAL_PREFIX),
        "model": batch.model,
        "agent_id": None,
        "output_file": wire["output_file_id"],
        "error_file": wire["error_file_id"],
        "errors": [{"message": each["message"], "count": 1} for each in batch.errors],
        "status": status.upper() if status else _STATUS[batch.status],
        "created_at": int(batch.created_at),
        "total_requests": batch.total,
        "completed_requests": batch.done,
        "succeeded_requests": batch.completed,
        "failed_requests": batch.failed,
        "started_at": wire["in_progress_at"],
        "completed_at": wire["completed_at"],
    }
