"""Answers outside of batches, and the list of models."""

from typing import Any

from starlette.responses import Response

from batch_bridge.testing._answers.answer import AnswerRequest
from batch_bridge.testing._batches.endpoints import RESPONSES
from batch_bridge.testing._lanes import routes as background
from batch_bridge.testing._lanes.flex import FLEX, flexible
from batch_bridge.testing._openai.stand_in import CREATED
from batch_bridge.testing._openai.streams import STREAMS
from batch_bridge.testing._server.errors import WireError
from batch_bridge.testing._server.event_stream import stream, without_stream
from batch_bridge.testing._server.gate import HTTPCall, answer_json, fault

_TOO_MANY = 429
MODELS = ("gpt-4o-mini", "gpt-4o", "gpt-4.1-mini", "gpt-5-mini", "o4-mini", "text-embedding-3-small")
"""A few names for clients that ask; every name is answered."""


async def realtime(call: HTTPCall) -> Response:
    """`POST` to any endpoint that batches know, with the same answers."""
    context = call.core.context
    body = await call.json()
    if context.draws.strikes("realtime_error"):
        faults = context.settings.faults
        headers = {"Retry-After": f"{faults.retry_after:g}"} if faults.realtime_error_status == _TOO_MANY else {}
        raise fault(faults.realtime_error_status, "this request failed", **headers)
    if call.request.url.path == RESPONSES and body.get("background"):
        return await background.create(call, body)
    if body.get("background_options") is not None:
        raise WireError(400, "'background_options' needs 'background'.", param="background_options")
    return await answer_in_tier(call, body, call.request.url.path)


async def answer_in_tier(call: HTTPCall, body: dict[str, Any], path: str) -> Response:
    """Answer a call in the tier that it asks for, which the answer names; as a stream, if it asks for one.

    Raises:
        WireError: 429, the flex tier is full; or 400, the endpoint does not stream.
    """
    told = STREAMS.get(path) if body.get("stream") else None
    if body.get("stream") and told is None:
        raise WireError(400, f"'{path}' does not stream; leave 'stream' out.", param="stream", code="unsupported_value")
    async with flexible(call, body) as is_flex:
        (answer,) = await call.core.context.answerer.many([AnswerRequest(path, without_stream(body))])
    await call.core.count(realtime=1, flex=int(is_flex and answer.ok))
    shown = answer.body
    if isinstance(shown, dict) and answer.ok:
        shown = {**shown, **({"service_tier": FLEX} if is_flex else {})}
        if told is not None:
            return stream(call, told(shown, body))
    return answer_json(shown, answer.status_code or 500)


async def models(_: HTTPCall) -> Response:
    """`GET /v1/models`."""
    return answer_json({"object": "list", "data": [_model(name) for name in MODELS]})


async def model(call: HTTPCall) -> Response:
    """`GET /v1/models/{model}`."""
    return answer_json(_model(call.id("model")))


def _model(name: str) -> dict[str, object]:
    return {"id": name, "object": "model", "created": CREATED, "owned_by": "batch-bridge-stand-in"}
