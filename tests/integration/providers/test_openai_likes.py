"""Servers that are like OpenAI's, each through the conformance kit, over real HTTP."""

import pytest
from langchain_core.messages import HumanMessage
from openai import AsyncAzureOpenAI, AsyncOpenAI

from batch_bridge.providers.azure import AzureOpenAIBatch
from batch_bridge.providers.openai import OpenAIBatch
from batch_bridge.testing import BatchServer
from batch_bridge.testing.conformance import BEHAVIOURS, Subject

MODEL = "some-model"
LACKS = {
    "azure": {},
    "groq": {},
    "together": {"usage": "the job of Together's does not tell what it cost"},
    "mistral": {"usage": "the job of Mistral's does not tell what it cost"},
    "doubleword": {},
    "vllm": {
        "usage": "vLLM's router does not tell what a batch cost",
        "fence": "its files cannot be deleted",
    },
}
SAME = ("groq", "doubleword")
"""Whose calls are OpenAI's, and so have met every fault in `test_conformance.py`."""
ROOTS = {"together": "/together/v1", "mistral": "/mistral/v1", "vllm": "/vllm/v1"}


@pytest.fixture(scope="module")
def server():
    with BatchServer() as running:
        yield running


def question(n):
    return [{"role": "user", "content": f"question {n}."}]


def provider(name, server, key, **options):
    if name == "azure":
        client = AsyncAzureOpenAI(azure_endpoint=server.root_url, api_key=key, api_version="2025-04-01-preview")
        return AzureOpenAIBatch(client, model=MODEL, **options)
    client = AsyncOpenAI(base_url=server.root_url + ROOTS.get(name, "/v1"), api_key=key)
    return OpenAIBatch(client, model=MODEL, quirks=name, **options)


def subject(name, server):
    return Subject(
        open=lambda key: provider(name, server, key),
        item=question,
        answers=lambda n, answer: f"question {n}." in answer["choices"][0]["message"]["content"],
        server=server,
        forms=(question(0), [HumanMessage("Grüße, ✓")], {"messages": question(0), "temperature": 0.5}),
        bad="a string",
        lacks=LACKS[name],
    )


@pytest.mark.sampled(least=45)
@pytest.mark.parametrize("behaviour", BEHAVIOURS, ids=str)
@pytest.mark.parametrize("name", LACKS)
async def test_conformance(name, behaviour, server):
    tested = subject(name, server)
    if name in SAME and behaviour.needs:
        pytest.skip("its calls are OpenAI's")
    if reason := behaviour.excuse(tested):
        pytest.skip(reason)
    await behaviour.check(tested)
