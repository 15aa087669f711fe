"""The Batches API."""

from dataclasses import replace

from starlette.responses import Response

from batch_bridge.testing._batch import Batch
from batch_bridge.testing._endpoints import ENDPOINTS
from batch_bridge.testing._errors import WireError, invalid, missing, not_found
from batch_bridge.testing._gate import Call, answer_json, drop, fault
from batch_bridge.testing._routes_files import expiry, page, page_size

MAX_BODY_BYTES = 1_000_000
MAX_PAGE = 100
MAX_KEY, MAX_VALUE = 64, 512
WINDOW = "24h"


async def create(call: Call) -> Response:
    """`POST /v1/batches`."""
    dice, faults = call.core.context.dice, call.core.context.settings.faults
    body = await call.json(max_bytes=MAX_BODY_BYTES)
    if dice.strikes("create_rate_limit"):
        raise fault(429, "too many batches", **{"Retry-After": f"{faults.retry_after:g}"})
    if dice.strikes("create_error"):
        raise fault(faults.create_error_status, "this create failed and had no effect")
    batch = await _create(call, body)
    if dice.strikes("drop_create_response"):
        return await drop(call.request)
    if dice.strikes("create_error_after"):
        raise fault(faults.create_error_status, "this create failed, but took effect")
    return answer_json(batch.wire())


async def _create(call: Call, body: dict[str, object]) -> Batch:
    for param in ("input_file_id", "endpoint", "completion_window"):
        if body.get(param) is None:
            raise missing(param)
        if not isinstance(body[param], str):
            raise invalid(param, "a string is expected.", code="invalid_type")
    endpoint, input_file_id = str(body["endpoint"]), str(body["input_file_id"])
    if body["completion_window"] != WINDOW:
        raise invalid(
            "completion_window",
            f"'{body['completion_window']}' is not supported; the only one is '{WINDOW}'.",
        )
    if endpoint not in ENDPOINTS:
        raise invalid("endpoint", f"'{endpoint}' is not supported; the endpoints are {', '.join(ENDPOINTS)}.")
    limits = call.core.context.settings.limits
    after = body.get("output_expires_after")
    seconds = None
    if after is not None:
        if not isinstance(after, dict):
            raise invalid("output_expires_after", "an object is expected.", code="invalid_type")
        seconds = expiry(after.get("anchor"), after.get("seconds"), limits, "output_expires_after")
    metadata = _metadata(body.get("metadata"), limits.max_metadata_pairs)
    file = call.core.context.files.get(call.tenant, input_file_id)
    if file.purpose != "batch":
        raise invalid("input_file_id", f"the file's purpose is '{file.purpose}' and must be 'batch'.")
    return await call.core.create(
        call.tenant,
        endpoint=endpoint,
        input_file_id=input_file_id,
        metadata=metadata,
        output_expires_after=seconds,
    )


def _metadata(value: object, most: int) -> dict[str, str] | None:
    if value is None:
        return None
    if not isinstance(value, dict):
        raise invalid("metadata", "an object is expected.", code="invalid_type")
    if len(value) > most:
        raise invalid("metadata", f"{len(value)} pairs are too many; {most} are allowed.", code="metadata_too_large")
    for key, text in value.items():
        if len(key) > MAX_KEY:
            raise invalid(
                "metadata",
                f"the key '{key[:MAX_KEY]}…' is longer than {MAX_KEY} characters.",
                code="string_above_max_length",
            )
        if not isinstance(text, str):
            raise invalid(f"metadata.{key}", "a string is expected.", code="invalid_type")
        if len(text) > MAX_VALUE:
            raise invalid(
                f"metadata.{key}",
                f"it is longer than {MAX_VALUE} characters.",
                code="string_above_max_length",
            )
    return value


async def listing(call: Call) -> Response:
    """`GET /v1/batches`."""
    context, query = call.core.context, call.request.query_params
    if context.dice.strikes("list_error"):
        raise fault(context.settings.faults.poll_error_status, "this listing failed")
    size = page_size(query.get("limit"), MAX_PAGE, default=20)
    batches, more = context.batches.page(call.tenant, after=query.get("after"), limit=size)
    shown = [batch for batch in batches if not _forgotten(call, batch)]
    return answer_json(page([_wire(call, batch) for batch in shown], more))


async def retrieve(call: Call) -> Response:
    """`GET /v1/batches/{batch_id}`."""
    context = call.core.context
    if context.dice.strikes("poll_error"):
        raise fault(context.settings.faults.poll_error_status, "this retrieval failed")
    batch = context.batches.get(call.tenant, call.id("batch_id"))
    if _forgotten(call, batch):
        context.dice.fired["forgotten"] += 1
        raise not_found("batch", batch.id)
    if not batch.seen and context.settings.faults.forgotten:
        await context.batches.change(batch.id, lambda _, now: replace(now, seen=True))
    return answer_json(_wire(call, batch))


async def cancel(call: Call) -> Response:
    """`POST /v1/batches/{batch_id}/cancel`."""
    batch = call.core.context.batches.get(call.tenant, call.id("batch_id"))
    if _forgotten(call, batch):
        raise not_found("batch", batch.id)
    after = await call.core.cancel(batch)
    if after.ended:
        raise WireError(409, f"Cannot cancel a batch with status '{after.status}'.", code="batch_not_cancellable")
    return answer_json(after.wire())


def _forgotten(call: Call, batch: Batch) -> bool:
    return batch.seen and call.core.context.dice.hits("forgotten", batch.ordinal)


def _wire(call: Call, batch: Batch) -> dict[str, object]:
    context = call.core.context
    if not batch.ended and context.dice.hits("unknown_status", batch.ordinal):
        context.dice.fired["unknown_status"] += 1
        return batch.wire(status=context.settings.faults.unknown_status_name)
    return batch.wire()
