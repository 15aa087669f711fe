"""What calls about batches have in common in all wire formats: the faults that they meet."""

import time
from collections.abc import Awaitable, Callable
from dataclasses import replace

from starlette.responses import Response

from batch_bridge.testing._batches.batch import ServedBatch
from batch_bridge.testing._server.errors import WireError, not_found
from batch_bridge.testing._server.gate import HTTPCall, drop, fault


async def creating(call: HTTPCall, create: Callable[[], Awaitable[Response]]) -> Response:
    """Create a batch, unless a fault has it that it fails before, after, or without a word."""
    draws, faults = call.core.context.draws, call.core.context.settings.faults
    if draws.strikes("create_rate_limit"):
        raise fault(429, "too many batches", **{"Retry-After": f"{faults.retry_after:g}"})
    if draws.strikes("create_error"):
        raise fault(faults.create_error_status, "this create failed and had no effect")
    created = await create()
    if draws.strikes("drop_create_response"):
        return await drop(call.request)
    if draws.strikes("create_error_after"):
        raise fault(faults.create_error_status, "this create failed, but took effect")
    return created


def listing(call: HTTPCall) -> None:
    """Pass a listing, or fail it."""
    context = call.core.context
    if context.draws.strikes("list_error"):
        raise fault(context.settings.faults.poll_error_status, "this listing failed")


async def retrieving(call: HTTPCall, batch_id: str) -> ServedBatch:
    """Return the batch that a client asks for, and note that it was seen.

    Raises:
        WireError: A fault hit; or 404, the client cannot see it, or not any more.
    """
    context = call.core.context
    if context.draws.strikes("poll_error"):
        raise fault(context.settings.faults.poll_error_status, "this retrieval failed")
    batch = known(call, batch_id)
    if not batch.seen and context.settings.faults.forgotten:
        await context.batches.change(batch.id, lambda _, now: replace(now, seen=True))
    late = context.settings.faults.files_after
    if late and batch.status != "failed" and batch.ended_at is not None and time.time() < batch.ended_at + late:
        context.draws.fired["files_after"] += 1
        return batch.without_results()
    return batch


def seeing(call: HTTPCall, file_id: str) -> None:
    """Pass if a create sees its input file.

    Raises:
        WireError: A fault has hidden it.
    """
    context = call.core.context
    if context.draws.strikes("unseen_file"):
        text = f"No such File object: {file_id}"
        raise WireError(context.settings.faults.unseen_file_status, text, param="id", code="not_found")


def known(call: HTTPCall, batch_id: str) -> ServedBatch:
    """A batch that the client can see.

    Raises:
        WireError: 404, as in `retrieving`.
    """
    batch = call.core.context.batches.get(call.tenant, batch_id)
    if is_forgotten(call, batch):
        call.core.context.draws.fired["forgotten"] += 1
        raise not_found("batch", batch.id)
    return batch


def is_forgotten(call: HTTPCall, batch: ServedBatch) -> bool:
    """Whether a fault has made a batch vanish that was seen before."""
    return batch.seen and call.core.context.draws.hits("forgotten", batch.ordinal)


def untrue_status(call: HTTPCall, batch: ServedBatch) -> str | None:
    """The status that a fault shows in place of the true one, or `None`."""
    context = call.core.context
    if batch.ended or not context.draws.hits("unknown_status", batch.ordinal):
        return None
    context.draws.fired["unknown_status"] += 1
    return context.settings.faults.unknown_status_name
