"""The HTTP application: which route is whose."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from batch_bridge.testing import _routes_batches as batches
from batch_bridge.testing import _routes_control as control
from batch_bridge.testing import _routes_files as files
from batch_bridge.testing import _routes_realtime as realtime
from batch_bridge.testing._core import Core
from batch_bridge.testing._endpoints import ENDPOINTS
from batch_bridge.testing._errors import error_body
from batch_bridge.testing._gate import Handler, answer_json, failure, gated

_API: tuple[tuple[str, str, Handler], ...] = (
    ("POST", "/v1/files", files.upload),
    ("GET", "/v1/files", files.listing),
    ("GET", "/v1/files/{file_id}", files.retrieve),
    ("DELETE", "/v1/files/{file_id}", files.delete),
    ("GET", "/v1/files/{file_id}/content", files.content),
    ("POST", "/v1/batches", batches.create),
    ("GET", "/v1/batches", batches.listing),
    ("GET", "/v1/batches/{batch_id}", batches.retrieve),
    ("POST", "/v1/batches/{batch_id}/cancel", batches.cancel),
    ("GET", "/v1/models", realtime.models),
    ("GET", "/v1/models/{model:path}", realtime.model),
    *(("POST", endpoint, realtime.realtime) for endpoint in ENDPOINTS),
)
_CONTROL: tuple[tuple[str, str, Handler], ...] = (
    ("GET", "/", control.page),
    ("GET", "/_control/stats", control.stats),
    ("GET", "/_control/paid_twice", control.repeats),
    ("GET", "/_control/settings", control.settings),
    ("POST", "/_control/configure", control.configure),
    ("POST", "/_control/reset", control.reset),
)


def build_app(core: Core) -> Starlette:
    """The application for a core, which it starts and closes."""

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        await core.start()
        try:
            yield
        finally:
            await core.close()

    routes = [Route(path, gated(f"{method} {path}", handler), methods=[method]) for method, path, handler in _API]
    routes += [
        Route(path, gated(path, handler, counted=False, keyed=False), methods=[method])
        for method, path, handler in _CONTROL
    ]
    app = Starlette(
        routes=routes,
        lifespan=lifespan,
        exception_handlers={404: _no_route, 405: _no_route, Exception: _failed},
    )
    app.router.redirect_slashes = False
    app.state.core = core
    return app


async def _no_route(request: Request, _: Exception) -> Response:
    text = f"Invalid URL ({request.method} {request.url.path})"
    return answer_json(error_body(text, type="invalid_request_error", code="unknown_url"), 404)


async def _failed(_: Request, error: Exception) -> Response:
    return failure(error)
