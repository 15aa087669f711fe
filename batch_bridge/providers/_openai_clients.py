"""The clients that a provider calls the API with: the user's own, or one for each event loop."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import TypeVar
from weakref import WeakKeyDictionary

from openai import AsyncOpenAI, DefaultAsyncHttpxClient, OpenAIError

from batch_bridge.providers._openai_failure import NoCredentials

T = TypeVar("T")


class Clients:
    """Gives out the client for the running event loop, which never repeats a call by itself.

    A client's connections belong to the loop that made them, and the user's may be at home in another one. So
    each loop gets a client of its own with the user's settings, made when it is needed. The engine repeats
    what failed: the SDK does not.

    Args:
        own: The user's client. Where the user has given it an HTTP client, it is used as it is, in any loop;
            it is never closed here.

    Attributes:
        calls: How often each call of the API was made.
    """

    def __init__(self, own: AsyncOpenAI | None) -> None:
        if own is not None and not isinstance(own, AsyncOpenAI):
            kind = f"{type(own).__module__}.{type(own).__qualname__}"
            hint = (
                "an OpenAI client is synchronous; give AsyncOpenAI(…) with the same arguments"
                if type(own).__name__ in ("OpenAI", "AzureOpenAI")
                else "give an openai.AsyncOpenAI, or nothing to have one made from OPENAI_API_KEY"
            )
            raise TypeError(f"OpenAIBatch({kind} object): {hint}")
        self._own = own if own is None else own.with_options(max_retries=0)
        self._made: WeakKeyDictionary[asyncio.AbstractEventLoop, AsyncOpenAI] = WeakKeyDictionary()
        self.calls: Counter[str] = Counter()

    def client(self) -> AsyncOpenAI:
        """Return the client for the running event loop.

        Raises:
            NoCredentials: There is no API key.
        """
        loop = asyncio.get_running_loop()
        if self._own is not None and not _is_plain(self._own):
            return self._own
        client = self._made.get(loop)
        if client is None:
            client = self._made[loop] = _new() if self._own is None else _copy(self._own)
        return client

    async def call(self, name: str, call: Callable[[AsyncOpenAI], Awaitable[T]]) -> T:
        """Make one call of the API, counted under `name`."""
        client = self.client()
        self.calls[name] += 1
        return await call(client)

    async def aclose(self) -> None:
        """Close the client that was made for the running event loop; a new one is made when it is needed."""
        client = self._made.pop(asyncio.get_running_loop(), None)
        if client is not None:
            await client.close()


def _new() -> AsyncOpenAI:
    try:
        return AsyncOpenAI(max_retries=0)
    except OpenAIError as error:
        raise NoCredentials(
            "there is no OpenAI API key; set the environment variable OPENAI_API_KEY, or give "
            "OpenAIBatch(AsyncOpenAI(api_key=…))"
        ) from error


def _copy(client: AsyncOpenAI) -> AsyncOpenAI:
    return client.with_options(max_retries=0, http_client=DefaultAsyncHttpxClient(timeout=client.timeout))


def _is_plain(client: AsyncOpenAI | None) -> bool:
    """Tell whether the SDK made a client's HTTP client, and not the user (`AsyncOpenAI(http_client=…)`)."""
    http = getattr(client, "_client", None)
    return type(http).__module__ == "openai._base_client"
