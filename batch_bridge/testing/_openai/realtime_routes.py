"""Answers outside of batches, and the list of models."""

from starlette.responses import Response

from batch_bridge.testing._answers.answer import AnswerRequest
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
    if body.get("stream"):
        raise WireError(
            400, "This server does not stream; leave 'stream' out.", param="stream", code="unsupported_value"
        )
    (answer,) = await context.answerer.many([AnswerRequest(call.request.url.path, body)])
    await call.core.count(realtime=1)
    return answer_json(answer.body, answer.status_code or 500)


async def models(_: HTTPCall) -> Response:
    """`GET /v1/models`."""
    return answer_json({"object": "list", "data": [_model(name) for name in MODELS]})


async def model(call: HTTPCall) -> Response:
    """`GET /v1/models/{model}`."""
    return answer_json(_model(call.id("model")))


def _model(name: str) -> dict[str, object]:
    return {"id": name, "object": "model", "created": CREATED, "owned_by": "batch-bridge-stand-in"}
