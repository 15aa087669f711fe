"""Azure's v1 API: OpenAI's client and calls, and Azure's names for endpoints."""

import uuid

import pytest
from openai import AsyncAzureOpenAI, AsyncOpenAI

from batch_bridge.providers.azure import AzureOpenAIBatch
from batch_bridge.providers.openai import OpenAIBatch
from batch_bridge.testing import BatchServer
from batch_bridge.testing.conformance import ask, requests

AZURE_LANES = ("batch", "flex", "realtime")


@pytest.fixture(scope="module")
def server():
    with BatchServer() as running:
        yield running


async def test_a_batch_at_the_v1_address_names_endpoints_as_azure_does(server):
    async with AsyncOpenAI(base_url=server.root_url + "/openai/v1", api_key=uuid.uuid4().hex) as client:
        provider = AzureOpenAIBatch(client, model="my-deployment")
        (outcome,) = await ask(provider, requests([[{"role": "user", "content": "Hello"}]]))
        assert outcome.answer["model"] == "my-deployment"
        (batch,) = [each async for each in client.batches.list()]
        assert batch.endpoint == "/chat/completions"
        assert '"url":"/chat/completions"' in (await client.files.content(batch.input_file_id)).text
        await provider.aclose()


@pytest.mark.parametrize(
    ("client", "is_azure"),
    [
        (AsyncOpenAI(base_url="https://x.openai.azure.com/openai/v1/", api_key="k"), True),
        (AsyncOpenAI(base_url="https://x.services.ai.azure.com/openai/v1", api_key="k"), True),
        (AsyncAzureOpenAI(azure_endpoint="https://example.com", api_key="k", api_version="2025-04-01-preview"), True),
        (AsyncOpenAI(base_url="https://api.groq.com/openai/v1", api_key="k"), False),
        (AsyncOpenAI(base_url="https://azure.com.example.com/openai/v1", api_key="k"), False),
        (AsyncOpenAI(api_key="k"), False),
    ],
    ids=lambda value: str(getattr(value, "base_url", value)),
)
def test_a_client_of_azures_is_recognised(client, is_azure):
    assert (OpenAIBatch(client).lanes == AZURE_LANES) is is_azure


def test_another_client_is_none_of_azures():
    with pytest.raises(TypeError, match="whose base_url ends with /openai/v1"):
        AzureOpenAIBatch(AsyncOpenAI(api_key="k"))
