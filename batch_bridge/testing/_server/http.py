"""Uvicorn, with what a server of faults needs more of it."""

import asyncio
import socket
import threading
from collections.abc import Callable
from typing import Any

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.auto import AutoHTTPProtocol

ABORT = "batch_bridge.abort"
"""In the scope of each request: closes its connection without a response, which HTTP servers avoid."""

_SHUTDOWN_SECONDS = 1
_KEEP_ALIVE_SECONDS = 75
"""How long an idle connection stays open. One that a client reuses while it is closed costs a call, in doubt."""
_Base: Any = AutoHTTPProtocol  # one of two classes, by what is installed


class _Abortable(_Base):  # type: ignore[misc]
    app: ASGIApp

    def connection_made(self, transport: asyncio.Transport) -> None:
        super().connection_made(transport)
        inner = self.app

        async def with_abort(scope: Scope, receive: Receive, send: Send) -> None:
            scope[ABORT] = transport.abort
            await inner(scope, receive, send)

        self.app = with_abort


class HTTPServer(uvicorn.Server):
    """Serves one application on one socket.

    Args:
        app: The application.
        listener: A socket that listens already.
        ready: Called once when requests are answered.
        stop: Set by another thread to end the server.
    """

    def __init__(
        self,
        app: ASGIApp,
        listener: socket.socket,
        ready: Callable[[], None],
        stop: threading.Event | None,
    ) -> None:
        config = uvicorn.Config(
            app,
            http=_Abortable,
            ws="none",
            lifespan="on",
            log_level="error",
            access_log=False,
            timeout_graceful_shutdown=_SHUTDOWN_SECONDS,
            timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        )
        super().__init__(config)
        self._listener = listener
        self._ready = ready
        self._stop = stop

    def run_here(self) -> None:
        """Serve until stopped, or until a signal comes."""
        asyncio.run(self.serve(sockets=[self._listener]))

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start to answer, and say so."""
        await super().startup(sockets)
        if self.should_exit:
            return
        if self._stop is not None:
            threading.Thread(target=self._watch, args=(self._stop,), daemon=True).start()
        self._ready()

    def _watch(self, stop: threading.Event) -> None:
        stop.wait()
        self.should_exit = True
