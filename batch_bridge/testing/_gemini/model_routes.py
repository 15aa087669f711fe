"""Gemini's models, asked in realtime, and the manners of all of its routes."""

from typing import Any, Final

from starlette.responses import Response

from batch_bridge.testing._answers.answer import Answer, AnswerRequest
from batch_bridge.testing._gemini.names import EMBED, EMBED_MANY, GENERATE, STREAM, endpoint_of
from batch_bridge.testing._gemini.stream import chunks
from batch_bridge.testing._gemini.wire import error_body, said
from batch_bridge.testing._lanes.flex import flexible
from batch_bridge.testing._server.dialect import Dialect
from batch_bridge.testing._server.errors import WireError
from batch_bridge.testing._server.event_stream import Event, send, stream, write
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
    answer = await _answer(call, call.request.url.path)
    return answer_json(answer.body, answer.status_code) if answer.ok else _failed(answer)


async def ask_streamed(call: HTTPCall) -> Response:
    """`POST …:streamGenerateContent`: events with `alt=sse`, else one JSON list."""
    answer = await _answer(call, endpoint_of(call.id("model"), GENERATE))
    if not answer.ok:
        return _failed(answer)
    told = chunks(answer.body)
    if call.request.query_params.get("alt") == "sse":
        return stream(call, map(Event, told))
    parts = [b",\r\n" * bool(number) + write(chunk) for number, chunk in enumerate(told)]
    return send(call, [b"[", *parts, b"]"], "application/json")


async def _answer(call: HTTPCall, path: str) -> Answer:
    context = call.core.context
    body = await call.json()
    if context.draws.strikes("realtime_error"):
        raise fault(context.settings.faults.realtime_error_status, "this request failed")
    async with flexible(call, body) as is_flex:
        (answer,) = await context.answerer.many([AnswerRequest(path, body)])
    await call.core.count(realtime=1, flex=int(is_flex and answer.ok))
    return answer


def _failed(answer: Answer) -> Response:
    status = answer.status_code or 500
    return answer_json(error_body(status, said(answer.body)), status)


async def models(_: HTTPCall) -> Response:
    """`GET /v1beta/models`."""
    return answer_json({"models": [_model(name) for name in MODELS]})


async def model(call: HTTPCall) -> Response:
    """`GET /v1beta/models/{model}`."""
    return answer_json(_model(call.id("model")))


def _model(name: str) -> dict[str, object]:
    methods = [method[1:] for method in (GENERATE, STREAM, EMBED, EMBED_MANY, ":batchGenerateContent")]
    return {
        "name": f"models/{name}",
        "version": "001",
        "displayName": name,
        "inputTokenLimit": 1_048_576,
        "outputTokenLimit": 65_536,
        "supportedGenerationMethods": methods,
    }
