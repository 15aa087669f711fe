"""The page of a deployment's bridges, as an ASGI app."""

from collections.abc import Callable
from typing import Any

from starlette.applications import Starlette
from starlette.routing import Mount

from batch_bridge.bridge import Bridge
from batch_bridge.web._app import App
from batch_bridge.web._deployment import Deployment
from batch_bridge.web._members_only import MembersOnly


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
