"""The clients that a provider calls the API with: the user's own, or one for each event loop."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from copy import copy
from typing import Any, Final, TypeVar, cast
from urllib.parse import urlsplit
from weakref import WeakKeyDictionary

import httpx
from google import genai
from google.genai import types

from batch_bridge._models import JSON
from batch_bridge.providers._gemini_failure import NoCredentials
from batch_bridge.providers._gemini_result import loads

T = TypeVar("T")

_TIMEOUT: Final = 600.0
"""Seconds that a call may take where the user's client sets no bound: the SDK's own default is none."""


class Clients:
    """Gives out the client for the running event loop, which never repeats a call by itself.

    A client's connections belong to the loop that made them, and the user's may be at home in another one. So
    each loop gets a client of its own with the user's settings, made when it is needed. The engine repeats what
    failed: the SDK does not. It would, by options, and over `aiohttp` even without; so these go over `httpx`.

    Args:
        own: The user's client. Where the user has given it an HTTP client, it is used as it is, in any loop;
            it is never closed here.

    Attributes:
        calls: How often each call of the API was made.

    Raises:
        TypeError: It is no client, or one of Vertex AI's.
    """

    def __init__(self, own: genai.Client | None) -> None:
        if own is not None and not isinstance(own, genai.Client):
            kind = f"{type(own).__module__}.{type(own).__qualname__}"
            raise TypeError(
                f"GeminiBatch({kind} object): give a google.genai.Client, or nothing to have one made from "
                "GEMINI_API_KEY"
            )
        if own is not None and own.vertexai:
            raise TypeError(
                "GeminiBatch got a client of Vertex AI, whose batches go through object storage; give a client of the "
                "Gemini Developer API: genai.Client(api_key=…)"
            )
        self._own = own
        self._made: WeakKeyDictionary[asyncio.AbstractEventLoop, tuple[genai.Client, httpx.AsyncClient]] = (
            WeakKeyDictionary()
        )
        self.calls: Counter[str] = Counter()
        self._place: tuple[str, ...] | None = None

    def client(self) -> genai.Client:
        """Return the client for the running event loop.

        Raises:
            NoCredentials: There is no API key.
        """
        if self._own is not None and _has_http_client(self._own):
            return self._own
        loop = asyncio.get_running_loop()
        if (made := self._made.get(loop)) is None:
            made = self._made[loop] = _make(self._own)
        return made[0]

    async def open(self) -> genai.Client:
        """Do what `client` does; a new one, which reads certificates from the disk, is made in a thread."""
        loop = asyncio.get_running_loop()
        if loop not in self._made and (self._own is None or not _has_http_client(self._own)):
            self._made.setdefault(loop, await asyncio.to_thread(_make, self._own))
        return self.client()

    async def call(self, name: str, call: Callable[[genai.client.AsyncClient], Awaitable[T]]) -> T:
        """Make one call of the API, counted under `name`."""
        client = await self.open()
        self.calls[name] += 1
        return await call(client.aio)

    async def read(self, name: str, path: str, body: Mapping[str, JSON] | None = None) -> dict[str, Any]:
        """Return what the API answers to a GET, or to a POST of `body`; counted under `name`.

        Not by the SDK's own methods: they drop the error of a batch that failed and the counts of one that runs,
        and turn requests and answers into objects that cannot say all of them again.

        Raises:
            ValueError: It is no JSON object.
        """
        client = await self.open()
        self.calls[name] += 1
        method = "get" if body is None else "post"
        answered = await client._api_client.async_request(method, path, dict(body or {}), once())  # noqa: SLF001  # as above
        read = loads(answered.body or "null")
        if not isinstance(read, dict):
            raise ValueError(f"{path} was answered with no object; check the client's base_url")  # noqa: TRY004
        return cast("dict[str, Any]", read)

    def place(self) -> tuple[str, ...]:
        """Return where calls go, as far as that may change an answer: no secrets.

        Raises:
            NoCredentials: There is no API key.
        """
        if self._place is None:
            options = (self._own or self.client())._api_client._http_options  # noqa: SLF001  # as below
            url = urlsplit(str(options.base_url))
            self._place = f"{url.scheme}://{url.hostname}:{url.port}{url.path}", str(options.api_version)
        return self._place

    def twin(self) -> "Clients":
        """Return the same once more, with connections of its own; its calls are counted here too."""
        twin = copy(self)
        twin._made = WeakKeyDictionary()  # noqa: SLF001  # our own
        return twin

    async def aclose(self) -> None:
        """Close the client that was made for the running event loop; a new one is made when it is needed."""
        made = self._made.pop(asyncio.get_running_loop(), None)
        if made is not None:
            client, http = made
            await http.aclose()
            await client.aio.aclose()
            client.close()


def once() -> types.HttpOptions:
    """Return the options of a call that is not repeated."""
    return types.HttpOptions(retry_options=types.HttpRetryOptions(attempts=1))


def _make(own: genai.Client | None) -> tuple[genai.Client, httpx.AsyncClient]:
    if own is None:
        options, key = types.HttpOptions(), None
    else:
        sdk = own._api_client  # noqa: SLF001  # the SDK has no other way to tell a client's settings
        options, key = sdk._http_options.model_copy(), sdk.api_key  # noqa: SLF001
    if options.timeout is None:
        options.timeout = int(_TIMEOUT * 1000)
    options.httpx_async_client = http = httpx.AsyncClient(
        **{"follow_redirects": True, **(options.async_client_args or {})}
    )
    options.retry_options = None
    try:
        return genai.Client(vertexai=False, api_key=key, http_options=options), http
    except ValueError as error:
        raise NoCredentials(
            "there is no Gemini API key; set the environment variable GEMINI_API_KEY, or give "
            "GeminiBatch(genai.Client(api_key=…))"
        ) from error


def _has_http_client(client: genai.Client) -> bool:
    options = client._api_client._http_options  # noqa: SLF001  # as above
    return options.httpx_async_client is not None or getattr(options, "aiohttp_client", None) is not None
