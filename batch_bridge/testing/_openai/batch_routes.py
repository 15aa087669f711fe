"""The Batches API."""

from collections.abc import Sequence

from starlette.responses import Response

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
from batch_bridge.testing._batches.endpoints import ENDPOINTS
from batch_bridge.testing._openai.file_routes import expiry, page, page_size
from batch_bridge.testing._server.errors import WireError, invalid, missing
from batch_bridge.testing._server.gate import HTTPCall, answer_json

MAX_BODY_BYTES = 1_000_000
MAX_PAGE = 100
MAX_KEY, MAX_VALUE = 64, 512
WINDOW = "24h"


async def create(call: HTTPCall) -> Response:
    """`POST /v1/batches`."""
    body = await call.json(max_bytes=MAX_BODY_BYTES)

    async def create() -> Response:
        return answer_json((await make(call, body)).wire())

    return await creating(call, create)


async def make(
    call: HTTPCall,
    body: dict[str, object],
    *,
    endpoints: tuple[str, ...] = ENDPOINTS,
    purpose: str = "batch",
    model: str | None = None,
    lines: Sequence[bytes] | None = None,
) -> ServedBatch:
    """Make a batch of a file, or of lines that came with the call.

    Args:
        call: The call that asks for it.
        body: What it says.
        endpoints: What a batch can be sent to here.
        purpose: What its file must have been uploaded for.
        model: That of lines that name none.
        lines: Its input, where there is no file.

    Raises:
        WireError: It cannot be made; says why.
    """
    for param in ("input_file_id", "endpoint", "completion_window")[lines is not None :]:
        if body.get(param) is None:
            raise missing(param)
        if not isinstance(body[param], str):
            raise invalid(param, "a string is expected.", code="invalid_type")
    endpoint, input_file_id = str(body["endpoint"]), "" if lines is not None else str(body["input_file_id"])
    if body["completion_window"] != WINDOW:
        raise invalid(
            "completion_window",
            f"'{body['completion_window']}' is not supported; the only one is '{WINDOW}'.",
        )
    if endpoint not in endpoints:
        raise invalid("endpoint", f"'{endpoint}' is not supported; the endpoints are {', '.join(endpoints)}.")
    limits = call.core.context.settings.limits
    after = body.get("output_expires_after")
    seconds = None
    if after is not None:
        if not isinstance(after, dict):
            raise invalid("output_expires_after", "an object is expected.", code="invalid_type")
        seconds = expiry(after.get("anchor"), after.get("seconds"), limits, "output_expires_after")
    metadata = _metadata(body.get("metadata"), limits.max_metadata_pairs)
    if lines is None:
        file = call.core.context.files.get(call.tenant, input_file_id)
        if file.purpose != purpose:
            raise invalid("input_file_id", f"the file's purpose is '{file.purpose}' and must be '{purpose}'.")
        seeing(call, input_file_id)
    else:
        await call.core.count(input_bytes=sum(map(len, lines)))
    return await call.core.create(
        call.tenant,
        endpoint=endpoint,
        input_file_id=input_file_id,
        metadata=metadata,
        output_expires_after=seconds,
        model=model,
        lines=lines,
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


async def list_batches(call: HTTPCall) -> Response:
    """`GET /v1/batches`."""
    listing(call)
    query = call.request.query_params
    size = page_size(query.get("limit"), MAX_PAGE, default=20)
    batches, more = call.core.context.batches.page(call.tenant, after=query.get("after"), limit=size)
    shown = [batch for batch in batches if not is_forgotten(call, batch)]
    return answer_json(page([_wire(call, batch) for batch in shown], more))


async def retrieve(call: HTTPCall) -> Response:
    """`GET /v1/batches/{batch_id}`."""
    return answer_json(_wire(call, await retrieving(call, call.id("batch_id"))))


async def cancel(call: HTTPCall) -> Response:
    """`POST /v1/batches/{batch_id}/cancel`."""
    after = await call.core.cancel(known(call, call.id("batch_id")))
    if after.ended:
        raise WireError(409, f"Cannot cancel a batch with status '{after.status}'.", code="batch_not_cancellable")
    return answer_json(after.wire())


def _wire(call: HTTPCall, batch: ServedBatch) -> dict[str, object]:
    return batch.wire(status=untrue_status(call, batch))
