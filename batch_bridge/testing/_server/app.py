"""The HTTP application: which route is whose."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from batch_bridge.testing._anthropic import routes as anthropic
from batch_bridge.testing._anthropic.wire import DIALECT as ANTHROPIC
from batch_bridge.testing._batches.endpoints import ENDPOINTS
from batch_bridge.testing._compatible import routes as likes
from batch_bridge.testing._compatible import together
from batch_bridge.testing._gemini import batch_routes as gemini_batches
from batch_bridge.testing._gemini import file_routes as gemini_files
from batch_bridge.testing._gemini import model_routes as gemini
from batch_bridge.testing._gemini.names import EMBED, EMBED_MANY, GENERATE, STREAM, endpoint_of
from batch_bridge.testing._gemini.versions import GeminiVersions
from batch_bridge.testing._lanes import routes as background
from batch_bridge.testing._openai import azure_routes as azure
from batch_bridge.testing._openai import batch_routes as batches
from batch_bridge.testing._openai import file_routes as files
from batch_bridge.testing._openai import realtime_routes as realtime
from batch_bridge.testing._server import control_routes as control
from batch_bridge.testing._server.core import Core
from batch_bridge.testing._server.dialect import OPENAI, Dialect
from batch_bridge.testing._server.errors import WireError
from batch_bridge.testing._server.gate import Handler, answer_json, failure, gated

_API: tuple[tuple[str, str, Handler], ...] = (
    ("POST", "/v1/files", files.upload),
    ("GET", "/v1/files", files.listing),
    ("GET", "/v1/files/{file_id}", files.retrieve),
    ("DELETE", "/v1/files/{file_id}", files.delete),
    ("GET", "/v1/files/{file_id}/content", files.content),
    ("POST", "/v1/batches", batches.create),
    ("GET", "/v1/batches", batches.list_batches),
    ("GET", "/v1/batches/{batch_id}", batches.retrieve),
    ("POST", "/v1/batches/{batch_id}/cancel", batches.cancel),
    ("GET", "/v1/responses/{response_id}", background.retrieve),
    ("POST", "/v1/responses/{response_id}/cancel", background.cancel),
    ("GET", "/v1/models", realtime.models),
    ("GET", "/v1/models/{model:path}", realtime.model),
    *(("POST", endpoint, realtime.realtime) for endpoint in ENDPOINTS),
)
_GEMINI: tuple[tuple[str, str, Handler], ...] = (
    ("GET", "/v1beta/models", gemini.models),
    ("POST", "/v1beta/models/{model}:batchGenerateContent", gemini_batches.create),
    *(("POST", endpoint_of("{model}", method), gemini.ask) for method in (GENERATE, EMBED, EMBED_MANY)),
    ("POST", endpoint_of("{model}", STREAM), gemini.ask_streamed),
    ("GET", "/v1beta/models/{model}", gemini.model),
    ("GET", "/v1beta/batches", gemini_batches.list_batches),
    ("POST", "/v1beta/batches/{batch_id}:cancel", gemini_batches.cancel),
    ("GET", "/v1beta/batches/{batch_id}", gemini_batches.retrieve),
    ("DELETE", "/v1beta/batches/{batch_id}", gemini_batches.delete),
    ("POST", "/upload/v1beta/files", gemini_files.start),
    ("GET", "/v1beta/files", gemini_files.listing),
    ("GET", "/v1beta/files/{file_id}:download", gemini_files.download),
    ("GET", "/download/v1beta/files/{file_id}:download", gemini_files.download),
    ("GET", "/v1beta/files/{file_id}", gemini_files.retrieve),
    ("DELETE", "/v1beta/files/{file_id}", gemini_files.delete),
)
_ANTHROPIC: tuple[tuple[str, str, Handler], ...] = (
    ("POST", "/v1/messages", anthropic.message),
    ("POST", "/v1/messages/count_tokens", anthropic.count_tokens),
    ("POST", "/v1/messages/batches", anthropic.create),
    ("GET", "/v1/messages/batches", anthropic.list_batches),
    ("GET", "/v1/messages/batches/{batch_id}", anthropic.retrieve),
    ("POST", "/v1/messages/batches/{batch_id}/cancel", anthropic.cancel),
    ("DELETE", "/v1/messages/batches/{batch_id}", anthropic.delete),
    ("GET", "/v1/messages/batches/{batch_id}/results", anthropic.results),
)
_CONTROL: tuple[tuple[str, str, Handler], ...] = (
    ("GET", "/", control.page),
    ("GET", "/_control/stats", control.stats),
    ("GET", "/_control/paid_twice", control.repeats),
    ("GET", "/_control/settings", control.settings),
    ("POST", "/_control/configure", control.configure),
    ("POST", "/_control/reset", control.reset),
)


def build_app(core: Core, token: str) -> Starlette:
    """The application for a core, which it starts and closes.

    Args:
        core: The server.
        token: What the control routes ask for.
    """

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        await core.start()
        try:
            yield
        finally:
            await core.close()

    routes = [Route(path, gated(f"{method} {path}", handler), methods=[method]) for method, path, handler in _API]
    routes += [
        Route(path, gated(f"{method} {path}", handler, dialect=ANTHROPIC), methods=[method])
        for method, path, handler in _ANTHROPIC
    ]
    routes += [
        Route(path, gated(path, handler, counted=False, keyed=False), methods=[method])
        for method, path, handler in _CONTROL
    ]
    routes += [
        Route(path, gated(f"{method} {path}", handler, dialect=gemini.GEMINI), methods=[method])
        for method, path, handler in _GEMINI
    ]
    routes += [
        Route(path, gated(f"{method} {path}", handler, dialect=azure.AZURE), methods=[method])
        for method, path, handler in azure.ROUTES
    ]
    routes += [
        Route(root + path, gated(f"{method} {root}{path}", handler, dialect=dialect), methods=[method])
        for dialect, root, table in likes.ROUTES
        for method, path, handler in table
    ]
    bytes_of = gated("POST /upload/v1beta/files/bytes", gemini_files.receive, dialect=gemini.GEMINI, keyed=False)
    routes.append(Route("/upload/v1beta/files/bytes", bytes_of, methods=["POST"]))
    put = gated("PUT /together/upload/{file_id}", together.put, dialect=likes.TOGETHER, keyed=False)
    routes.append(Route("/together/upload/{file_id}", put, methods=["PUT"]))
    app = Starlette(
        routes=routes,
        lifespan=lifespan,
        middleware=[Middleware(GeminiVersions)],
        exception_handlers={404: _no_route, 405: _no_route, Exception: _failed},
    )
    app.router.redirect_slashes = False
    app.state.core = core
    app.state.token = token
    return app


async def _no_route(request: Request, _: Exception) -> Response:
    text = f"Invalid URL ({request.method} {request.url.path})"
    error = WireError(404, text, type="invalid_request_error", code="unknown_url")
    return answer_json(_dialect_of(request).error(error), 404)


def _dialect_of(request: Request) -> Dialect:
    """The manners of the API that a call of no route was meant for."""
    if "x-goog-api-key" in request.headers or "/v1beta/" in request.url.path:
        return gemini.GEMINI
    return ANTHROPIC if "anthropic-version" in request.headers else OPENAI


async def _failed(_: Request, error: Exception) -> Response:
    return failure(error)
