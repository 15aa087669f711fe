"""The page of a deployment's bridges, for `http.app` in `langgraph.json`. Needs the extra `web`.

::

    # page.py
    from batch_bridge.web import app as page_of
    from bridges import bridge

    app = page_of(bridge)

    # langgraph.json
    "http": {"app": "./page.py:app", "enable_custom_route_auth": true}

It is at `/batch-bridge/`. Where the deployment has an `auth` handler it lets in whom that lets in, and nobody where the
handler is not asked (`enable_custom_route_auth`).
"""

from collections.abc import Callable
from typing import Any

from batch_bridge._status.extra import require_web

require_web()

from starlette.applications import Starlette
from starlette.routing import Mount

from batch_bridge._web.app import App
from batch_bridge._web.deployment import Deployment
from batch_bridge._web.members_only import MembersOnly
from batch_bridge.bridge import Bridge

__all__ = ["app"]


def app(*bridges: Bridge, at: str = "/batch-bridge", may: Callable[[Any], bool] | None = None) -> Starlette:
    """Return the page as an ASGI app.

    Args:
        bridges: Those that are shown. Each has to be called as its graph is in `langgraph.json`.
        at: The path that it is at.
        may: Called with the user that the deployment's `auth` handler has let in; returns whether that one may see the
            page, and use its buttons. `None`: all may. The page shows counts of all users' requests, and no content.

    Raises:
        ValueError: There is no bridge, or the path does not begin with a slash.
    """
    if not bridges:
        raise ValueError("app() got no bridge; pass app(bridge)")
    if not at.startswith("/") or at.endswith("/"):
        raise ValueError(f"app(at={at!r}): a path begins with a slash and does not end with one")
    page = App(Deployment({bridge.name: bridge for bridge in bridges}), base=at, csrf="")
    return Starlette(routes=[Mount(at, app=MembersOnly(page.asgi(), may))])
