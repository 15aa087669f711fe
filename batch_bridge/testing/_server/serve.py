"""Runs a server in this process until it is stopped."""

import functools
import secrets
import socket
import sys
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from batch_bridge.testing._answers.answer import Answerer, load_function
from batch_bridge.testing._answers.answerers import local
from batch_bridge.testing._answers.stand_in import stand_in
from batch_bridge.testing._server.errors import BatchServerError
from batch_bridge.testing._server.switches.settings import Settings

CONCURRENCY = 16
"""Requests that an upstream, or an async answerer, works on at once unless it is said otherwise."""

_SWITCH_SECONDS = 0.001
"""Threads that work on batches hand the interpreter over this often, so that HTTP does not wait for them."""

_BACKLOG = 2048


def new_token() -> str:
    """Return an unguessable token for the control routes."""
    return secrets.token_urlsafe(24)


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """How a server is started.

    Attributes:
        host: The address to listen on.
        port: The port; 0 is any that is free.
        state_dir: Where files, batches and counters live; `None` is a temporary folder, gone at the end.
        answerer: `module:function` that answers; `None` is the stand-in.
        upstream: Base URL of an OpenAI-compatible server that answers instead.
        upstream_key: Its API key.
        concurrency: Requests that an upstream, or an async answerer, works on at once.
        allow_hosts: More names that it may be called by, in the header `Host`.
        control_token: What the control routes ask for.
        settings: Everything that can change later.
    """

    host: str = "127.0.0.1"
    port: int = 0
    state_dir: str | None = None
    answerer: str | None = None
    upstream: str | None = None
    upstream_key: str | None = None
    concurrency: int = CONCURRENCY
    allow_hosts: tuple[str, ...] = ()
    control_token: str = field(default_factory=new_token, repr=False)
    settings: Settings = field(default_factory=Settings)


def require_server() -> None:
    """Check that what the server needs is installed.

    Raises:
        BatchServerError: It is not; says how to install it.
    """
    try:
        import python_multipart  # noqa: F401, PLC0415
        import starlette  # noqa: F401, PLC0415
        import uvicorn  # noqa: F401, PLC0415
    except ImportError as error:
        raise BatchServerError(
            f"the Batch API server needs {error.name!r}, which is not installed; "
            "run: pip install 'langgraph-batch-bridge[server]'"
        ) from error


def serve(launch: Launch, ready: Callable[[str], None], stop: threading.Event | None = None) -> None:
    """Serve until the event is set, or a signal comes.

    Args:
        launch: How to start.
        ready: Called with the base URL once the server answers.
        stop: Set by another thread to end it.

    Raises:
        BatchServerError: It cannot be started; says why.
    """
    require_server()
    answerer = _answerer(launch)
    if launch.state_dir is not None:
        _serve(launch, Path(launch.state_dir), answerer, ready, stop)
        return
    with tempfile.TemporaryDirectory(prefix="batch-server-", ignore_cleanup_errors=True) as folder:
        _serve(launch, Path(folder), answerer, ready, stop)


def _answerer(launch: Launch) -> Callable[[], Answerer]:
    if launch.answerer is not None and launch.upstream is not None:
        raise BatchServerError("both an answerer and an upstream were given; pass one of them.")
    if launch.upstream is not None:
        from batch_bridge.testing._answers.upstream import Upstream  # noqa: PLC0415 - a second to import

        return functools.partial(Upstream, launch.upstream, key=launch.upstream_key, concurrency=launch.concurrency)
    function = stand_in if launch.answerer is None else load_function(launch.answerer)
    return functools.partial(local, function, concurrency=launch.concurrency)


def _serve(
    launch: Launch,
    folder: Path,
    answerer: Callable[[], Answerer],
    ready: Callable[[str], None],
    stop: threading.Event | None,
) -> None:
    from batch_bridge.testing._server.app import build_app  # noqa: PLC0415 - part of an extra
    from batch_bridge.testing._server.core import Core  # noqa: PLC0415 - the same
    from batch_bridge.testing._server.guard import RequestGuard  # noqa: PLC0415 - the same
    from batch_bridge.testing._server.http import HTTPServer  # noqa: PLC0415 - the same

    sys.setswitchinterval(_SWITCH_SECONDS)
    with _listen(launch.host, launch.port) as listener:
        host = f"[{launch.host}]" if ":" in launch.host else launch.host
        base_url = f"http://{host}:{listener.getsockname()[1]}/v1"
        app = build_app(Core(folder, launch.settings, answerer), launch.control_token)
        guarded = RequestGuard(app, host=launch.host, allowed=launch.allow_hosts)
        HTTPServer(guarded, listener, lambda: ready(base_url), stop).run_here()


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(_BACKLOG)
    except (OSError, OverflowError) as error:
        listener.close()
        raise BatchServerError(
            f"the server cannot listen on {host}:{port}: {error}. Choose another port, or 0 for a free one."
        ) from error
    return listener
