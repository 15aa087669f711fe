"""Receives webhooks for files, in a process of its own, until Ctrl-C."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import uvicorn

from batch_bridge.webhooks._app import app
from batch_bridge.webhooks._senders import SenderName

_MOST_AT_ONCE: Final = 500
"""Calls that may run at once; further callers must come again."""


def serve(
    files: Sequence[Path],
    *,
    host: str,
    port: int,
    at: str | None,
    told: Callable[[str], None],
    sender: SenderName = "openai",
) -> None:
    """Receive deliveries until stopped.

    Args:
        files: The files whose owners are woken.
        host: The address to listen on.
        port: The port; 0 is any that is free.
        at: The path that deliveries are posted to; `None`: `/webhooks/` and the sender.
        told: Called with the lines to print once it listens.
        sender: Whose deliveries are received.

    Raises:
        ValueError: There is no valid secret in the environment, or the path does not begin with a slash.
    """
    path = f"/webhooks/{sender}" if at is None else at
    config = uvicorn.Config(
        app(*files, at=path, sender=sender),
        host=host,
        port=port,
        log_level="warning",
        access_log=False,
        limit_concurrency=_MOST_AT_ONCE,
        timeout_graceful_shutdown=1,
        server_header=False,
    )
    socket = config.bind_socket()
    names = ", ".join(map(str, files))
    shown = f"[{host}]" if ":" in host else host
    told(f"Webhooks for {names} are received on http://{shown}:{socket.getsockname()[1]}{path}")
    uvicorn.Server(config).run(sockets=[socket])
