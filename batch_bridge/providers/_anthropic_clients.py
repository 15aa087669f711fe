"""The clients that a provider calls the API with: the user's own, or one for each event loop."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar
from weakref import WeakKeyDictionary

from anthropic import AnthropicError, AsyncAnthropic, DefaultAsyncHttpxClient

from batch_bridge.providers._failure import NoCredentials

T = TypeVar("T")

_CREDENTIALS: Final = frozenset(("authorization", "proxy-authorization", "x-api-key", "cookie", "user-agent"))
"""Headers and query parameters, in lower case, that do not change an answer or must not be in a key."""


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

    def __init__(self, own: AsyncAnthropic | None) -> None:
        if own is not None and not isinstance(own, AsyncAnthropic):
            kind = f"{type(own).__module__}.{type(own).__qualname__}"
            hint = (
                "an Anthropic client is synchronous; give AsyncAnthropic(…) with the same arguments"
                if type(own).__name__ == "Anthropic"
                else "give an anthropic.AsyncAnthropic, or nothing to have one made from ANTHROPIC_API_KEY; the "
                "clients of other clouds have no Message Batches"
            )
            raise TypeError(f"AnthropicBatch({kind} object): {hint}")
        self._own = own if own is None else own.with_options(max_retries=0)
        self._made: WeakKeyDictionary[asyncio.AbstractEventLoop, AsyncAnthropic] = WeakKeyDictionary()
        self.calls: Counter[str] = Counter()
        self._place: tuple[str, ...] | None = None

    def client(self) -> AsyncAnthropic:
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

    def place(self) -> tuple[str, ...]:
        """Return where calls go, as far as that may change an answer: no secrets, no headers that are credentials.

        Raises:
            NoCredentials: There is no API key.
        """
        if self._place is None:
            self._place = _place(self.client() if self._own is None else self._own)
        return self._place

    async def call(self, name: str, call: Callable[[AsyncAnthropic], Awaitable[T]]) -> T:
        """Make one call of the API, counted under `name`."""
        client = self.client()
        self.calls[name] += 1
        return await call(client)

    def twin(self) -> "Clients":
        """Return the same once more, with connections of its own; its calls are counted here too."""
        twin = Clients(self._own)
        twin.calls = self.calls
        return twin

    async def aclose(self) -> None:
        """Close the client that was made for the running event loop; a new one is made when it is needed."""
        client = self._made.pop(asyncio.get_running_loop(), None)
        if client is not None:
            await client.close()


def _place(client: AsyncAnthropic) -> tuple[str, ...]:
    url = client.base_url
    address = f"{url.scheme}://{url.host}:{url.port}{url.raw_path.decode()}"  # without the user's name and password
    options = [*client._custom_query.items(), *client._custom_headers.items()]  # noqa: SLF001  # no public way to them
    named = (
        f"{name}={value}" for name, value in options if name.lower() not in _CREDENTIALS and isinstance(value, str)
    )
    return address, *sorted(named)


def _new() -> AsyncAnthropic:
    missing = (
        "there is no Anthropic API key; set the environment variable ANTHROPIC_API_KEY, or give "
        "AnthropicBatch(AsyncAnthropic(api_key=…))"
    )
    try:
        client = AsyncAnthropic(max_retries=0)
    except AnthropicError as error:
        raise NoCredentials(missing) from error
    if client.api_key is None and client.auth_token is None and getattr(client, "credentials", None) is None:
        raise NoCredentials(missing)
    return client


def _copy(client: AsyncAnthropic) -> AsyncAnthropic:
    return client.with_options(http_client=DefaultAsyncHttpxClient(timeout=client.timeout))


def _is_plain(client: AsyncAnthropic) -> bool:
    """Tell whether the SDK made a client's HTTP client, and not the user (`AsyncAnthropic(http_client=…)`)."""
    http = getattr(client, "_client", None)
    return type(http).__module__ == "anthropic._base_client"
