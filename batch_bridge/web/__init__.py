"""The page of a deployment's bridges, for `http.app` in `langgraph.json`; and of a file. Needs the extra `web`.

::

    # page.py
    from batch_bridge.web import app as page_of
    from bridges import bridge

    app = page_of(bridge)

    # langgraph.json
    "http": {"app": "./page.py:app", "enable_custom_route_auth": true}

It is at `/batch-bridge/`. Where the deployment has an `auth` handler, or LangSmith's keys, it admits the visitors whom
those admit, and no visitor where they are not asked (`enable_custom_route_auth`).

The page of `batch-bridge watch --web`, which shows a file, is here too; it loads no LangGraph.
"""

from typing import TYPE_CHECKING

from batch_bridge._status.extra import require_web

if TYPE_CHECKING:
    from batch_bridge.web._page import app

require_web()

__all__ = ["app"]


def __getattr__(name: str) -> object:
    if name != "app":
        raise AttributeError(f"module 'batch_bridge.web' has no attribute {name!r}")
    from batch_bridge.web._page import app as found  # noqa: PLC0415  # a file's page needs no bridge, nor LangGraph

    return found
