"""Servers that are like OpenAI's and not quite: Together's, Mistral's and vLLM's router, each under its own address.

Sources: docs.together.ai/reference/batch-create; docs.mistral.ai/capabilities/batch and the SDK's `BatchJobOut`;
github.com/vllm-project/production-stack, vllm_router/routers/batches_router.py.
"""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final

from starlette.responses import Response

from batch_bridge.testing._batches.batch import ServedBatch
from batch_bridge.testing._batches.batch_calls import creating, is_forgotten, known, listing, retrieving, untrue_status
from batch_bridge.testing._batches.endpoints import CHAT, COMPLETIONS, EMBEDDINGS, MODERATIONS
from batch_bridge.testing._batches.form import MISTRAL_PREFIX
from batch_bridge.testing._openai import batch_routes as batches
from batch_bridge.testing._openai import file_routes as files
from batch_bridge.testing._openai.realtime_routes import answer_in_tier
from batch_bridge.testing._server.dialect import OPENAI, Dialect
from batch_bridge.testing._server.errors import WireError, missing
from batch_bridge.testing._server.gate import Handler, HTTPCall, answer_json, fault

TOGETHER: Final[Dialect] = replace(OPENAI, name="together:")
MISTRAL: Final[Dialect] = replace(OPENAI, name="mistral:")
VLLM: Final[Dialect] = replace(OPENAI, name="vllm:")

_MISTRAL_STATUS: Final = {
    "validating": "QUEUED",
    "in_progress": "RUNNING",
    "finalizing": "RUNNING",
    "completed": "SUCCESS",
    "failed": "FAILED",
    "expired": "TIMEOUT_EXCEEDED",
    "cancelling": "CANCELLATION_REQUESTED",
    "cancelled": "CANCELLED",
}
_VLLM_STATUS: Final = {"validating": "pending", "in_progress": "running", "finalizing": "running"}
_PAGE, _LONGEST = 100, 168


async def ask(call: HTTPCall) -> Response:
    """`POST` to an endpoint, with the same answers as in batches."""
    context = call.core.context
    body = await call.json()
    if context.draws.strikes("realtime_error"):
        raise fault(context.settings.faults.realtime_error_status, "this request failed")
    return await answer_in_tier(call, body, f"/v1/{call.id('rest')}")


async def create_together(call: HTTPCall) -> Response:
    """`POST /together/v1/batches`: the answer holds the job, and a warning."""
    body = {"completion_window": "24h", **await call.json(max_bytes=batches.MAX_BODY_BYTES)}

    async def create() -> Response:
        batch = await batches.make(call, body, endpoints=(CHAT, COMPLETIONS), purpose="batch-api")
        return answer_json({"job": _together(call, batch), "warning": ""})

    return await creating(call, create)


async def list_together(call: HTTPCall) -> Response:
    """`GET /together/v1/batches`: all of them, as a bare list."""
    listing(call)
    shown, _ = call.core.context.batches.page(call.tenant, after=None, limit=1 << 30)
    return answer_json([_together(call, batch) for batch in shown if not is_forgotten(call, batch)])


async def retrieve_together(call: HTTPCall) -> Response:
    """`GET /together/v1/batches/{batch_id}`."""
    return answer_json(_together(call, await retrieving(call, call.id("batch_id"))))


async def cancel_together(call: HTTPCall) -> Response:
    """`POST /together/v1/batches/{batch_id}/cancel`."""
    return answer_json(_together(call, await _cancel(call)))


def _together(call: HTTPCall, batch: ServedBatch) -> dict[str, Any]:
    wire: dict[str, Any] = batch.wire()
    status = untrue_status(call, batch) or {"cancelling": "canceling"}.get(batch.status, batch.status)
    return {
        "id": batch.id,
        "input_file_id": batch.input_file_id,
        "status": status.upper(),
        "job_deadline": _iso(batch.expires_at),
        "created_at": _iso(batch.created_at),
        "endpoint": batch.endpoint,
        "progress": 100.0 * batch.done / batch.total if batch.total else 0.0,
        "model_id": batch.model,
        "output_file_id": wire["output_file_id"],
        "error_file_id": wire["error_file_id"],
        "error": "; ".join(str(each["message"]) for each in batch.errors) or None,
        "completed_at": None if batch.completed_at is None else _iso(batch.completed_at),
    }


async def create_mistral(call: HTTPCall) -> Response:
    """`POST /mistral/v1/batch/jobs`."""
    given = await call.json(max_bytes=batches.MAX_BODY_BYTES)

    async def create() -> Response:
        return answer_json(_mistral(call, await _make_mistral(call, given)))

    return await creating(call, create)


async def _make_mistral(call: HTTPCall, given: dict[str, Any]) -> ServedBatch:
    for param in ("input_files", "endpoint", "model"):
        if not given.get(param):
            raise missing(param)
    hours = given.get("timeout_hours", 24)
    if not isinstance(hours, int) or not 0 < hours <= _LONGEST:
        raise WireError(422, f"timeout_hours: a whole number from 1 to {_LONGEST} is expected.")
    if not isinstance(given["input_files"], list) or len(given["input_files"]) != 1:
        raise WireError(422, "input_files: this server takes a list of one.")
    body = {
        "input_file_id": given["input_files"][0],
        "endpoint": f"{MISTRAL_PREFIX}{given['endpoint']}",
        "completion_window": batches.WINDOW,
        "metadata": given.get("metadata"),
    }
    endpoints = tuple(MISTRAL_PREFIX + each for each in (CHAT, EMBEDDINGS, MODERATIONS))
    return await batches.make(call, body, endpoints=endpoints)


async def list_mistral(call: HTTPCall) -> Response:
    """`GET /mistral/v1/batch/jobs`, by the numbers of pages."""
    listing(call)
    query = call.request.query_params
    number, size = int(query.get("page", "0")), int(query.get("page_size", str(_PAGE)))
    shown, _ = call.core.context.batches.page(call.tenant, after=None, limit=1 << 30)
    if query.get("order_by", "-created") == "created":
        shown.reverse()
    part = [batch for batch in shown[number * size : (number + 1) * size] if not is_forgotten(call, batch)]
    return answer_json({"object": "list", "data": [_mistral(call, batch) for batch in part], "total": len(shown)})


async def retrieve_mistral(call: HTTPCall) -> Response:
    """`GET /mistral/v1/batch/jobs/{batch_id}`."""
    return answer_json(_mistral(call, await retrieving(call, call.id("batch_id"))))


async def cancel_mistral(call: HTTPCall) -> Response:
    """`POST /mistral/v1/batch/jobs/{batch_id}/cancel`."""
    return answer_json(_mistral(call, await _cancel(call)))


def _mistral(call: HTTPCall, batch: ServedBatch) -> dict[str, Any]:
    wire: dict[str, Any] = batch.wire()
    status = untrue_status(call, batch)
    return {
        "id": batch.id,
        "object": "batch",
        "input_files": [batch.input_file_id],
        "metadata": batch.metadata or {},
        "endpoint": batch.endpoint.removeprefix(MISTRAL_PREFIX),
        "model": batch.model,
        "output_file": wire["output_file_id"],
        "error_file": wire["error_file_id"],
        "errors": [{"message": each["message"], "count": 1} for each in batch.errors],
        "status": status.upper() if status else _MISTRAL_STATUS[batch.status],
        "created_at": int(batch.created_at),
        "total_requests": batch.total,
        "completed_requests": batch.done,
        "succeeded_requests": batch.completed,
        "failed_requests": batch.failed,
        "started_at": wire["in_progress_at"],
        "completed_at": wire["completed_at"],
    }


async def create_vllm(call: HTTPCall) -> Response:
    """`POST /vllm/v1/batches`."""
    body = {"completion_window": batches.WINDOW, **await call.json(max_bytes=batches.MAX_BODY_BYTES)}

    async def create() -> Response:
        return answer_json(_vllm(call, await batches.make(call, body, endpoints=(CHAT, EMBEDDINGS, COMPLETIONS))))

    return await creating(call, create)


async def list_vllm(call: HTTPCall) -> Response:
    """`GET /vllm/v1/batches`."""
    listing(call)
    query = call.request.query_params
    size = files.page_size(query.get("limit"), batches.MAX_PAGE, default=20)
    shown, more = call.core.context.batches.page(call.tenant, after=query.get("after"), limit=size)
    data = [_vllm(call, batch) for batch in shown if not is_forgotten(call, batch)]
    return answer_json(files.page(data, more))


async def retrieve_vllm(call: HTTPCall) -> Response:
    """`GET /vllm/v1/batches/{batch_id}`."""
    return answer_json(_vllm(call, await retrieving(call, call.id("batch_id"))))


async def cancel_vllm(call: HTTPCall) -> Response:
    """`DELETE /vllm/v1/batches/{batch_id}`."""
    return answer_json(_vllm(call, await _cancel(call)))


def _vllm(call: HTTPCall, batch: ServedBatch) -> dict[str, Any]:
    wire: dict[str, Any] = batch.wire()
    status = untrue_status(call, batch) or _VLLM_STATUS.get(batch.status, batch.status)
    counts = wire.pop("request_counts")
    wire.pop("usage")
    return {
        **wire,
        "status": status,
        "total_requests": counts["total"],
        "completed_requests": counts["completed"],
        "failed_requests": counts["failed"],
    }


async def _cancel(call: HTTPCall) -> ServedBatch:
    after = await call.core.cancel(known(call, call.id("batch_id")))
    if after.ended:
        raise WireError(400, f"Cannot cancel a batch with status '{after.status}'.")
    return after


def _iso(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).isoformat()


_FILES: Final[tuple[tuple[str, str, Handler], ...]] = (
    ("POST", "/files", files.upload),
    ("GET", "/files/{file_id}", files.retrieve),
    ("GET", "/files/{file_id}/content", files.content),
)
_DELETE: Final = ("DELETE", "/files/{file_id}", files.delete)
_ASK: Final = ("POST", "/{rest:path}", ask)
ROUTES: Final[tuple[tuple[Dialect, str, tuple[tuple[str, str, Handler], ...]], ...]] = (
    (
        TOGETHER,
        "/together/v1",
        (
            *_FILES,
            _DELETE,
            ("POST", "/batches", create_together),
            ("GET", "/batches", list_together),
            ("GET", "/batches/{batch_id}", retrieve_together),
            ("POST", "/batches/{batch_id}/cancel", cancel_together),
            _ASK,
        ),
    ),
    (
        MISTRAL,
        MISTRAL_PREFIX + "/v1",
        (
            *_FILES,
            _DELETE,
            ("POST", "/batch/jobs", create_mistral),
            ("GET", "/batch/jobs", list_mistral),
            ("GET", "/batch/jobs/{batch_id}", retrieve_mistral),
            ("POST", "/batch/jobs/{batch_id}/cancel", cancel_mistral),
            _ASK,
        ),
    ),
    (
        VLLM,
        "/vllm/v1",
        (
            *_FILES,
            ("POST", "/batches", create_vllm),
            ("GET", "/batches", list_vllm),
            ("GET", "/batches/{batch_id}", retrieve_vllm),
            ("DELETE", "/batches/{batch_id}", cancel_vllm),
            _ASK,
        ),
    ),
)
"""Each server's dialect, the address it is under, and its routes."""
