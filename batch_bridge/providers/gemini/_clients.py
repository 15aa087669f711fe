"""The clients that Gemini's API is called with: the user's own, or one for each event loop."""

import os
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final, cast
from urllib.parse import urlsplit

import httpx
from google import genai
from google.genai import types

from batch_bridge._core.closing import close_all
from batch_bridge._core.models import JSON
from batch_bridge.providers._shared.clean_text import without_secrets
from batch_bridge.providers._shared.http import clients as _clients
from batch_bridge.providers._shared.http.response_limits import USUAL, ResponseLimits
from batch_bridge.providers._shared.results.result import loads
from batch_bridge.providers.gemini._failure import NoCredentials

_TIMEOUT: Final = 600.0
"""Seconds that a call may take where the user's client sets no bound: the SDK itself sets no bound."""
_VERSION: Final = "v1beta"
"""The API's version, by default. The SDK's own default is `v1` from its third major version on, and some models'
aliases exist here alone. Source: the README of github.com/googleapis/python-genai, "Major version 3 changes"."""
_VERSION_VARIABLE: Final = "GOOGLE_GENAI_API_VERSION"


class GeminiClients(_clients.Clients[genai.Client]):
    """Gives out the client for the running event loop.

    The SDK would repeat calls, by options, and over `aiohttp` even without; so these go over `httpx`.

    Args:
        own: The user's client. Where the user has given it an HTTP client, it is used as it is, in any loop;
            it is never closed here. One of `aiohttp` knows no limits of size and host.
        limits: What is taken from the provider at most.

    Raises:
        TypeError: It is no client, or one of Vertex AI's.
    """

    def __init__(self, own: genai.Client | None, limits: ResponseLimits = USUAL) -> None:
        if own is not None and not isinstance(own, genai.Client):
            hint = "pass a google.genai.Client, or nothing to have one created from GEMINI_API_KEY"
            raise _clients.wrong("GeminiBatch", own, hint)
        if own is not None and own.vertexai:
            raise TypeError(
                "GeminiBatch got a client of Vertex AI, whose batches use object storage; pass a client of the "
                "Gemini Developer API: genai.Client(api_key=…)"
            )
        super().__init__(own, limits=limits)

    async def read(
        self,
        name: str,
        path: str,
        body: Mapping[str, JSON] | None = None,
        carries: _clients.Carries = "state",
        longest: timedelta | None = None,
    ) -> dict[str, Any]:
        """Return what the API answers to a GET, or to a POST of `body`; counted under `name`.

        Not by the SDK's own methods: they drop the error of a batch that failed and the counts of one that runs,
        and turn requests and answers into objects that cannot say all of them again.

        Raises:
            ValueError: It is no JSON object.
        """
        method = "get" if body is None else "post"
        answered = await self.call(
            name,
            lambda client: client._api_client.async_request(method, path, dict(body or {}), once(longest)),  # noqa: SLF001  # as above
            carries,
        )
        read = loads(without_secrets(_bytes(answered.body or "null")))
        if not isinstance(read, dict):
            raise ValueError(f"{path} was answered with no object; check the client's base_url")  # noqa: TRY004
        return cast("dict[str, Any]", read)

    def _new(self) -> genai.Client:
        return _make(types.HttpOptions(api_version=_own_version()))

    def _copy(self, own: genai.Client) -> genai.Client:
        return _make(_options(own).model_copy(), own._api_client.api_key)  # noqa: SLF001  # as in `_options`

    async def _close(self, client: genai.Client) -> None:
        http = self._http(client).aclose  # the SDK closes none that it was given
        try:
            await close_all((http, client.aio.aclose))
        finally:
            client.close()

    def _http(self, client: genai.Client) -> Any:
        return _options(client).httpx_async_client

    def _with_http(self, client: genai.Client, http: Any) -> genai.Client:
        options = _options(client).model_copy(update={"httpx_async_client": http})
        return _make(options, client._api_client.api_key)  # noqa: SLF001  # as in `_options`

    def _base_url(self, client: genai.Client) -> Any:
        return urlsplit(str(_options(client).base_url))

    def _is_plain(self, client: genai.Client) -> bool:
        options = _options(client)
        return options.httpx_async_client is None and getattr(options, "aiohttp_client", None) is None

    def _place_of(self, client: genai.Client) -> tuple[str, ...]:
        options = _options(client)
        url = urlsplit(str(options.base_url))
        return f"{url.scheme}://{url.hostname}:{url.port}{url.path}", str(options.api_version)

    def _describe(self) -> tuple[str, ...]:
        nowhere = _clients.nowhere()
        options = types.HttpOptions(
            api_version=_own_version(),
            httpx_client=httpx.Client(transport=nowhere),
            httpx_async_client=httpx.AsyncClient(transport=nowhere),
            client_args={"verify": True},  # for each of these that is missing the SDK would read certificates
            async_client_args={"verify": True, "ssl": True},
        )
        return self._place_of(_make(options))


def _own_version() -> str | None:
    """Return the version that a client of ours asks for; `None` where the environment names one for the SDK."""
    return None if os.environ.get(_VERSION_VARIABLE) else _VERSION


def _bytes(body: str | bytes) -> bytes:
    return body.encode(errors="surrogatepass") if isinstance(body, str) else body


def once(timeout: timedelta | None = None) -> types.HttpOptions:
    """Return the options of a call that is not repeated, and may take so long; else as long as others."""
    milliseconds = None if timeout is None else int(timeout.total_seconds() * 1000)
    return types.HttpOptions(timeout=milliseconds, retry_options=types.HttpRetryOptions(attempts=1))


def _options(client: genai.Client) -> types.HttpOptions:
    return client._api_client._http_options  # noqa: SLF001  # the SDK has no public way to read a client's settings


def _make(options: types.HttpOptions, key: str | None = None) -> genai.Client:
    if options.timeout is None:
        options.timeout = int(_TIMEOUT * 1000)
    if options.httpx_async_client is None:
        options.httpx_async_client = httpx.AsyncClient(
            **{"follow_redirects": True, **(options.async_client_args or {})}
        )
    options.retry_options = None
    try:
        return genai.Client(vertexai=False, api_key=key, http_options=options)
    except ValueError as error:
        raise NoCredentials(
            "there is no Gemini API key; set the environment variable GEMINI_API_KEY, or pass "
            "GeminiBatch(genai.Client(api_key=…))"
        ) from error
