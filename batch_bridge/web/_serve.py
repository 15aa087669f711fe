"""Serves the page until Ctrl-C."""

import secrets
from collections.abc import Callable, Iterable
from pathlib import Path

import uvicorn
from starlette.types import ASGIApp

from batch_bridge.web._app import App
from batch_bridge.web._guard import Guard, is_loopback
from batch_bridge.web._watch import WatchedFile


def app(file: Path, *, host: str = "127.0.0.1", token: str | None = None, allowed: Iterable[str] = ()) -> ASGIApp:
    """Return the page as an ASGI app. What reaches it from other machines needs a token.

    Raises:
        ValueError: The address is no loopback, and there is no token.
    """
    if token is None and not is_loopback(host):
        raise ValueError(f"other machines would reach {host}; give a token")
    return Guard(App(WatchedFile(file)).asgi(), host=host, token=token, allowed=allowed)


def serve(
    file: Path, *, host: str, port: int, token: str | None, allowed: Iterable[str], told: Callable[[str], None]
) -> None:
    """Serve the page until it is stopped.

    Args:
        file: What is watched.
        host: The address to listen on.
        port: The port; 0 is any that is free.
        token: The token that visitors must give. By default one is made where other machines reach the page.
        allowed: More host names that requests may use.
        told: Called with the lines to print once it listens.
    """
    if token is None and not is_loopback(host):
        token = secrets.token_urlsafe(24)
        told(f"Other machines reach it: it asks for a password, and any name. The password: {token}")
    config = uvicorn.Config(
        app(file, host=host, token=token, allowed=allowed),
        host=host,
        port=port,
        log_level="warning",
        timeout_graceful_shutdown=1,
    )
    socket = config.bind_socket()
    told(f"Watching {file} on http://{host}:{socket.getsockname()[1]}/")
    uvicorn.Server(config).run(sockets=[socket])
