"""Gemini's models, asked in realtime, and the manners of all of its routes."""

from typing import Any, Final

from starlette.responses import Response

from batch_bridge.testing._answers.answer import AnswerRequest
from batch_bridge.testing._gemini.names import EMBED, EMBED_MANY, GENERATE
from batch_bridge.testing._gemini.wire import error_body, said
from batch_bridge.testing._lanes.flex import flexible
from batch_bridge.testing._server.dialect import Dialect
from batch_bridge.testing._server.errors import WireError
from batch_bridge.testing._server.gate import HTTPCall, answer_json, fault

MODELS = ("gemini-2.5-flash", "gemini-2.5-pro", "gemini-embedding-001")
"""A few names for clients that ask; every name is answered."""


def _error(error: WireError) -> dict[str, Any]:
    after = error.headers.get("Retry-After")
    return error_body(error.status_code, error.message, retry_after=None if after is None else float(after))


GEMINI: Final = Dialect(
    name="gemini:",
    key=lambda request: request.headers.get("x-goog-api-key", ""),
    error=_error,
    request_id="x-request-id",
    advice="Provide one in the header x-goog-api-key; one in the query would stand in logs",
)


async def ask(call: HTTPCall) -> Response:
    """`POST` to a method of a model, with the same answers as in batches."""
    context = call.core.context
    body = await call.json()
    if context.draws.strikes("realtime_error"):
        raise fault(context.settings.faults.realtime_error_status, "this request failed")
    async with flexible(call, body) as is_flex:
        (answer,) = await context.answerer.many([AnswerRequest(call.request.url.path, body)])
    await call.core.count(realtime=1, flex=int(is_flex and answer.ok))
    if answer.ok:
        return answer_json(answer.body, answer.status_code)
    status = answer.status_code or 500
    return answer_json(error_body(status, said(answer.body)), status)


async def models(_: HTTPCall) -> Response:
    """`GET /v1beta/models`."""
    return answer_json({"models": [_model(name) for name in MODELS]})


async def model(call: HTTPCall) -> Response:
    """`GET /v1beta/models/{model}`."""
    return answer_json(_model(call.id("model")))


def _model(name: str) -> dict[str, object]:
    methods = [method[1:] for method in (GENERATE, EMBED, EMBED_MANY, ":batchGenerateContent")]
    return {
        "name": f"models/{name}",
        "version": "001",
        "displayName": name,
        "inputTokenLimit": 1_048_576,
        "outputTokenLimit": 65_536,
        "supportedGenerationMethods": methods,
    }
