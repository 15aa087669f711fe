"""`ChatGoogleGenerativeAI`: whose client is switched, and what its requests become."""

from typing import Any

from google import genai
from langchain_core.language_models import BaseChatModel

from batch_bridge._core.headers import deciding
from batch_bridge._core.models import JSON
from batch_bridge._core.provider import Provider
from batch_bridge._dropin.asker import Asker
from batch_bridge.errors import UsageError
from batch_bridge.langchain._transport import BatchTransport, Sent, refuse
from batch_bridge.providers.gemini import GeminiBatch

_VERB = ":generateContent"


def clients(model: BaseChatModel, asker: Asker) -> dict[str, Any]:
    """Return the fields of a model whose calls are to be asked of a batch.

    The SDK repeats what failed only as often as it is told: not at all, since a failed line is final.

    Raises:
        UsageError: The model is of a version whose copies close each other's client.
    """
    transport = BatchTransport(asker, read, _settings(model).headers)
    twin: Any = model.model_copy(update={"client_args": {"transport": transport}})
    twin.validate_environment()  # makes a new client
    if not hasattr(twin, "_client_cleanup"):
        raise UsageError(
            "batched() cannot take this ChatGoogleGenerativeAI: before langchain-google-genai 4.3.7, each copy of a "
            "model closes the client of all when it goes; upgrade it, pip install 'langchain-google-genai>=4.3.7'"
        )
    return {"client": twin.client, "_client_cleanup": twin._client_cleanup, "max_retries": 1}


def read(sent: Sent) -> JSON:
    """Return a request as `GeminiBatch` takes it: its body, and the model that its URL names.

    Raises:
        UsageError: A batch cannot hold it.
    """
    refuse(sent)
    if not sent.path.endswith(_VERB):
        raise UsageError(f"a batched model called {sent.path!r}, which batches do not support; call the original model")
    return {"model": sent.path.removesuffix(_VERB).rpartition("/")[2], **sent.body}


def provider(model: BaseChatModel) -> Provider:
    """Return the provider that asks with a model's own account, address and settings."""
    given: Any = model
    client: genai.Client = given.client
    return GeminiBatch(client)


def identity(model: BaseChatModel) -> object:
    """Return a key that differs between models whose requests must not share a Batcher. Never stored."""
    api = _api(model)
    return api.vertexai, api.api_key, api.project, api.location, api._credentials, repr(_same(_settings(model)))


def client_of(model: BaseChatModel) -> object:
    """Return what holds the credentials of a model."""
    return _api(model)


def _api(model: BaseChatModel) -> Any:
    given: Any = model
    return given.client._api_client  # there is no public way to it


def _settings(model: BaseChatModel) -> Any:
    return _api(model)._http_options


def _same(settings: Any) -> Any:
    """Return settings without the headers that decide nothing."""
    return settings.model_copy(update={"headers": deciding(settings.headers or {})})
