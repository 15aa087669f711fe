"""Admits visitors to the page of a deployment: users of its authentication, called by its own pages."""

import os
from collections.abc import Callable
from typing import Any, Final

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from batch_bridge._node.platform.client import knows_users
from batch_bridge.web._guard import PAGE_HEADERS

_READS: Final = frozenset({"GET", "HEAD"})


class MembersOnly:
    """Refuses visitors that the deployment did not authenticate, and calls caused by another site's page.

    Args:
        app: What answers the others.
        may: Returns whether a user of the deployment may see it; `None`: all may.
    """

    def __init__(self, app: ASGIApp, may: Callable[[Any], bool] | None) -> None:
        self._app = app
        self._may = may

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if (refusal := self._refusal(scope)) is not None:
            status, said = refusal
            await PlainTextResponse(f"{said}\n", status)(scope, receive, send)
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message["headers"], *PAGE_HEADERS]}
            await send(message)

        await self._app(scope, receive, send_guarded)

    def _refusal(self, scope: Scope) -> tuple[int, str] | None:
        user, headers = scope.get("user"), Headers(scope=scope)
        if (knows_users() or _has_keys()) and not getattr(user, "is_authenticated", False):
            return 403, (
                "This deployment has an auth of its own, which is not asked for this page: set "
                '"http": {"enable_custom_route_auth": true} in langgraph.json.'
            )
        if self._may is not None and not self._may(user):
            return 403, "This user may not see the bridges."
        if scope["method"] not in _READS and not _is_own(headers):
            return 403, "This page takes no calls from web pages of another site."
        return None


def _has_keys() -> bool:
    """Return whether the deployment lets in by keys, without a handler, as LangSmith's does."""
    return os.environ.get("LANGGRAPH_AUTH_TYPE", "noop") != "noop"


def _is_own(headers: Headers) -> bool:
    """Return whether no other site's page caused a call: a browser sends a header, and other clients have a key."""
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    if origin is not None and origin.partition("://")[2] != headers.get("host", ""):
        return False
    return site in ("same-origin", "none") if site is not None else origin is not None or not headers.get("cookie")
