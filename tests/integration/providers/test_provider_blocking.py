"""No provider blocks the event loop: LangGraph's development server refuses a call that does."""

import ssl
from contextlib import contextmanager
from datetime import timedelta

import pytest
import test_conformance
import test_gemini_conformance
import tls
from anthropic import AsyncAnthropic
from blockbuster import BlockBusterFunction, blockbuster_ctx
from google import genai
from openai import AsyncAzureOpenAI, AsyncOpenAI

from batch_bridge import Batcher
from batch_bridge._core.models import Request
from batch_bridge.errors import RequestRefused
from batch_bridge.providers.anthropic import AnthropicBatch
from batch_bridge.providers.azure import AzureOpenAIBatch
from batch_bridge.providers.gemini import GeminiBatch
from batch_bridge.providers.openai import OpenAIBatch
from batch_bridge.testing import BatchServer
from batch_bridge.testing.conformance import BEHAVIOURS

SUBJECTS = [
    test_conformance.openai,
    test_conformance.anthropic,
    test_gemini_conformance.file,
    test_gemini_conformance.inline,
]
JOBS = [
    behaviour
    for behaviour in BEHAVIOURS
    if str(behaviour) in {"every_request_gets_its_own_answer", "failed_lines_harm_no_neighbour"}
]
MODEL = "a-model"
BODY = {"messages": [{"role": "user", "content": "question 1."}]}
PLACE = "https://batches.example/v1"
AZURE = "https://resource.example"
VARIABLES = {
    "OPENAI_API_KEY": "k",
    "OPENAI_BASE_URL": PLACE,
    "OPENAI_ORG_ID": "an-organization",
    "AZURE_OPENAI_API_KEY": "k",
    "AZURE_OPENAI_ENDPOINT": AZURE,
    "OPENAI_API_VERSION": "2025-04-01-preview",
    "GROQ_API_KEY": "k",
    "ANTHROPIC_API_KEY": "k",
    "ANTHROPIC_BASE_URL": PLACE,
    "GEMINI_API_KEY": "k",
    "GOOGLE_GEMINI_BASE_URL": PLACE,
}
OTHERS = ("ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_CUSTOM_HEADERS", "OPENAI_CUSTOM_HEADERS", "OPENAI_PROJECT_ID")
"""What the SDKs read, too."""
PROVIDERS = {
    "openai": (
        lambda: OpenAIBatch(model=MODEL),
        lambda: OpenAIBatch(AsyncOpenAI(), model=MODEL),
    ),
    "azure": (
        lambda: AzureOpenAIBatch(model=MODEL),
        lambda: AzureOpenAIBatch(AsyncAzureOpenAI(), model=MODEL),
    ),
    "groq": (
        lambda: OpenAIBatch(model=MODEL, quirks="groq"),
        lambda: OpenAIBatch(
            AsyncOpenAI(base_url="https://api.groq.com/openai/v1", api_key="k"), model=MODEL, quirks="groq"
        ),
    ),
    "anthropic": (
        lambda: AnthropicBatch(model=MODEL),
        lambda: AnthropicBatch(AsyncAnthropic(), model=MODEL),
    ),
    "gemini": (
        lambda: GeminiBatch(model=MODEL),
        lambda: GeminiBatch(genai.Client(http_options={"api_version": "v1beta"}), model=MODEL),
    ),
}
"""Each provider without a client, and with one that is as its own would be."""


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    """Nothing says where certificates are, so that they are looked for on the disk, and for each client anew."""
    monkeypatch.setattr(ssl, "create_default_context", tls.APART)
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR", *OTHERS):
        monkeypatch.delenv(name, raising=False)
    for name, value in VARIABLES.items():
        monkeypatch.setenv(name, value)


@pytest.fixture(scope="module")
def server():
    with BatchServer() as running:
        yield running


@contextmanager
def no_blocking():
    """Refuse what blocks the event loop, and below no Python code is seen: the reading of certificates."""
    providers = "batch_bridge.providers"
    certificates = BlockBusterFunction(ssl.SSLContext, "load_verify_locations", scanned_modules=providers)
    with blockbuster_ctx(providers):
        certificates.activate()
        try:
            yield
        finally:
            certificates.deactivate()


@pytest.mark.parametrize("behaviour", JOBS, ids=str)
@pytest.mark.parametrize("make", SUBJECTS, ids=lambda make: make.__name__)
async def test_no_call_of_a_provider_blocks(make, behaviour, server):
    subject = make(server)
    with no_blocking():  # the kit itself asks the server how things are, and waits for it
        await behaviour.check(subject)


@pytest.mark.parametrize("name", PROVIDERS)
async def test_telling_where_calls_go_blocks_nothing(name):
    without, given = (make() for make in PROVIDERS[name])
    request = Request("", "", BODY)
    with no_blocking():
        identity = without.identity(request)
    assert identity == given.identity(request)


@pytest.mark.parametrize(
    ("name", "url"), [("openai", PLACE), ("azure", AZURE), ("groq", "https://api.groq.com/openai/v1")]
)
async def test_comparing_clients_blocks_nothing(name, url):
    provider, _ = (make() for make in PROVIDERS[name])
    item = {"method": "POST", "url": "/v1/chat/completions", "body": BODY, "client": {"base_url": url}}
    with no_blocking():
        assert provider.measure(Request("", "", item)).bytes
        if name != "azure":  # whose client says where it goes only when it is made
            with pytest.raises(RequestRefused, match="base_url"):
                provider.measure(Request("", "", {**item, "client": {"base_url": "https://another.example"}}))


@pytest.mark.parametrize("name", PROVIDERS)
async def test_a_client_that_was_made_tells_where_calls_go(name, monkeypatch):
    without, given = (make() for make in PROVIDERS[name])
    with no_blocking():
        await without._clients.open()
    for variable in VARIABLES:
        monkeypatch.delenv(variable)
    request = Request("", "", BODY)
    assert without.identity(request) == given.identity(request)
    await without.aclose()


async def test_a_provider_without_a_client_answers_a_wrapped_one(server, monkeypatch):
    monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
    client = {"base_url": server.base_url, "organization": "an-organization"}
    item = {"method": "POST", "url": "/v1/chat/completions", "body": BODY, "client": client}
    batcher = Batcher(OpenAIBatch(model="gpt-4o-mini"), max_batch_age=timedelta(0), poll_interval=0.05)
    with no_blocking():
        async with batcher:
            answer = await batcher.asubmit(item)
    assert "question 1." in answer["choices"][0]["message"]["content"]
