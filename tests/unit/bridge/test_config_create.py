"""`create`: a provider by its name."""

import sys

import pytest

from batch_bridge.providers import create
from batch_bridge.providers._shared.create import KINDS, option_names
from batch_bridge.providers.anthropic import AnthropicBatch
from batch_bridge.providers.azure import AzureOpenAIBatch
from batch_bridge.providers.gemini import GeminiBatch
from batch_bridge.providers.openai import OpenAIBatch

MADE = {"azure": AzureOpenAIBatch, "anthropic": AnthropicBatch, "gemini": GeminiBatch}


@pytest.mark.parametrize("name", KINDS)
def test_each_name_makes_its_provider_without_a_key(name, monkeypatch):
    for variable in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GEMINI_API_KEY", "GROQ_API_KEY"):
        monkeypatch.delenv(variable, raising=False)
    provider = create(name, model="some-model")
    assert type(provider) is MADE.get(name, OpenAIBatch)
    assert "some-model" in repr(provider)


@pytest.mark.parametrize("name", ["openai", "vllm", "anthropic"])
def test_a_client_is_made_of_its_own_options(name):
    provider = create(name, api_key="a-key", base_url="http://127.0.0.1:9/v1", timeout=7)
    client = provider._clients._own
    assert str(client.base_url).startswith("http://127.0.0.1:9/v1")
    assert (client.api_key, client.timeout, client.max_retries) == ("a-key", 7, 0)


def test_a_client_of_azure_and_of_gemini():
    azure = create("azure", api_key="k", azure_endpoint="http://127.0.0.1:9", api_version="v")._clients._own
    assert str(azure.base_url).startswith("http://127.0.0.1:9/openai")
    gemini = create("gemini", api_key="k", base_url="http://127.0.0.1:9", timeout=7)._clients._own
    assert gemini._api_client._http_options.base_url.startswith("http://127.0.0.1:9")
    assert gemini._api_client._http_options.timeout == 7000


def test_a_vendors_address_stands_though_there_are_options_of_a_client(monkeypatch):
    monkeypatch.setenv("GROQ_API_KEY", "from the environment")
    client = create("groq", timeout=7)._clients._own
    assert (client.api_key, client.base_url.host) == ("from the environment", "api.groq.com")


@pytest.mark.parametrize(
    ("name", "options", "error", "words"),
    [
        ("opnai", {}, ValueError, "did you mean 'openai'? There are 'openai', 'groq'"),
        ("openai", {"modle": "x"}, TypeError, "did you mean 'model'?"),
        ("openai", {"quirks": "groq"}, TypeError, "unknown option"),
        ("azure", {"base_url": "x"}, TypeError, "'azure_endpoint'"),
        ("openai", {"client": object(), "api_key": "k"}, TypeError, "got client= and api_key"),
        ("mistral", {"timeout": 3}, ValueError, "MISTRAL_API_KEY"),
    ],
)
def test_what_is_wrong_is_named(name, options, error, words, monkeypatch):
    monkeypatch.delenv("MISTRAL_API_KEY", raising=False)
    with pytest.raises(error) as raised:
        create(name, **options)
    assert words in str(raised.value)


@pytest.mark.parametrize(("name", "sdk"), [("anthropic", "anthropic"), ("gemini", "google.genai")])
def test_an_extra_that_is_missing_is_named(name, sdk, monkeypatch):
    monkeypatch.setitem(sys.modules, sdk, None)  # as Python marks a module that cannot be imported
    with pytest.raises(ImportError, match=rf"pip install 'langgraph-batch-bridge\[{name}\]'"):
        create(name)


def test_option_names_are_those_of_class_and_client():
    assert {"model", "defaults", "api_key", "timeout"} <= set(option_names("anthropic"))
    assert "quirks" not in option_names("openai")
