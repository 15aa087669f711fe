"""The clients that a provider calls the API with: the user's own, or one for each event loop."""

import asyncio
import logging
import os
from collections import Counter
from collections.abc import Awaitable, Callable
from copy import copy
from typing import Any, Final, NamedTuple, TypeAlias, TypeVar
from weakref import WeakKeyDictionary, ref

from openai import AsyncAzureOpenAI, AsyncOpenAI, AzureOpenAI, DefaultAsyncHttpxClient, OpenAI, OpenAIError

from batch_bridge._models import JSON
from batch_bridge.errors import RequestRefused
from batch_bridge.providers._openai_failure import NoCredentials
from batch_bridge.providers._openai_quirks import OPENAI, Quirks

logger = logging.getLogger("batch_bridge")

T = TypeVar("T")
Own: TypeAlias = AsyncOpenAI | Callable[[], AsyncOpenAI]
"""What users may give: a client, or a function that makes a new one each time."""

_CREDENTIALS: Final = ("authorization", "proxy-authorization", "api-key", "x-api-key", "cookie", "user-agent")
"""Headers and query parameters, in lower case, that do not change an answer or must not be in a key."""


class Clients:
    """Gives out the client for the running event loop, which never repeats a call by itself.

    A client's connections belong to the loop that made them, and the user's may be at home in another one. So
    each loop gets a client of its own with the user's settings, made when it is needed. The engine repeats
    what failed: the SDK does not.

    Args:
        own: The user's client, which is never closed here. One that was given an HTTP client is used as it is, and a
            second loop that uses it is warned of. Or a function that makes one, called for each loop (and once to
            learn where calls go); what it makes is closed here.
        quirks: Whom a client is made for, where the user gives none.

    Attributes:
        calls: How often each call of the API was made.
    """

    def __init__(self, own: Own | None, quirks: Quirks = OPENAI) -> None:
        self._make: Callable[[], AsyncOpenAI] | None = None
        if callable(own) and not isinstance(own, AsyncOpenAI):
            self._make = own
            own = own()
        if own is not None and not isinstance(own, AsyncOpenAI):
            kind = f"{type(own).__module__}.{type(own).__qualname__}"
            hint = (
                "an OpenAI client is synchronous; give AsyncOpenAI(…) with the same arguments"
                if type(own).__name__ in ("OpenAI", "AzureOpenAI")
                else "give an openai.AsyncOpenAI, a function that makes one, or nothing to have one made from "
                "OPENAI_API_KEY"
            )
            raise TypeError(f"OpenAIBatch({kind} object): {hint}")
        self._own = own if own is None else own.with_options(max_retries=0)
        self._home: ref[asyncio.AbstractEventLoop] | None = None
        self._has_warned = False
        self._quirks = quirks
        self._made: WeakKeyDictionary[asyncio.AbstractEventLoop, AsyncOpenAI] = WeakKeyDictionary()
        self.calls: Counter[str] = Counter()
        self._place: tuple[str, ...] | None = None
        self._origin: dict[str, JSON] | None = None

    def client(self) -> AsyncOpenAI:
        """Return the client for the running event loop.

        Raises:
            NoCredentials: There is no API key.
        """
        return self._known() or self._keep(self._create())

    async def open(self) -> AsyncOpenAI:
        """Do what `client` does; a new one, which reads certificates from the disk, is made in a thread."""
        return self._known() or self._keep(await asyncio.to_thread(self._create))

    def _known(self) -> AsyncOpenAI | None:
        loop = asyncio.get_running_loop()
        own = self._own
        if own is not None and self._make is None and not is_plain(own):
            self._note(loop)
            return own
        return self._made.get(loop)

    def _create(self) -> AsyncOpenAI:
        if self._own is None:
            return _new(self._quirks)
        return _copy(self._own) if self._make is None else self._make().with_options(max_retries=0)

    def _keep(self, client: AsyncOpenAI) -> AsyncOpenAI:
        loop = asyncio.get_running_loop()
        own = self._own
        if own is not None and client._client is own._client:  # noqa: SLF001  # always the same one: the user's, then
            self._note(loop)
            return client
        return self._made.setdefault(loop, client)

    def _note(self, loop: asyncio.AbstractEventLoop) -> None:
        """Warn, once, of a second loop that uses the user's HTTP client."""
        if self._home is None:
            self._home = ref(loop)
        elif self._home() is not loop and not self._has_warned:
            self._has_warned = True
            logger.warning(
                "OpenAIBatch: a client with an http_client of its own is used in a second event loop, and its "
                "connections belong to one; give a function that makes a new client each time, called once for a loop: "
                "OpenAIBatch(lambda: AsyncOpenAI(http_client=…))"
            )

    def place(self) -> tuple[str, ...]:
        """Return where calls go, as far as that may change an answer: no secrets, no headers that are credentials.

        Raises:
            NoCredentials: There is no API key.
        """
        if self._place is None:
            self._place = _place(self.client() if self._own is None else self._own)
        return self._place

    def check(self, item: JSON) -> None:
        """Refuse an item that was asked through a client for another API, or for another's account.

        Raises:
            RequestRefused: It names such a client.
        """
        if type(item) is not dict or type(asked := item.get("client")) is not dict:
            return
        if self._origin is None:
            self._origin = origin_of(self._own) if self._own is not None else _origin_of_environment(self._quirks)
        for name, value in asked.items():
            own = self._origin.get(name)
            if own is not None and value is not None and value != own:
                raise RequestRefused(
                    f"the request cannot be sent: its client's {name} is {value!r}, and this provider's is {own!r}; "
                    "name another bridge for that client, or give the bridge OpenAIBatch(that client)"
                )

    async def call(self, name: str, call: Callable[[AsyncOpenAI], Awaitable[T]]) -> T:
        """Make one call of the API, counted under `name`."""
        client = await self.open()
        self.calls[name] += 1
        return await call(client)

    def twin(self) -> "Clients":
        """Return the same once more, with connections of its own; its calls are counted here too."""
        twin = copy(self)
        twin._made = WeakKeyDictionary()  # noqa: SLF001  # our own
        return twin

    async def aclose(self) -> None:
        """Close the client that was made for the running event loop; a new one is made when it is needed."""
        client = self._made.pop(asyncio.get_running_loop(), None)
        if client is not None:
            await client.close()


class Identity(NamedTuple):
    """What tells clients apart. Holds secrets.

    Attributes:
        base_url: Where calls go.
        organization: Who pays, where the client names it.
        project: The same.
        api_key: What it authorizes with: keys, or the function that gives them.
        http_client: Its HTTP client.
        default_headers: Its own.
        default_query: The same for parameters.
    """

    base_url: str
    organization: str | None
    project: str | None
    api_key: object
    http_client: object
    default_headers: tuple[tuple[str, str], ...]
    default_query: tuple[tuple[str, str], ...]

    def difference(self, other: "Identity") -> str:
        """Say how this one differs from another, without secrets: of most fields, their names alone."""
        told = []
        for name, mine, others in zip(self._fields, self, other, strict=True):
            if mine != others:
                is_open = name in ("organization", "project")
                told.append(f"{name} ({mine!r} and {others!r})" if is_open else name)
        return ", ".join(told)


def identity_of(client: Any) -> Identity:
    """Return what tells clients apart whose requests must not share a Batcher. Never stored."""
    key_provider = getattr(client, "_api_key_provider", None)
    token_provider = getattr(client, "_azure_ad_token_provider", None)
    return Identity(
        str(client.base_url),
        client.organization,
        client.project,
        (client.api_key if key_provider is None else key_provider, getattr(client, "_azure_ad_token", None))
        if token_provider is None
        else token_provider,
        client._client,  # noqa: SLF001  # there is no public way to it, nor to the next two
        _frozen(client._custom_headers),  # noqa: SLF001
        _frozen(client._custom_query),  # noqa: SLF001
    )


def origin_of(client: OpenAI | AsyncOpenAI) -> dict[str, JSON]:
    """Return whom a client speaks to and who pays: no secrets, and no Azure deployment."""
    url = client.base_url
    port = "" if url.port is None else f":{url.port}"
    path = url.path.rstrip("/")
    if (deployment := deployment_of(client)) is not None:
        path = path.removesuffix(f"/deployments/{deployment}")
    named = {
        "base_url": f"{url.scheme}://{url.host}{port}{path}",
        "organization": client.organization,
        "project": client.project,
    }
    return {name: value for name, value in named.items() if value is not None}


def deployment_of(client: OpenAI | AsyncOpenAI) -> str | None:
    """Return the Azure deployment that a client's URL ends with; copies of a client may know it by that alone."""
    if not isinstance(client, AzureOpenAI | AsyncAzureOpenAI):
        return None
    _, slash, deployment = client.base_url.path.rstrip("/").rpartition("/deployments/")
    return deployment if slash and "/" not in deployment else None


def _origin_of_environment(quirks: Quirks) -> dict[str, JSON]:
    if quirks.name == "azure":
        return {}  # its client says where it goes only when it is made
    with OpenAI(api_key="unused", base_url=quirks.base_url) as client:  # reads what the SDK reads; there may be no key
        return origin_of(client)


def _place(client: AsyncOpenAI) -> tuple[str, ...]:
    url = client.base_url
    address = f"{url.scheme}://{url.host}:{url.port}{url.raw_path.decode()}"  # without the user's name and password
    options = [*client._custom_query.items(), *client._custom_headers.items()]  # noqa: SLF001  # no public way to them
    told = [(name, value) for name, value in options if name.lower() not in _CREDENTIALS and isinstance(value, str)]
    return address, client.organization or "", client.project or "", *sorted(f"{name}={value}" for name, value in told)


def _new(quirks: Quirks) -> AsyncOpenAI:
    if quirks.name == "azure":
        return _new_azure()
    key = quirks.api_key and os.environ.get(quirks.api_key)
    if quirks.api_key is not None and not key:
        raise NoCredentials(
            f"there is no API key of {quirks.name}; set the environment variable {quirks.api_key}, or give "
            "OpenAIBatch(AsyncOpenAI(base_url=…, api_key=…), quirks=…)"
        )
    try:
        return AsyncOpenAI(base_url=quirks.base_url, api_key=key, max_retries=0)
    except OpenAIError as error:
        raise NoCredentials(
            "there is no OpenAI API key; set the environment variable OPENAI_API_KEY, or give "
            "OpenAIBatch(AsyncOpenAI(api_key=…))"
        ) from error


def _new_azure() -> AsyncOpenAI:
    try:
        return AsyncAzureOpenAI(max_retries=0)
    except (OpenAIError, ValueError) as error:
        raise NoCredentials(
            f"no client of Azure can be made ({error}); set AZURE_OPENAI_ENDPOINT, AZURE_OPENAI_API_KEY and "
            "OPENAI_API_VERSION, or give AzureOpenAIBatch(AsyncAzureOpenAI(…))"
        ) from error


def _copy(client: AsyncOpenAI) -> AsyncOpenAI:
    return client.with_options(max_retries=0, http_client=DefaultAsyncHttpxClient(timeout=client.timeout))


def is_plain(client: OpenAI | AsyncOpenAI) -> bool:
    """Tell whether the SDK made a client's HTTP client, and not the user (`AsyncOpenAI(http_client=…)`)."""
    http = getattr(client, "_client", None)
    return type(http).__module__ == "openai._base_client"


def _frozen(mapping: Any) -> tuple[tuple[str, str], ...]:
    return tuple(sorted((str(name), str(value)) for name, value in mapping.items()))
