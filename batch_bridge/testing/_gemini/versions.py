"""Gemini's API under `/v1`, where google-genai asks from its third major version on.

OpenAI's and Anthropic's APIs are under `/v1` too; the key's header tells them apart.
"""

from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send

_KEY: Final = b"x-goog-api-key"
_OF_FILES: Final = ("/upload", "/download")


class GeminiVersions:
    """Leads Gemini's calls of `/v1` to the routes of `/v1beta`.

    Args:
        app: What answers.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] == "http" and any(name == _KEY for name, _ in scope["headers"]):
            scope = {**scope, "path": _newest(scope["path"])}
        await self._app(scope, receive, send)


def _newest(path: str) -> str:
    for root in ("", *_OF_FILES):
        if path.startswith(f"{root}/v1/"):
            return path.replace("/v1/", "/v1beta/", 1)
    return path
