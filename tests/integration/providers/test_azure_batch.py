"""`AzureOpenAIBatch` through the real SDK's Azure client, over real HTTP. The conformance kit is in
`test_openai_likes.py`."""

import uuid
from datetime import timedelta

import pytest
from openai import AsyncAzureOpenAI, BadRequestError, NotFoundError

from batch_bridge._core.models import Errored, Succeeded
from batch_bridge.errors import ProviderUnavailable, SubmissionRefused
from batch_bridge.providers.azure import AzureOpenAIBatch
from batch_bridge.testing import BatchServer
from batch_bridge.testing.conformance import ask, requests

VERSION = "2025-04-01-preview"
DEPLOYMENT = "my-batch-deployment"


@pytest.fixture(scope="module")
def server():
    with BatchServer() as running:
        yield running


@pytest.fixture
async def client(server):
    client = AsyncAzureOpenAI(azure_endpoint=server.root_url, api_key=uuid.uuid4().hex, api_version=VERSION)
    yield client
    await client.close()


def questions(count):
    return requests([{"role": "user", "content": f"question {n}."}] for n in range(count))


async def test_the_deployment_is_the_model_and_the_address_has_no_version(server, client):
    provider = AzureOpenAIBatch(client, model=DEPLOYMENT, metadata={"team": "search"})
    (outcome,) = await ask(provider, questions(1))
    assert outcome.answer["model"] == DEPLOYMENT
    (batch,) = [each async for each in client.batches.list()]
    assert (batch.endpoint, batch.metadata["team"]) == ("/chat/completions", "search")
    content = (await client.files.content(batch.input_file_id)).text
    assert '"url":"/chat/completions"' in content
    await provider.aclose()


async def test_responses_and_embeddings_are_sent_too(client):
    provider = AzureOpenAIBatch(client, model=DEPLOYMENT)
    items = [{"input": "Hello"}, {"url": "/embeddings", "body": {"input": ["a", "b"], "dimensions": 4}}]
    response, embeddings = await ask(provider, requests(items))
    assert response.answer["object"] == "response"
    assert len(embeddings.answer["data"]) == 2


async def test_a_batch_waits_for_its_file(server, client):
    provider = AzureOpenAIBatch(client, model=DEPLOYMENT)
    asked = questions(2)
    server.configure(processing_seconds=60.0)
    try:
        prepared = await provider.prepare("key", asked)
        with pytest.raises(ProviderUnavailable, match="pending"):
            await provider.submit("key", asked, prepared)
        with pytest.raises(BadRequestError):
            await client.batches.create(
                input_file_id=prepared["input_file_id"], endpoint="/chat/completions", completion_window="24h"
            )
    finally:
        server.configure(processing_seconds=0.0)
    assert (await provider.submit("key", asked, prepared))["id"].startswith("batch_")
    await provider.fence(prepared)
    with pytest.raises(ProviderUnavailable, match="No such File"):  # a new file may not be visible yet
        await provider.submit("key", asked, prepared)
    with pytest.raises(SubmissionRefused):
        await provider.submit("key", asked, {**prepared, "uploaded_at": 0})


async def test_a_slow_file_costs_nothing_but_time(server, client):
    server.reset_stats()
    server.configure(processing_seconds=0.3)
    try:
        outcomes = await ask(AzureOpenAIBatch(client, model=DEPLOYMENT), questions(3))
    finally:
        server.configure(processing_seconds=0.0)
    assert all(isinstance(each, Succeeded) for each in outcomes)
    assert server.stats.batches == 1


async def test_files_may_expire_as_azure_allows(client):
    two_weeks = timedelta(days=14)
    provider = AzureOpenAIBatch(
        client, model=DEPLOYMENT, files_expire_after=two_weeks, output_expires_after=two_weeks, delete_files=True
    )
    (outcome,) = await ask(provider, questions(1))
    assert isinstance(outcome, Succeeded)
    assert not [each async for each in client.files.list()]


async def test_the_token_limit_is_the_deployments(server, client):
    server.configure(batch_failure=1.0, batch_failure_code="token_limit_exceeded")
    try:
        (outcome,) = await ask(AzureOpenAIBatch(client, model=DEPLOYMENT), questions(1))
    finally:
        server.configure(batch_failure=0.0)
    assert isinstance(outcome, Errored)
    assert (outcome.code, outcome.retryable) == ("token_limit_exceeded", True)


async def test_the_twin_answers_at_once_from_the_deployment(server, client):
    server.reset_stats()
    (outcome,) = await ask(AzureOpenAIBatch(client, model=DEPLOYMENT).realtime(), questions(1))
    assert outcome.answer["model"] == DEPLOYMENT
    assert (server.stats.batches, server.stats.realtime) == (0, 1)


async def test_a_client_is_made_from_the_environment(server, monkeypatch):
    for name in ("AZURE_OPENAI_ENDPOINT", "AZURE_OPENAI_API_KEY", "OPENAI_API_VERSION", "AZURE_OPENAI_AD_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    (outcome,) = await ask(AzureOpenAIBatch(model=DEPLOYMENT), questions(1))
    assert (outcome.code, "AZURE_OPENAI_ENDPOINT" in outcome.message) == ("no_api_key", True)
    monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", server.root_url)
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", "k")
    monkeypatch.setenv("OPENAI_API_VERSION", VERSION)
    (outcome,) = await ask(AzureOpenAIBatch(model=DEPLOYMENT), questions(1))
    assert isinstance(outcome, Succeeded)


async def test_the_server_wants_a_version_of_the_api(server):
    client = AsyncAzureOpenAI(azure_endpoint=server.root_url, api_key="k", api_version="")
    with pytest.raises(NotFoundError):
        await client.batches.list()
    await client.close()


async def test_other_servers_clients_are_made_from_their_keys(server, monkeypatch):
    from batch_bridge.providers.openai import OpenAIBatch

    monkeypatch.delenv("GROQ_API_KEY", raising=False)
    (outcome,) = await ask(OpenAIBatch(model="m", quirks="groq"), questions(1))
    assert (outcome.code, "GROQ_API_KEY" in outcome.message) == ("no_api_key", True)
    monkeypatch.setenv("GROQ_API_KEY", "a-groq-key")
    provider = OpenAIBatch(model="m", quirks="groq")
    made = provider._clients.client()
    assert (str(made.base_url), made.api_key) == ("https://api.groq.com/openai/v1/", "a-groq-key")
    await provider.aclose()
