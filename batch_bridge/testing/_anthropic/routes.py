"""Anthropic's Messages and Message Batches APIs."""

import asyncio
from collections.abc import AsyncIterator

from starlette.responses import Response, StreamingResponse

from batch_bridge.testing._answers.answer import AnswerRequest
from batch_bridge.testing._answers.asked import token_count
from batch_bridge.testing._anthropic import wire
from batch_bridge.testing._anthropic.stream import message_events
from batch_bridge.testing._batches.batch import ServedBatch
from batch_bridge.testing._batches.batch_calls import creating, is_forgotten, known, listing, retrieving, untrue_status
from batch_bridge.testing._batches.endpoints import MESSAGES
from batch_bridge.testing._openai.file_routes import page_size
from batch_bridge.testing._server.errors import WireError, invalid, not_found
from batch_bridge.testing._server.event_stream import stream, without_stream
from batch_bridge.testing._server.gate import HTTPCall, answer_json, drop, fault

MAX_PAGE = 1_000
_PIECE_BYTES = 65_536


async def message(call: HTTPCall) -> Response:
    """`POST /v1/messages`."""
    context = call.core.context
    body = await call.json()
    if context.draws.strikes("realtime_error"):
        raise fault(context.settings.faults.realtime_error_status, "this request failed")
    asked = AnswerRequest(MESSAGES, without_stream(body))
    (answer,) = context.prompt_cache.charge([asked], await context.answerer.many([asked]), tenant=call.tenant)
    await call.core.count(realtime=1)
    if answer.ok and body.get("stream"):
        return stream(call, message_events(answer))
    return answer_json(wire.answer_body(answer), answer.status_code or 500)


async def count_tokens(call: HTTPCall) -> Response:
    """`POST /v1/messages/count_tokens`."""
    body = await call.json()
    return answer_json({"input_tokens": token_count(str(body))})


async def create(call: HTTPCall) -> Response:
    """`POST /v1/messages/batches`."""
    raw = await call.body(max_bytes=wire.MAX_BYTES)
    lines = await asyncio.to_thread(lambda: wire.input_lines(call.parsed(raw)))

    async def create() -> Response:
        batch = await call.core.create(
            call.tenant, endpoint=MESSAGES, input_file_id="", prefix="msgbatch_", lines=lines
        )
        await call.core.count(input_bytes=len(raw))
        return answer_json(wire.batch_wire(batch, call.request))

    return await creating(call, create)


async def list_batches(call: HTTPCall) -> Response:
    """`GET /v1/messages/batches`."""
    listing(call)
    batches, query = call.core.context.batches, call.request.query_params
    size = page_size(query.get("limit"), MAX_PAGE, default=20)
    before, after = query.get("before_id"), query.get("after_id")
    if before is not None and after is not None:
        raise invalid("before_id", "only one of before_id and after_id may be given.")
    if before is not None:
        found, more = batches.page_before(call.tenant, before, limit=size)
    else:
        found, more = batches.page(call.tenant, after=after, limit=size)
    data = [_shown(call, batch) for batch in found if not is_forgotten(call, batch)]
    first, last = (data[0]["id"], data[-1]["id"]) if data else (None, None)
    return answer_json({"data": data, "has_more": more, "first_id": first, "last_id": last})


async def retrieve(call: HTTPCall) -> Response:
    """`GET /v1/messages/batches/{batch_id}`."""
    return answer_json(_shown(call, await retrieving(call, call.id("batch_id"))))


async def cancel(call: HTTPCall) -> Response:
    """`POST /v1/messages/batches/{batch_id}/cancel`."""
    batch = known(call, call.id("batch_id"))
    if batch.ended:
        raise WireError(400, f"Batch {batch.id} has ended; only one that has not can be canceled.")
    return answer_json(wire.batch_wire(await call.core.cancel(batch), call.request))


async def delete(call: HTTPCall) -> Response:
    """`DELETE /v1/messages/batches/{batch_id}`."""
    batch = known(call, call.id("batch_id"))
    if not batch.ended:
        raise WireError(400, f"Batch {batch.id} has not ended; cancel it before it is deleted.")
    await call.core.context.batches.delete(batch.id)
    return answer_json({"id": batch.id, "type": "message_batch_deleted"})


async def results(call: HTTPCall) -> Response:
    """`GET /v1/messages/batches/{batch_id}/results`."""
    context = call.core.context
    batch = known(call, call.id("batch_id"))
    if not batch.ended:
        raise not_found("batch", batch.id)
    if context.draws.hits("output_missing", batch.output_file_id):
        context.draws.fired["output_missing"] += 1
        raise not_found("batch", batch.id)
    end = None
    if context.draws.strikes("cut_download"):
        end = (batch.output_bytes + batch.error_bytes) // 2
    return StreamingResponse(_results(call, batch, end), media_type="application/x-jsonl")


async def _results(call: HTTPCall, batch: ServedBatch, end: int | None) -> AsyncIterator[bytes]:
    """The lines of a batch; with an end, the connection breaks once so many of their bytes were read."""
    files = call.core.context.files
    piece, read = bytearray(), 0
    for file_id, size in ((batch.output_file_id, batch.output_bytes), (batch.error_file_id, batch.error_bytes)):
        if not size:
            continue
        with files.path(file_id).open("rb") as stored:
            for line in stored:
                shown = wire.result_line(line)
                read += len(line)
                if end is not None and read >= end:
                    yield bytes(piece + shown[: len(shown) // 2])
                    await drop(call.request)
                    return
                piece += shown
                if len(piece) >= _PIECE_BYTES:
                    yield bytes(piece)
                    piece.clear()
    yield bytes(piece)


def _shown(call: HTTPCall, batch: ServedBatch) -> dict[str, object]:
    return wire.batch_wire(batch, call.request, status=untrue_status(call, batch))
