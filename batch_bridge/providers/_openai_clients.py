"""The clients that a provider calls the API with: the user's own, or one for each event loop."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import TypeVar
from weakref import WeakKeyDictionary

from openai import AsyncOpenAI, OpenAIError

from batch_bridge.providers._openai_failure import NoCredentials

T = TypeVar("T")


class Clients:
    """Gives out the client for the running event loop, which never repeats a call by itself.

    A client's connections belong to the loop that made them, so without one of the user's there is one a
    loop, made when it is first needed. The engine repeats what failed: the SDK does not.

    Args:
        own: The user's client; never closed here.

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
        if self._own is not None:
            return self._own
        loop = asyncio.get_running_loop()
        client = self._made.get(loop)
        if client is None:
            try:
                client = self._made[loop] = AsyncOpenAI(max_retries=0)
            except OpenAIError as error:
                raise NoCredentials(
                    "there is no OpenAI API key; set the environment variable OPENAI_API_KEY, or give "
                    "OpenAIBatch(AsyncOpenAI(api_key=…))"
                ) from error
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
