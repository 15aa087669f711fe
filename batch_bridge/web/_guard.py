"""Admits visitors to the page: under the page's own host name, with the token if one is set.

A web page of another origin in the same browser reaches this machine's ports. Its calls have an `Origin` or a
`Sec-Fetch-Site` of their own, or came by a name that leads here (DNS rebinding), which is then the `Host`.
"""

import base64
import binascii
import hmac
import socket
from collections.abc import Iterable, Mapping
from ipaddress import ip_address
from typing import Final

from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_OWN: Final = frozenset({"same-origin", "none"})
_CHANGES: Final = frozenset({"POST", "PUT", "PATCH", "DELETE"})
PAGE_HEADERS: Final = [
    (b"content-security-policy", b"default-src 'self'; frame-ancestors 'none'; form-action 'self'; base-uri 'none'"),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
]


def is_loopback(host: str) -> bool:
    """Return whether only this machine reaches an address."""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


class Guard:
    """Refuses calls of other pages, by other names, and without the token.

    Args:
        app: What answers the others.
        host: The address that the server listens on.
        token: What visitors have to give, as the password of HTTP's basic authentication or as a bearer token; `None`
            lets everybody in who reaches it.
        allowed: More names that it may be called by.
    """

    def __init__(self, app: ASGIApp, *, host: str, token: str | None, allowed: Iterable[str] = ()) -> None:
        self._app = app
        self._token = token
        self._names = {"127.0.0.1", "localhost", "::1", host.lower(), *(name.lower() for name in allowed)}
        self._is_open = not is_loopback(host)
        if self._is_open:
            self._names.add(socket.gethostname().lower())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        if (refusal := self._refusal(scope["method"], headers)) is not None:
            await refusal(scope, receive, send)
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message["headers"], *PAGE_HEADERS]}
            await send(message)

        await self._app(scope, receive, send_guarded)

    def _refusal(self, method: str, headers: Mapping[str, str]) -> Response | None:
        host = headers.get("host", "")
        if not self._is_known(_name(host)):
            return PlainTextResponse(
                f"This server is not called {host[:100]!r}. Call it by its address, or give --allow-host.\n", 421
            )
        origin = headers.get("origin")
        if origin is not None and origin.partition("://")[2] != host:
            return PlainTextResponse("This server takes no calls from web pages of another origin.\n", 403)
        if method in _CHANGES and headers.get("sec-fetch-site", "none") not in _OWN:
            return PlainTextResponse("This server takes no calls from web pages of another site.\n", 403)
        if self._token is not None and not _has_token(headers.get("authorization", ""), self._token):
            challenge = {"WWW-Authenticate": 'Basic realm="batch-bridge", charset="UTF-8"'}
            return PlainTextResponse("Give the token as the password, or as a bearer token.\n", 401, challenge)
        return None

    def _is_known(self, name: str) -> bool:
        return name in self._names or (self._is_open and _is_address(name))


def _has_token(authorization: str, token: str) -> bool:
    scheme, _, given = authorization.partition(" ")
    if scheme.lower() == "basic":
        try:
            given = base64.b64decode(given.strip(), validate=True).decode().partition(":")[2]
        except (binascii.Error, UnicodeDecodeError):
            return False
    elif scheme.lower() != "bearer":
        return False
    return hmac.compare_digest(given.strip().encode(), token.encode())


def _name(host: str) -> str:
    """Return a host without its port, and an address without its brackets."""
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.partition(":")[0].lower().removesuffix(".")


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
