"""The page as an ASGI app: its state, updated each second, and commands."""

import asyncio
import hmac
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, select_autoescape
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import (
    HTMLResponse,
    JSONResponse,
    PlainTextResponse,
    RedirectResponse,
    Response,
    StreamingResponse,
)
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from batch_bridge._core.wording import words as _words
from batch_bridge._status import text as _text
from batch_bridge._status.commands import VERBS
from batch_bridge._status.models import Status
from batch_bridge.errors import RunFileError
from batch_bridge.web._metrics import metrics
from batch_bridge.web._watch import PageSource, SharedLook

_HERE: Final = Path(__file__).parent
_PERIOD: Final = 1.0
"""Seconds between two pages that are sent."""
_AGES: Final = 5
"""Looks after which a page is sent of which only ages have changed: a page that is swapped may lose a click."""
_ALIVE: Final = 15
"""Looks without a new page after which a comment line keeps the connection alive."""
_TARGETS: Final = frozenset({"thread", "run", "batch"})

Answer = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Page:
    """What one page shows.

    Attributes:
        name: Its template.
        key: The batch or the thread that it is about; empty if it is about all.
    """

    name: str
    key: str = ""


class App:
    """The routes over one source.

    Args:
        source: What is shown.
        base: The path that it is mounted at; empty for the root.
        csrf: What forms send along; by default a secret of this start.
    """

    def __init__(self, source: PageSource, *, base: str = "", csrf: str | None = None) -> None:
        self._watch = SharedLook(source)
        self._base = base
        self._csrf = secrets.token_urlsafe(24) if csrf is None else csrf
        self._templates = Environment(
            loader=FileSystemLoader(_HERE / "_templates"), autoescape=select_autoescape(), trim_blocks=True
        )
        self._templates.globals |= {
            "base": base,
            "span": _words.span,
            "alive": _text.alive_line,
            "threads": _text.threads_line,
            "eta": _text.eta_line,
            "cost": _text.cost_line,
            "window_left": _text.window_left,
        }

    def asgi(self) -> Starlette:
        """Return it as an ASGI app."""
        return Starlette(routes=self.routes(), exception_handlers={RunFileError: _unreadable})

    def routes(self) -> list[BaseRoute]:
        """Return its routes."""
        get = ["GET"]
        return [
            Route("/", self._page("overview"), methods=get),
            Route("/failures", self._page("failures"), methods=get),
            Route("/batches/{key}", self._page("batch"), methods=get),
            Route("/threads", self._find_thread, methods=get),
            Route("/threads/{key:path}", self._page("thread"), methods=get),
            Route("/events/{name}", self._events, methods=get),
            Route("/commands", self._command, methods=["POST"]),
            Route("/status.json", self._json, methods=get),
            Route("/healthz", self._health, methods=get),
            Route("/metrics", self._metrics, methods=get),
            Mount("/static", StaticFiles(directory=_HERE / "_static")),
        ]

    # -- pages -------------------------------------------------------------------------------------------------

    def _page(self, name: str) -> Answer:
        async def answer(request: Request) -> Response:
            page = Page(name, request.path_params.get("key", ""))
            content, is_found = await self._content(page)
            html = self._templates.get_template("page.html").render(page=page, content=content, csrf=self._csrf)
            return HTMLResponse(html, 200 if is_found else 404)

        return answer

    async def _content(self, page: Page) -> tuple[str, bool]:
        """Return what a page shows now, and whether there is what it is about."""
        status = await self._watch.look()
        about: Any = None
        match page.name:
            case "batch":
                about = next((batch for batch in status.batches if batch.key == page.key), None)
            case "thread":
                about = await self._watch.source.thread(page.key)
        is_found = about is not None or page.name not in ("batch", "thread")
        template = self._templates.get_template(f"{page.name}.html")
        return template.render(status=status, page=page, about=about), is_found

    async def _find_thread(self, request: Request) -> Response:
        return RedirectResponse(f"{self._base}/threads/{quote(request.query_params.get('id', ''), safe='')}", 303)

    async def _events(self, request: Request) -> Response:
        name = request.path_params["name"]
        if name not in ("overview", "failures", "batch", "thread"):
            return PlainTextResponse("There is no such page.\n", 404)
        page = Page(name, request.query_params.get("key", ""))
        return StreamingResponse(self._told(page), media_type="text/event-stream")

    async def _told(self, page: Page) -> AsyncIterator[str]:
        """Yield a page each time that it has changed, until its visitor is gone."""
        last, facts, quiet = "", None, 0
        while True:
            try:
                content, _ = await self._content(page)
                now: object = _facts(await self._watch.look())
            except RunFileError as error:
                content = now = self._templates.get_template("error.html").render(error=str(error))
            quiet += 1
            if content != last and (now != facts or quiet >= _AGES):
                last, facts, quiet = content, now, 0
                yield "event: page\n" + "".join(f"data: {line}\n" for line in content.splitlines()) + "\n"
            elif quiet and quiet % _ALIVE == 0:
                yield ": alive\n\n"
            await asyncio.sleep(_PERIOD)

    # -- commands ----------------------------------------------------------------------------------------------

    async def _command(self, request: Request) -> Response:
        form = await request.form()
        given = {name: value for name, value in form.items() if isinstance(value, str)}
        if not hmac.compare_digest(given.get("csrf", "").encode(), self._csrf.encode()):
            return PlainTextResponse("This form is of an earlier start of this page; load it again.\n", 403)
        verb, target = given.get("verb", ""), {name: given[name] for name in _TARGETS if given.get(name)}
        if verb not in VERBS or len(target) > 1:
            return PlainTextResponse("There is no such command.\n", 400)
        said = await self._watch.source.command(verb, target)  # type: ignore[arg-type]  # it was looked up
        if request.headers.get("hx-request") == "true":
            return HTMLResponse(self._templates.get_template("said.html").render(said=said))
        return RedirectResponse(f"{self._base}/", 303)

    # -- for programs --------------------------------------------------------------------------------------------

    async def _json(self, _: Request) -> Response:
        return Response(_text.to_json(await self._watch.look()), media_type="application/json")

    async def _metrics(self, _: Request) -> Response:
        return PlainTextResponse(metrics(await self._watch.look()), media_type="text/plain; version=0.0.4")

    async def _health(self, _: Request) -> Response:
        status = await self._watch.look()
        told: Mapping[str, object] = {"state": status.state, "alive": status.owner.alive, "stuck": list(status.stuck)}
        return JSONResponse(told, 503 if status.state == "stuck" else 200)


def _facts(status: Status) -> Status:
    """Return what is seen without what changes by itself."""
    return replace(status, at=0.0, as_of=None, oldest_waiter=None, eta=None, owner=replace(status.owner, at=None))


async def _unreadable(_: Request, error: Exception) -> Response:
    return PlainTextResponse(f"{error}\n", 503)
