"""vLLM's router.

Source: github.com/vllm-project/production-stack, vllm_router/routers/batches_router.py.
"""

from typing import Any, Final

from starlette.responses import Response

from batch_bridge.testing._batches.batch import ServedBatch
from batch_bridge.testing._batches.batch_calls import creating, is_forgotten, listing, retrieving, untrue_status
from batch_bridge.testing._batches.endpoints import CHAT, COMPLETIONS, EMBEDDINGS
from batch_bridge.testing._compatible.shared import cancelled
from batch_bridge.testing._openai import batch_routes as batches
from batch_bridge.testing._openai import file_routes as files
from batch_bridge.testing._server.gate import HTTPCall, answer_json

_STATUS: Final = {"validating": "pending", "in_progress": "running", "finalizing": "running"}


async def create(call: HTTPCall) -> Response:
    """`POST /vllm/v1/batches`."""
    body = {"completion_window": batches.WINDOW, **await call.json(max_bytes=batches.MAX_BODY_BYTES)}

    async def create() -> Response:
        return answer_json(_wire(call, await batches.make(call, body, endpoints=(CHAT, EMBEDDINGS, COMPLETIONS))))

    return await creating(call, create)


async def list_batches(call: HTTPCall) -> Response:
    """`GET /vllm/v1/batches`."""
    listing(call)
    query = call.request.query_params
    size = files.page_size(query.get("limit"), batches.MAX_PAGE, default=20)
    shown, more = call.core.context.batches.page(call.tenant, after=query.get("after"), limit=size)
    data = [_wire(call, batch) for batch in shown if not is_forgotten(call, batch)]
    return answer_json(files.page(data, more))


async def retrieve(call: HTTPCall) -> Response:
    """`GET /vllm/v1/batches/{batch_id}`."""
    return answer_json(_wire(call, await retrieving(call, call.id("batch_id"))))


async def cancel(call: HTTPCall) -> Response:
    """`DELETE /vllm/v1/batches/{batch_id}`."""
    return answer_json(_wire(call, await cancelled(call)))


def _wire(call: HTTPCall, batch: ServedBatch) -> dict[str, Any]:
    wire: dict[str, Any] = batch.wire()
    status = untrue_status(call, batch) or _STATUS.get(batch.status, batch.status)
    counts = wire.pop("request_counts")
    wire.pop("usage")
    return {
        **wire,
        "status": status,
        "total_requests": counts["total"],
        "completed_requests": counts["completed"],
        "failed_requests": counts["failed"],
    }
