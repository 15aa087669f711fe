"""Azure OpenAI's Batch API."""

from collections.abc import Callable, Mapping

from openai import AsyncOpenAI

from batch_bridge._core.durations import Within
from batch_bridge._core.models import Limits
from batch_bridge.providers._shared.allow import Allowed
from batch_bridge.providers._shared.http.clients import wrong
from batch_bridge.providers._shared.http.response_limits import ResponseLimits
from batch_bridge.providers.openai import OpenAIBatch
from batch_bridge.providers.openai._clients import is_azure


class AzureOpenAIBatch(OpenAIBatch):
    """Answers requests through the Batch API of an Azure OpenAI resource, at half the price of realtime calls.

    It works like `OpenAIBatch`, with these differences: a request's `model` is the name of a deployment of the type
    `GlobalBatch` or `DataZoneBatch`; a batch holds up to 100,000 requests; Azure processes an uploaded file before it
    accepts a batch with it, and the engine waits for this; a batch that takes longer than a day does not expire, so use
    the bridge's deadline if you need a limit; `token_limit_exceeded` counts all queued jobs of the deployment. Input
    files in Blob Storage are not supported.

    Source: learn.microsoft.com/azure/ai-foundry/openai/how-to/batch (prices:
    azure.microsoft.com/pricing/details/cognitive-services/openai-service).

    Args:
        client: An `AsyncAzureOpenAI`, or for Azure's v1 API an `AsyncOpenAI` whose `base_url` ends with `/openai/v1`.
            The caller closes it. Or a function that returns one, as in `OpenAIBatch`. Without it, clients are created
            when they are needed, from `AZURE_OPENAI_ENDPOINT`, `AZURE_OPENAI_API_KEY` and `OPENAI_API_VERSION`.
        model: The deployment of items that name none.
        endpoint: As in `OpenAIBatch`.
        defaults: As in `OpenAIBatch`.
        metadata: As in `OpenAIBatch`.
        delete_files: Delete a batch's files once its outcomes are stored. A resource holds 500 files, or 10,000 files
            with an expiry.
        files_expire_after: From 14 to 30 days.
        output_expires_after: The same for the output and error files.
        limits: The limits of one batch, if they differ from Azure's.
        responses: As in `OpenAIBatch`.
        allow: As in `OpenAIBatch`.

    Raises:
        TypeError: The client is not one of Azure's, or another argument has the wrong type.
        ValueError: The API does not accept an argument.
    """

    def __init__(
        self,
        client: AsyncOpenAI | Callable[[], AsyncOpenAI] | None = None,
        *,
        model: str | None = None,
        endpoint: str | None = None,
        defaults: Mapping[str, object] | None = None,
        metadata: Mapping[str, str] | None = None,
        delete_files: bool = False,
        files_expire_after: Within = None,
        output_expires_after: Within = None,
        limits: Limits | None = None,
        responses: ResponseLimits | None = None,
        allow: Allowed = None,
    ) -> None:
        if client is not None and not is_azure(client) and not callable(client):
            raise wrong(
                "AzureOpenAIBatch",
                client,
                "pass an openai.AsyncAzureOpenAI, or an AsyncOpenAI whose base_url ends with /openai/v1",
            )
        super().__init__(
            client,
            model=model,
            endpoint=endpoint,
            defaults=defaults,
            metadata=metadata,
            delete_files=delete_files,
            files_expire_after=files_expire_after,
            output_expires_after=output_expires_after,
            limits=limits,
            responses=responses,
            allow=allow,
            quirks="azure",
        )

    def __repr__(self) -> str:
        return super().__repr__().replace("OpenAIBatch", "AzureOpenAIBatch", 1)
