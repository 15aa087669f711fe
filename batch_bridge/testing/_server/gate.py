"""What every call passes: counting, the API key, faults of its own, and errors in the provider's shape."""

import asyncio
import sys
import traceback
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import orjson
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from batch_bridge.testing._server.core import Core
from batch_bridge.testing._server.dialect import OPENAI, Dialect
from batch_bridge.testing._server.errors import BatchServerError, WireError
from batch_bridge.testing._server.http import ABORT

MAX_JSON_BYTES = 64_000_000


@dataclass(frozen=True, slots=True)
class HTTPCall:
    """One HTTP call that has passed.

    Attributes:
        request: The request.
        core: The server.
        tenant: Whose files and batches it may see; a digest of the API key, which is not kept.
    """

    request: Request
    core: Core
    tenant: str

    def id(self, name: str) -> str:
        """An id in the path."""
        return str(self.request.path_params[name])

    async def json(self, *, max_bytes: int = MAX_JSON_BYTES) -> dict[str, Any]:
        """The JSON object in the body.

        Raises:
            WireError: 400 or 413; there is no such thing.
        """
        return self.parsed(await self.body(max_bytes=max_bytes))

    async def body(self, *, max_bytes: int) -> bytearray:
        """The body as it came.

        Raises:
            WireError: 413; it is too large.
        """
        raw = bytearray()
        async for chunk in self.request.stream():
            raw += chunk
            if len(raw) > max_bytes:
                raise WireError(413, f"The request is larger than {max_bytes} bytes.", code="request_too_large")
        return raw

    @staticmethod
    def parsed(raw: bytes | bytearray) -> dict[str, Any]:
        """The JSON object that a body holds.

        Raises:
            WireError: 400; there is no such thing.
        """
        try:
            data = orjson.loads(raw)
        except orjson.JSONDecodeError as error:
            raise WireError(400, f"We could not parse the JSON body of your request: {error}") from error
        if not isinstance(data, dict):
            raise WireError(400, "The JSON body of your request must be an object.")
        return data


Handler = Callable[[HTTPCall], Awaitable[Response]]
Endpoint = Callable[[Request], Awaitable[Response]]


def answer_json(data: object, status_code: int = 200, headers: dict[str, str] | None = None) -> Response:
    """A JSON response."""
    body = orjson.dumps(data, option=orjson.OPT_NON_STR_KEYS)
    return Response(body, status_code, headers, "application/json")


def gated(
    name: str, handler: Handler, *, dialect: Dialect = OPENAI, counted: bool = True, keyed: bool = True
) -> Endpoint:
    """The endpoint for a handler.

    Args:
        name: Under which it is counted, e.g. `"GET /v1/files"`.
        handler: Does the work.
        dialect: The manners of the API that the route belongs to.
        counted: Whether it is counted, and may meet the fault `slow_response`.
        keyed: Whether it needs an API key.
    """

    async def endpoint(request: Request) -> Response:
        core: Core = request.app.state.core
        try:
            if counted:
                core.context.calls[name] += 1
                if core.context.draws.strikes("slow_response"):
                    await asyncio.sleep(core.context.settings.faults.slow_response_seconds)
            tenant = _tenant(request, dialect) if keyed else ""
            response = await handler(HTTPCall(request, core, tenant))
        except Exception as error:  # noqa: BLE001 - every error becomes a response; none may end the server
            response = failure(error, dialect)
        response.headers[dialect.request_id] = f"req_{uuid.uuid4().hex}"
        return response

    return endpoint


def failure(error: Exception, dialect: Dialect = OPENAI) -> Response:
    """Any error as the provider would show it."""
    match error:
        case WireError():
            shown = error
        case BatchServerError():
            shown = WireError(400, str(error))
        case ClientDisconnect():
            return Response(status_code=499)
        case HTTPException():
            shown = WireError(error.status_code, error.detail)
        case _:
            traceback.print_exception(error, file=sys.stderr)
            text = f"The test server failed: {type(error).__name__}: {error}"
            shown = WireError(500, text, type="server_error", code="server_error")
    return answer_json(dialect.error(shown), shown.status_code, shown.headers)


def fault(status_code: int, what: str, **headers: str) -> WireError:
    """The error of a fault on demand."""
    text = f"A fault of the test server: {what}."
    if status_code == 429:  # noqa: PLR2004
        return WireError(429, text, type="rate_limit_error", code="rate_limit_exceeded", headers=headers)
    if status_code < 500:  # noqa: PLR2004
        return WireError(status_code, text, headers=headers)
    return WireError(status_code, text, type="server_error", code="server_error", headers=headers)


async def drop(request: Request) -> Response:
    """Close the connection without a word; the response that is returned goes nowhere."""
    abort = request.scope.get(ABORT)
    if abort is not None:
        abort()
    while (await request.receive())["type"] != "http.disconnect":
        pass
    return Response(status_code=500)


def _tenant(request: Request, dialect: Dialect) -> str:
    key = dialect.key(request)
    if not key:
        raise WireError(
            401,
            f"You didn't provide an API key. {dialect.advice}; "
            "this server takes any key, and keeps the files and batches of each apart.",
            type="authentication_error" if dialect.name else "invalid_request_error",
            code="missing_api_key",
        )
    return sha256(f"{dialect.name}{key}".encode()).hexdigest()[:32]
