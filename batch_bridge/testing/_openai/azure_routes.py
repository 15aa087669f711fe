"""Azure OpenAI's routes: OpenAI's under another address, of which a call names the version, or under `openai/v1`."""

import time
from dataclasses import replace
from typing import Any, Final

from starlette.responses import Response

from batch_bridge.testing._batches.batch_calls import creating
from batch_bridge.testing._batches.endpoints import ENDPOINTS
from batch_bridge.testing._batches.files import File
from batch_bridge.testing._openai import batch_routes as batches
from batch_bridge.testing._openai import file_routes as files
from batch_bridge.testing._openai.realtime_routes import answer_in_tier
from batch_bridge.testing._server.dialect import OPENAI, Dialect
from batch_bridge.testing._server.errors import WireError
from batch_bridge.testing._server.gate import Handler, HTTPCall, answer_json, fault

AZURE: Final[Dialect] = replace(OPENAI, name="azure:", advice="Provide one in the header api-key")
_BARE: Final = tuple(endpoint.removeprefix("/v1") for endpoint in ENDPOINTS)
_LEAST_LIFE, _MOST_LIFE = 1_209_600, 2_592_000
"""Source: learn.microsoft.com/azure/ai-foundry/openai/how-to/batch: `expires_after` is from 14 to 30 days."""


async def upload(call: HTTPCall) -> Response:
    """`POST /openai/files`; the file is `pending` for as long as the option `processing_seconds` says."""
    file = await files.receive_file(call, least_life=_LEAST_LIFE, most_life=_MOST_LIFE)
    return answer_json(_wire(call, file))


async def retrieve_file(call: HTTPCall) -> Response:
    """`GET /openai/files/{file_id}`."""
    return answer_json(_wire(call, call.core.context.files.get(call.tenant, call.id("file_id"))))


async def create(call: HTTPCall) -> Response:
    """`POST /openai/batches`."""
    body = await call.json(max_bytes=batches.MAX_BODY_BYTES)

    async def create() -> Response:
        file_id = body.get("input_file_id")
        if isinstance(file_id, str) and _is_pending(call, call.core.context.files.get(call.tenant, file_id)):
            raise WireError(400, f"The file {file_id} is not processed.", param="input_file_id", code="invalid_file")
        return answer_json((await batches.make(call, body, endpoints=_BARE)).wire())

    return await creating(call, create)


async def ask(call: HTTPCall) -> Response:
    """`POST /openai/deployments/{deployment}/…` and `POST /openai/v1/…`, with the same answers as in batches."""
    context = call.core.context
    deployment = call.request.path_params.get("deployment")
    body = {**({"model": deployment} if deployment else {}), **(await call.json())}
    if context.draws.strikes("realtime_error"):
        raise fault(context.settings.faults.realtime_error_status, "this request failed")
    return await answer_in_tier(call, body, f"/v1/{call.id('rest')}")


def versioned(handler: Handler) -> Handler:
    """The handler of a call that must say which version of the API it means."""

    async def checked(call: HTTPCall) -> Response:
        if not call.request.query_params.get("api-version"):
            raise WireError(404, "Resource not found: the query has no api-version.", code="404")
        return await handler(call)

    return checked


def _is_pending(call: HTTPCall, file: File) -> bool:
    return file.purpose == "batch" and time.time() < file.created_at + call.core.context.settings.processing_seconds


def _wire(call: HTTPCall, file: File) -> dict[str, Any]:
    return {**file.wire(), "status": "pending" if _is_pending(call, file) else "processed"}


_SHARED: Final[tuple[tuple[str, str, Handler], ...]] = (
    ("POST", "/files", upload),
    ("GET", "/files", files.listing),
    ("GET", "/files/{file_id}", retrieve_file),
    ("DELETE", "/files/{file_id}", files.delete),
    ("GET", "/files/{file_id}/content", files.content),
    ("POST", "/batches", create),
    ("GET", "/batches", batches.list_batches),
    ("GET", "/batches/{batch_id}", batches.retrieve),
    ("POST", "/batches/{batch_id}/cancel", batches.cancel),
)
ROUTES: Final[tuple[tuple[str, str, Handler], ...]] = (
    *((method, f"/openai/v1{path}", handler) for method, path, handler in _SHARED),
    ("POST", "/openai/v1/{rest:path}", ask),
    *((method, f"/openai{path}", versioned(handler)) for method, path, handler in _SHARED),
    ("POST", "/openai/deployments/{deployment}/{rest:path}", versioned(ask)),
)
"""Under `openai/v1` endpoints are named without a `/v1`, too.

Source: github.com/MicrosoftDocs/azure-ai-docs, articles/ai-foundry/openai/includes/batch/batch-rest.md.
"""
