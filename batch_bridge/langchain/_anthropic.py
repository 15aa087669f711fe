"""`ChatAnthropic`: whose clients are switched, and what its requests become."""

from typing import Any

import anthropic
from langchain_core.language_models import BaseChatModel

from batch_bridge._core.headers import deciding
from batch_bridge._core.models import JSON
from batch_bridge._core.provider import Provider
from batch_bridge._dropin.asker import Asker
from batch_bridge.errors import UsageError
from batch_bridge.langchain._transport import BatchTransport, Sent, refuse
from batch_bridge.providers.anthropic import AnthropicBatch


def clients(model: BaseChatModel, asker: Asker) -> dict[str, Any]:
    """Return the fields of a model whose calls are to be asked of a batch."""
    given: Any = model
    transport: Any = BatchTransport(asker, read, given._client.default_headers)  # where it keeps it
    return {
        "_client": given._client.copy(http_client=anthropic.DefaultHttpxClient(transport=transport)),
        "_async_client": given._async_client.copy(http_client=anthropic.DefaultAsyncHttpxClient(transport=transport)),
    }


def read(sent: Sent) -> JSON:
    """Return a request as `AnthropicBatch` takes it: its body.

    Raises:
        UsageError: A batch cannot hold it.
    """
    if betas := sent.headers.get("anthropic-beta"):
        raise UsageError(
            f"this call needs the beta features {betas!r}, which apply to a whole batch; pass them to "
            f"the provider, AnthropicBatch(betas=…), and to the model as default_headers={{'anthropic-beta': …}}"
        )
    refuse(sent, query=frozenset({"beta"}))
    if not sent.path.endswith("/messages"):
        raise UsageError(f"a batched model called {sent.path!r}, which batches do not support; call the original model")
    return sent.body


def provider(model: BaseChatModel) -> Provider:
    """Return the provider that asks with a model's own account, address and settings."""
    given: Any = model
    client: anthropic.AsyncAnthropic = given._async_client  # where it keeps it; LangChain shares its connections
    proxy: str | None = given.anthropic_proxy

    def make() -> anthropic.AsyncAnthropic:
        return client.copy(http_client=anthropic.DefaultAsyncHttpxClient(timeout=client.timeout, proxy=proxy or None))

    return AnthropicBatch(make)


def identity(model: BaseChatModel) -> object:
    """Return a key that differs between models whose requests must not share a Batcher. Never stored."""
    given: Any = model
    client: anthropic.AsyncAnthropic = given._async_client
    return (
        str(client.base_url),
        client.api_key,
        client.auth_token,
        id(getattr(client, "credentials", None)),
        given.anthropic_proxy,
        repr(client.timeout),
        repr(sorted(deciding(client._custom_headers).items())),  # there is no public way to them
        repr(sorted(client._custom_query.items())),
    )


def client_of(model: BaseChatModel) -> object:
    """Return the SDK's client of a model."""
    given: Any = model
    return given._async_client
