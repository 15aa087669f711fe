"""`ChatOpenAI` and `AzureChatOpenAI`: whose clients are switched, and what their requests become."""

import functools
from typing import Any

import openai
from langchain_core.language_models import BaseChatModel
from openai import DefaultAsyncHttpxClient, DefaultHttpxClient

from batch_bridge._core.models import JSON
from batch_bridge._core.provider import Provider
from batch_bridge._dropin.asker import Asker
from batch_bridge.errors import UsageError
from batch_bridge.langchain._transport import BatchTransport, Sent, refuse
from batch_bridge.providers.azure import AzureOpenAIBatch
from batch_bridge.providers.openai import OpenAIBatch
from batch_bridge.providers.openai._clients import identity_of, origin_of

_ENDPOINTS = ("/chat/completions", "/responses")


def clients(model: BaseChatModel, asker: Asker) -> dict[str, Any]:
    """Return the fields of a model whose calls are to be asked of a batch."""
    given: Any = model
    fields: dict[str, Any] = {"streaming": False}
    item = functools.partial(read, client=origin_of(given.root_async_client))
    if given.root_client is not None:
        transport: Any = BatchTransport(asker, item, given.root_client.default_headers)
        sync_client = given.root_client.copy(http_client=DefaultHttpxClient(transport=transport))
        fields |= {"root_client": sync_client, "client": sync_client.chat.completions}
    transport = BatchTransport(asker, item, given.root_async_client.default_headers)
    client = given.root_async_client.copy(http_client=DefaultAsyncHttpxClient(transport=transport))
    return {**fields, "root_async_client": client, "async_client": client.chat.completions}


def read(sent: Sent, client: dict[str, JSON]) -> JSON:
    """Return a request as a line of a batch's input, but for its id.

    Args:
        sent: The request.
        client: The endpoint of the model's client, so that a bridge to another endpoint refuses the line.

    Raises:
        UsageError: A batch cannot hold it.
    """
    refuse(sent, query=frozenset({"api-version"}))
    endpoint = next((each for each in _ENDPOINTS if sent.path.endswith(each)), None)
    if endpoint is None:
        raise UsageError(f"a batched model called {sent.path!r}, which batches do not support; call the original model")
    body = sent.body
    if "/deployments/" in sent.path:  # Azure: the URL names the model
        body = {**body, "model": sent.path.partition("/deployments/")[2].partition("/")[0]}
    return {"method": "POST", "url": f"/v1{endpoint}", "body": body, "client": client}


def provider(model: BaseChatModel) -> Provider:
    """Return the provider that asks with a model's own account, address and settings."""
    given: Any = model
    client: openai.AsyncOpenAI = given.root_async_client
    if _is_langchains(client):  # shared between event loops
        client = client.copy(http_client=DefaultAsyncHttpxClient(timeout=client.timeout))
    return AzureOpenAIBatch(client) if isinstance(client, openai.AsyncAzureOpenAI) else OpenAIBatch(client)


def identity(model: BaseChatModel) -> object:
    """Return a key that differs between models whose requests must not share a Batcher. Never stored."""
    given: Any = model
    client: openai.AsyncOpenAI = given.root_async_client
    whole = identity_of(client)
    return whole._replace(http_client=repr(client.timeout)) if _is_langchains(client) else whole


def client_of(model: BaseChatModel) -> object:
    """Return the SDK's client of a model."""
    given: Any = model
    client: object = given.root_async_client
    return client


def _is_langchains(client: openai.AsyncOpenAI) -> bool:
    return type(getattr(client, "_client", None)).__module__.startswith("langchain_openai")
