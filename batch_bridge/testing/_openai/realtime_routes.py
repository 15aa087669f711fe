"""Answers outside of batches, and the list of models."""

from typing import Any

from starlette.responses import Response

from batch_bridge.testing._answers.answer import AnswerRequest
from batch_bridge.testing._batches.endpoints import RESPONSES
from batch_bridge.testing._lanes import routes as background
from batch_bridge.testing._lanes.flex import FLEX, flexible
from batch_bridge.testing._openai.stand_in import CREATED
from batch_bridge.testing._server.errors import WireError
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
    if body.get("stream"):
        raise WireError(
            400, "This server does not stream; leave 'stream' out.", param="stream", code="unsupported_value"
        )
    return await answer_in_tier(call, body, call.request.url.path)


async def answer_in_tier(call: HTTPCall, body: dict[str, Any], path: str) -> Response:
    """Answer a call in the tier that it asks for, which the answer names.

    Raises:
        WireError: 429; the flex tier is full.
    """
    async with flexible(call, body) as is_flex:
        (answer,) = await call.core.context.answerer.many([AnswerRequest(path, body)])
    await call.core.count(realtime=1, flex=int(is_flex and answer.ok))
    named = {"service_tier": FLEX} if is_flex and answer.ok and isinstance(answer.body, dict) else {}
    return answer_json({**answer.body, **named} if named else answer.body, answer.status_code or 500)


async def models(_: HTTPCall) -> Response:
    """`GET /v1/models`."""
    return answer_json({"object": "list", "data": [_model(name) for name in MODELS]})


async def model(call: HTTPCall) -> Response:
    """`GET /v1/models/{model}`."""
    return answer_json(_model(call.id("model")))


def _model(name: str) -> dict[str, object]:
    return {"id": name, "object": "model", "created": CREATED, "owned_by": "batch-bridge-stand-in"}
