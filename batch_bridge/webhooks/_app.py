"""The receiver as an ASGI app."""

import asyncio
from typing import Final

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from batch_bridge._core import clock as _clock
from batch_bridge._core.wording.log import logger_of
from batch_bridge._engine import Notices
from batch_bridge.webhooks._senders import SenderName
from batch_bridge.webhooks._signature import DeliveryRefused, Verifier
from batch_bridge.webhooks._targets import Target, wake_of
from batch_bridge.webhooks._waker import Waker

logger = logger_of(__name__)

PATH: Final = "/webhooks/openai"
"""Where OpenAI's deliveries are received, unless another path is given; another sender's path ends with its name."""
LARGEST: Final = 64 * 1024
"""Bytes of a body; an event has a few hundred."""
_SLOWEST: Final = 10.0
"""Seconds that a body may take to arrive."""


def app(
    *targets: Target,
    secret: str | None = None,
    at: str | None = None,
    tolerance: int = 300,
    sender: SenderName = "openai",
) -> Starlette:
    """Return an ASGI app that receives the webhooks of a sender and wakes its targets.

    A delivery is verified, and of its body only the id is read that says which batch, or response, to look at. What
    became of that is asked of the provider. Doubled deliveries, those in any order, and those of other programs'
    batches cost nothing; deliveries that come within a second are one wake-up.

    ====  =============================================================================
    204   it has woken the targets, or is about something else
    400   its signature is wrong or missing, or it is older than `tolerance`
    413   its body is larger than 64 KiB
    503   a target could not be woken; the sender delivers it again
    ====  =============================================================================

    Args:
        *targets: Runners and Batchers of this process, bridges of this LangGraph server (called as their graphs are in
            `langgraph.json`), or paths of the files of Runners and Batchers on this machine.
        secret: The endpoint's signing secret (`whsec_…`); by default `OPENAI_WEBHOOK_SECRET`,
            `GEMINI_WEBHOOK_SECRET` or `OPENROUTER_WEBHOOK_SECRET` in the environment.
        at: The path that deliveries are posted to; by default `/webhooks/` and the sender.
        tolerance: How old a delivery may be, in seconds.
        sender: Whose deliveries are received: `"openai"`; `"gemini"`, those of the static webhooks of a project; or
            `"openrouter"`, the callbacks of a workspace's batches.

    Raises:
        TypeError: There is no target, or one is of another type.
        ValueError: There is no such sender, no valid secret, or the path does not begin with a slash.
    """
    if not targets:
        raise TypeError("webhooks.app() got nothing to wake; pass a Runner, a Batcher, a Bridge, or a file")
    path = f"/webhooks/{sender}" if at is None else at
    if not path.startswith("/"):
        raise ValueError(f"webhooks.app(at={at!r}): a path begins with a slash")
    receiver = _Receiver(Verifier(sender, secret, tolerance), Waker([wake_of(target) for target in targets]))
    return Starlette(routes=[Route(path, receiver.receive, methods=["POST"])])


class _Receiver:
    def __init__(self, verifier: Verifier, waker: Waker) -> None:
        self._verifier = verifier
        self._waker = waker
        self._notices = Notices()

    async def receive(self, request: Request) -> Response:
        """Answer one delivery. Nothing of it is logged."""
        try:
            async with asyncio.timeout(_SLOWEST):
                body = await _read(request)
        except (TimeoutError, ClientDisconnect):
            return Response(status_code=408)
        if body is None:
            return Response(status_code=413, headers={"connection": "close"})
        try:
            ended = self._verifier.ended(body, request.headers)
        except DeliveryRefused as error:
            self._warn("refused", f"a delivery was refused: its signature is wrong or too old ({error})")
            return Response(status_code=400)
        if ended is None:
            return Response(status_code=204)
        try:
            await self._waker.wake(ended)
        except Exception as error:  # noqa: BLE001  # whatever it is, the sender comes again, and polling continues
            self._warn("failed", f"a delivery woke no owner, so polling continues: {type(error).__name__}: {error}")
            return Response(status_code=503)
        return Response(status_code=204)

    def _warn(self, kind: str, text: str) -> None:
        if (again := self._notices.again("webhooks", kind, _clock.now())) is not None:
            logger.warning("webhooks: %s%s", text, again)


async def _read(request: Request) -> bytes | None:
    """Return the body; `None` if it is too large, of which no more is read."""
    said = request.headers.get("content-length", "")
    if said.isdecimal() and (len(said) > len(str(LARGEST)) or int(said) > LARGEST):
        return None
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > LARGEST:
            return None
    return bytes(body)
