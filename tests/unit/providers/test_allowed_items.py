"""What an item may ask for, where it holds what a user wrote."""

import pytest

from batch_bridge import Request
from batch_bridge.errors import RequestRefused
from batch_bridge.providers import Allow
from batch_bridge.providers.anthropic import AnthropicBatch
from batch_bridge.providers.azure import AzureOpenAIBatch
from batch_bridge.providers.gemini import GeminiBatch
from batch_bridge.providers.openai import OpenAIBatch

MESSAGES = [{"role": "user", "content": "hello"}]
PROVIDERS = [OpenAIBatch, AzureOpenAIBatch, AnthropicBatch, GeminiBatch]


def measured(provider, item):
    return provider.measure(Request("r", "t", item))


@pytest.mark.parametrize("kind", PROVIDERS)
def test_messages_only(kind):
    provider = kind(model="m", allow="messages")
    assert measured(provider, MESSAGES)
    with pytest.raises(RequestRefused, match="not a list of messages"):
        measured(provider, {"messages": MESSAGES, "model": "gpt-very-expensive"})


@pytest.mark.parametrize("kind", PROVIDERS)
def test_models_and_fields(kind):
    allow = Allow(models=("m",), fields=("temperature",))
    provider = kind(model="m", defaults={"top_p": 1}, allow=allow)
    assert measured(provider, {"messages": MESSAGES, "model": "m", "temperature": 0})
    with pytest.raises(RequestRefused, match="gpt-very-expensive"):
        measured(provider, {"messages": MESSAGES, "model": "gpt-very-expensive"})
    with pytest.raises(RequestRefused, match="it sets n, which is not allowed"):
        measured(provider, {"messages": MESSAGES, "n": 128})


def test_endpoints_and_whole_lines():
    provider = OpenAIBatch(model="m", allow=Allow(endpoints=("/v1/chat/completions",), fields=()))
    assert measured(provider, {"url": "/v1/chat/completions", "body": {"messages": MESSAGES}})
    with pytest.raises(RequestRefused, match="/v1/responses"):
        measured(provider, {"url": "/v1/responses", "body": {"input": "x"}})
    with pytest.raises(RequestRefused, match="it sets model"):
        measured(provider, {"body": {"messages": MESSAGES, "model": "other"}})


def test_a_wrong_allow_is_refused():
    with pytest.raises(TypeError, match="tuple"):
        Allow(models="gpt")
    with pytest.raises(TypeError, match="messages"):
        OpenAIBatch(allow="message")
