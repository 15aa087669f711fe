"""The clients that OpenAI's API is called with: the user's own, or one for each event loop."""

import os
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias, TypeVar

from openai import (
    AsyncAzureOpenAI,
    AsyncOpenAI,
    AzureOpenAI,
    DefaultAsyncHttpxClient,
    DefaultHttpxClient,
    OpenAI,
    OpenAIError,
)

from batch_bridge._core.headers import deciding
from batch_bridge._core.models import JSON
from batch_bridge.errors import RequestRefused
from batch_bridge.providers._shared.http import clients as _clients
from batch_bridge.providers._shared.http.response_limits import USUAL, ResponseLimits
from batch_bridge.providers.openai._dialects import OPENAI, Quirks
from batch_bridge.providers.openai._failure import NoCredentials

Own: TypeAlias = AsyncOpenAI | Callable[[], AsyncOpenAI]
"""What users may give: a client, or a function that makes a new one each time."""
Made = TypeVar("Made", OpenAI, AsyncOpenAI)
AZURE_HOSTS = (".azure.com", ".azure.us", ".azure.cn")


class OpenAIClients(_clients.Clients[AsyncOpenAI]):
    """Gives out the client for the running event loop.

    Args:
        own: The user's client, which is never closed here. One that was given an HTTP client is used as it is, and a
            second loop that uses it is warned of. Or a function that makes one, called for each loop (and once to
            learn where calls go); what it makes is closed here.
        quirks: The server that a client is made for, if the user gives none.
        limits: What is taken from the provider at most.
    """

    _instead = "OpenAIBatch(lambda: AsyncOpenAI(http_client=…))"

    def __init__(self, own: Own | None, quirks: Quirks = OPENAI, limits: ResponseLimits = USUAL) -> None:
        client, make = _clients.read_own(own, AsyncOpenAI)
        if client is not None and not isinstance(client, AsyncOpenAI):
            hint = (
                "an OpenAI client is synchronous; pass AsyncOpenAI(…) with the same arguments"
                if type(client).__name__ in ("OpenAI", "AzureOpenAI")
                else "pass an openai.AsyncOpenAI, a function that returns one, or nothing to have one created from "
                "OPENAI_API_KEY"
            )
            raise _clients.wrong("OpenAIBatch", client, hint)
        super().__init__(
            client and client.with_options(max_retries=0),
            make and (lambda: make().with_options(max_retries=0)),
            limits,
        )
        self._quirks = quirks
        self._origin: dict[str, JSON] | None = None

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
                    "name another bridge for that client, or use OpenAIBatch(that client) in the bridge"
                )

    def _new(self) -> AsyncOpenAI:
        return _from_environment(self._quirks, AsyncOpenAI, AsyncAzureOpenAI, max_retries=0)

    def _copy(self, own: AsyncOpenAI) -> AsyncOpenAI:
        return own.with_options(
            http_client=DefaultAsyncHttpxClient(timeout=own.timeout, verify=_clients.certificates(self._http(own)))
        )

    async def _close(self, client: AsyncOpenAI) -> None:
        await client.close()

    def _http(self, client: AsyncOpenAI) -> object:
        return client._client  # noqa: SLF001  # there is no public way to it

    def _with_http(self, client: AsyncOpenAI, http: Any) -> AsyncOpenAI:
        return client.with_options(http_client=http)

    def _base_url(self, client: AsyncOpenAI) -> Any:
        return client.base_url

    def _is_plain(self, client: AsyncOpenAI) -> bool:
        return is_plain(client)

    def _place_of(self, client: AsyncOpenAI) -> tuple[str, ...]:
        return _place(client)

    def _describe(self) -> tuple[str, ...]:
        with _from_environment(self._quirks, OpenAI, AzureOpenAI, http_client=_unconnected()) as client:
            return _place(client)


class ClientIdentity(NamedTuple):
    """The key that differs between clients. Holds secrets.

    Attributes:
        base_url: Where calls go.
        organization: Who pays, where the client names it.
        project: The same.
        api_key: What it authorizes with: keys, or the function that gives them.
        http_client: Its HTTP client.
        default_headers: Its own, as far as they decide anything.
        default_query: The same for parameters.
    """

    base_url: str
    organization: str | None
    project: str | None
    api_key: object
    http_client: object
    default_headers: tuple[tuple[str, str], ...]
    default_query: tuple[tuple[str, str], ...]

    def difference(self, other: "ClientIdentity") -> str:
        """Return how this one differs from another, without secrets: only the names of most fields."""
        told = []
        for name, mine, others in zip(self._fields, self, other, strict=True):
            if mine != others:
                is_open = name in ("organization", "project")
                told.append(f"{name} ({mine!r} and {others!r})" if is_open else name)
        return ", ".join(told)


def identity_of(client: Any) -> ClientIdentity:
    """Return a key that differs between clients whose requests must not share a Batcher. Never stored."""
    key_provider = getattr(client, "_api_key_provider", None)
    token_provider = getattr(client, "_azure_ad_token_provider", None)
    return ClientIdentity(
        str(client.base_url),
        client.organization,
        client.project,
        (client.api_key if key_provider is None else key_provider, getattr(client, "_azure_ad_token", None))
        if token_provider is None
        else token_provider,
        client._client,  # noqa: SLF001  # there is no public way to it, nor to the next two
        _frozen(deciding(client._custom_headers)),  # noqa: SLF001
        _frozen(client._custom_query),  # noqa: SLF001
    )


def origin_of(client: OpenAI | AsyncOpenAI) -> dict[str, JSON]:
    """Return a client's endpoint and payer, without secrets or an Azure deployment."""
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


def is_azure(client: object) -> bool:
    """Return whether a client is Azure's: the SDK's own for it, or one at Azure's v1 API."""
    if not isinstance(client, AsyncOpenAI):
        return False
    return isinstance(client, AsyncAzureOpenAI) or client.base_url.path.rstrip("/").endswith("/openai/v1")


def is_at_azure(client: object) -> bool:
    """Return whether a client is Azure's, and Azure itself answers it; others have an `/openai/v1`, too."""
    if not isinstance(client, AsyncOpenAI):
        return False
    return isinstance(client, AsyncAzureOpenAI) or (is_azure(client) and client.base_url.host.endswith(AZURE_HOSTS))


def _origin_of_environment(quirks: Quirks) -> dict[str, JSON]:
    if quirks.name == "azure":
        return {}  # its client says where it goes only when it is made
    # reads what the SDK reads; there may be no key
    with OpenAI(api_key="unused", base_url=quirks.base_url, http_client=_unconnected()) as client:
        return origin_of(client)


def _unconnected() -> Any:
    return DefaultHttpxClient(transport=_clients.nowhere())


def _place(client: OpenAI | AsyncOpenAI) -> tuple[str, ...]:
    told = [*client._custom_query.items(), *deciding(client._custom_headers).items()]  # noqa: SLF001  # no public way to them
    where = _clients.address(client.base_url)
    return where, client.organization or "", client.project or "", *_clients.options(told)


def _from_environment(quirks: Quirks, kind: Callable[..., Made], azure: Callable[..., Made], **options: Any) -> Made:
    if quirks.name == "azure":
        return _azure_from_environment(azure, **options)
    key = quirks.api_key and os.environ.get(quirks.api_key)
    if quirks.api_key is not None and not key:
        raise NoCredentials(
            f"there is no API key of {quirks.name}; set the environment variable {quirks.api_key}, or pass "
            "OpenAIBatch(AsyncOpenAI(base_url=…, api_key=…), quirks=…)"
        )
    try:
        return kind(base_url=quirks.base_url, api_key=key, **options)
    except OpenAIError as error:
        raise NoCredentials(
            "there is no OpenAI API key; set the environment variable OPENAI_API_KEY, or pass "
            "OpenAIBatch(AsyncOpenAI(api_key=…))"
        ) from error


def _azure_from_environment(azure: Callable[..., Made], **options: Any) -> Made:
    try:
        return azure(**options)
    except (OpenAIError, ValueError) as error:
        raise NoCredentials(
            f"no Azure client can be created ({error}); set AZURE_OPENAI_ENDPOINT, AZURE_OPENAI_API_KEY and "
            "OPENAI_API_VERSION, or pass AzureOpenAIBatch(AsyncAzureOpenAI(…))"
        ) from error


def is_plain(client: OpenAI | AsyncOpenAI) -> bool:
    """Return whether the SDK made a client's HTTP client, and not the user (`AsyncOpenAI(http_client=…)`)."""
    http = getattr(client, "_client", None)
    return type(http).__module__ == "openai._base_client"


def _frozen(mapping: Any) -> tuple[tuple[str, str], ...]:
    return tuple(sorted((str(name), str(value)) for name, value in mapping.items()))
