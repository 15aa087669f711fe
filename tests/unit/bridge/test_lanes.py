"""Lanes: which a provider has, how one is opened, and how a bridge chooses one by its mode."""

import logging
import math

import pytest
from fakes import FakeProvider
from openai import AsyncAzureOpenAI, AsyncOpenAI

from batch_bridge import Batcher, Bridge, FlushPolicy
from batch_bridge._core.models import Request
from batch_bridge._core.policy.lanes import lane_in, lanes_of, open_lane
from batch_bridge.bridge._mode_switch import ModeSwitch
from batch_bridge.errors import RequestRefused
from batch_bridge.langchain import batched
from batch_bridge.providers.anthropic import AnthropicBatch
from batch_bridge.providers.azure import AzureOpenAIBatch
from batch_bridge.providers.gemini import GeminiBatch
from batch_bridge.providers.openai import OpenAIBatch

CHAT = [{"role": "user", "content": "hello"}]


@pytest.fixture(autouse=True)
def _no_mode(monkeypatch):
    monkeypatch.delenv("BATCH_BRIDGE_MODE", raising=False)


def openai(**options):
    return OpenAIBatch(AsyncOpenAI(api_key="k"), model="gpt-5-mini", **options)


def azure():
    client = AsyncAzureOpenAI(
        azure_endpoint="https://x.openai.azure.com", api_key="k", api_version="2025-04-01-preview"
    )
    return AzureOpenAIBatch(client, model="deployed")


def test_providers_say_which_lanes_they_have():
    assert {"batch", "flex", "realtime"} <= set(openai().lanes)
    assert azure().lanes == ("batch", "flex", "realtime")
    assert GeminiBatch(model="gemini-2.5-flash").lanes == ("batch", "flex", "realtime")
    assert AnthropicBatch(model="claude").lanes == ("batch", "realtime")
    assert openai(quirks="groq").lanes == ("batch", "realtime")
    assert lanes_of(FakeProvider()) == ("batch",)


def test_a_lane_is_opened_by_its_name():
    provider = openai()
    assert provider.lane("batch") is provider
    assert provider.lane("realtime").way == "realtime"
    assert provider.lane("flex").way == "flex"
    assert open_lane(provider, "flex").batch is provider


@pytest.mark.parametrize("provider", [AnthropicBatch(model="claude"), openai(quirks="groq")], ids=repr)
def test_an_error_lists_the_lanes_that_there_are(provider):
    with pytest.raises(ValueError, match="no lane 'flex'; its lanes are 'batch', 'realtime'"):
        provider.lane("flex")
    with pytest.raises(ValueError, match=r"Bridge\(mode='flex'\): .* its lanes are 'batch', 'realtime'"):
        Bridge(provider, mode="flex")


def test_functions_have_no_other_lane():
    with pytest.raises(ValueError, match="CallableProvider has no lane 'flex'; its lanes are 'batch'"):
        Bridge(submit=lambda items: 1, poll=lambda handle: None, mode="flex")


@pytest.mark.parametrize("host", [Bridge, Batcher])
def test_a_mode_chooses_the_lane(host):
    made = host(openai(), mode="flex")
    bridge = made if host is Bridge else made._worker._bridge if hasattr(made, "_worker") else made._bridge
    assert bridge.mode == "flex"
    assert isinstance(bridge.provider, ModeSwitch)
    assert bridge.provider.way == "flex"
    assert bridge.provider._below == math.inf


def test_the_environment_chooses_where_nobody_says(monkeypatch, caplog):
    monkeypatch.setenv("BATCH_BRIDGE_MODE", "flex")
    assert Bridge(openai()).mode == "flex"
    with caplog.at_level(logging.WARNING, "batch_bridge"):
        assert Bridge(AnthropicBatch(model="claude")).mode == "batch"
    assert "has no lane 'flex'" in caplog.text


def test_a_provider_that_answers_in_a_lane_is_its_own_mode():
    bridge = Bridge(openai().flex(concurrency=3))
    assert (bridge.mode, bridge.provider.way) == ("flex", "flex")
    with pytest.raises(ValueError, match="answers in flex only"):
        Bridge(openai().flex(), mode="realtime")


def test_the_fallback_of_flex_is_realtime():
    bridge = Bridge(openai(), mode="flex", deadline=3600)
    primary, fallback = bridge.providers
    assert (primary.way, fallback.way) == ("flex", "realtime")
    _, fallback = Bridge(openai().flex(), deadline=3600).providers
    assert fallback.realtime().way == "realtime"


def test_a_flex_bridge_sends_at_once():
    bridge = Bridge(openai(), mode="flex", flush=FlushPolicy(max_requests=9, max_age=3600))
    assert bridge.flush.max_age.total_seconds() == 0


def test_handles_tell_their_lane():
    assert lane_in({"batch_bridge_realtime": "x"}) == "realtime"
    assert lane_in({"batch_bridge_realtime": "x", "batch_bridge_lane": "flex"}) == "flex"
    assert lane_in({"id": "batch_1"}) == lane_in("batch_1") == lane_in(None) == "batch"


@pytest.mark.parametrize(
    "item",
    [
        {"model": "text-embedding-3-small", "input": ["x"], "url": "/v1/embeddings"},
        {"model": "gpt-5", "messages": CHAT, "service_tier": "priority"},
    ],
)
def test_what_the_tier_does_not_take_is_refused_by_name(item):
    body = {key: value for key, value in item.items() if key != "url"}
    whole = {"method": "POST", "url": item["url"], "body": body} if "url" in item else body
    with pytest.raises(RequestRefused, match="flex tier"):
        openai().flex().measure(Request("0" * 32, "", whole))


def test_models_and_clients_take_the_mode():
    from langchain_openai import ChatOpenAI

    from batch_bridge import wrap_openai

    assert batched(ChatOpenAI(model="gpt-5-mini", api_key="k"), mode="flex") is not None
    with pytest.raises(ValueError, match="is not a mode"):
        batched(ChatOpenAI(model="gpt-5-mini", api_key="k"), mode="fast")
    assert wrap_openai(AsyncOpenAI(api_key="k"), mode="flex").api_key == "k"
