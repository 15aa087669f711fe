"""Keeps web pages out: a page in the developer's browser reaches this machine's ports, and must not use this server.

Such a page sends its own `Origin`, or the browser says that the call comes from another site; or it has a name of its
own lead here (DNS rebinding), which is then the `Host`. The clients that the server is for do none of this.
"""

import socket
from collections.abc import Iterable
from ipaddress import ip_address
from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send

from batch_bridge.testing._server.errors import error_body
from batch_bridge.testing._server.gate import answer_json

LOCAL: Final = frozenset({"127.0.0.1", "localhost", "::1"})
_OWN: Final = frozenset({"same-origin", "none"})
"""Values of `Sec-Fetch-Site` that no other page's call has. `same-site` is another port's."""
_NOT_HERE: Final = 421
_FORBIDDEN: Final = 403


class RequestGuard:
    """Refuses calls that a web page of another origin has caused.

    Args:
        app: What answers the others.
        host: The address that the server listens on.
        allowed: More names that it may be called by.
    """

    def __init__(self, app: ASGIApp, *, host: str, allowed: Iterable[str] = ()) -> None:
        self._app = app
        self._hosts = LOCAL | {name.lower() for name in (host, *allowed)}
        self._open = host not in LOCAL  # others reach it, by addresses that it does not know
        if self._open:
            self._hosts |= {socket.gethostname().lower()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] == "http" and (refusal := self._refusal(scope)) is not None:
            status, text = refusal
            await answer_json(error_body(text, type="invalid_request_error", code="foreign_call"), status)(
                scope, receive, send
            )
            return
        await self._app(scope, receive, send)

    def _refusal(self, scope: Scope) -> tuple[int, str] | None:
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        host = headers.get(b"host", "")
        if not self._is_known(_name(host)):
            return _NOT_HERE, (
                f"This server is not called {host[:100]!r}. Call it by its address, or start it with "
                "--allow-host and that name."
            )
        origin = headers.get(b"origin")
        if origin is not None and origin.partition("://")[2] != host:
            return _FORBIDDEN, "This server takes no calls from web pages of another origin."
        if headers.get(b"sec-fetch-site", "none") not in _OWN:
            return _FORBIDDEN, "This server takes no calls from web pages of another site."
        return None

    def _is_known(self, name: str) -> bool:
        return name in self._hosts or (self._open and _is_address(name))


def _name(host: str) -> str:
    """Return a host without its port, and an address without its brackets."""
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.partition(":")[0].lower().removesuffix(".")


def _is_address(name: str) -> bool:
    """Return whether it is an IP address, which no name server can make lead here."""
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
