"""The endpoint of an OpenAI client, and an asynchronous client for the same endpoint."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

from openai import AsyncAzureOpenAI, AsyncOpenAI, AzureOpenAI, OpenAI

from batch_bridge._dropin.openai.request import Origin
from batch_bridge.providers.openai import _clients as _openai_clients

AnyClient: TypeAlias = OpenAI | AsyncOpenAI


def origin_of(client: AnyClient) -> Origin:
    """Return a client's endpoint."""
    return Origin(_openai_clients.origin_of(client), _openai_clients.deployment_of(client))


def async_client_of(client: Any) -> AsyncOpenAI:
    """Return a client that an `OpenAIBatch` can use: the client itself if it is asynchronous, else its like.

    Raises:
        TypeError: The client was given an HTTP client, whose connections belong to the caller's event loop; or it is
            synchronous and was given one, or a way to authorize, that has no asynchronous like.
    """
    if isinstance(client, AsyncOpenAI):
        if not _openai_clients.is_plain(client):
            raise TypeError(
                "wrap_openai: the client has its own http_client, whose connections belong to your event loop, "
                "but batches are sent from another one; pass a function that creates such a client: "
                "wrap_openai(client, provider=OpenAIBatch(lambda: AsyncOpenAI(http_client=…)))"
            )
        return client
    if not _openai_clients.is_plain(client):
        raise TypeError(_no_async_client("its own http_client"))
    for name in ("workload_identity", "_provider"):
        if getattr(client, name, None) is not None:
            raise TypeError(_no_async_client(f"a {name.lstrip('_')}"))
    key_provider = getattr(client, "_api_key_provider", None)
    options: dict[str, Any] = {
        "api_key": client.api_key if key_provider is None else _awaitable(key_provider),
        "organization": client.organization,
        "project": client.project,
        "timeout": client.timeout,
        "default_headers": client._custom_headers,  # noqa: SLF001
        "default_query": client._custom_query,  # noqa: SLF001
    }
    base_url = str(client.base_url)
    if isinstance(client, AzureOpenAI):
        token, token_provider = client._azure_ad_token, client._azure_ad_token_provider  # noqa: SLF001
        if token is not None or token_provider is not None:
            options["api_key"] = None  # the client holds a placeholder for it
        return AsyncAzureOpenAI(
            **options,
            base_url=base_url.rstrip("/").removesuffix(f"/deployments/{_openai_clients.deployment_of(client)}"),
            api_version=client._api_version,  # noqa: SLF001
            azure_ad_token=token,
            azure_ad_token_provider=token_provider if token_provider is None else _awaitable(token_provider),
        )
    return AsyncOpenAI(**options, base_url=base_url)


def _awaitable(function: Callable[[], str]) -> Callable[[], Awaitable[str]]:
    async def call() -> str:
        return await asyncio.to_thread(function)

    return call


def _no_async_client(what: str) -> str:
    return (
        f"wrap_openai: the synchronous client has {what}, which an asynchronous one cannot use, but batches are "
        "sent by an asynchronous client; pass one: wrap_openai(client, provider=OpenAIBatch(AsyncOpenAI(…)))"
    )
