"""Which headers of a call decide something, and what becomes of a call that has them."""

import pytest
from openai import AsyncAzureOpenAI, AsyncOpenAI
from openai._models import FinalRequestOptions

from batch_bridge._core.headers import decides, deciding
from batch_bridge._dropin.openai.request import refusal, usual_headers

NEUTRAL = [
    "User-Agent",
    "X-Stainless-Lang",
    "x-stainless-retry-count",
    "Accept",
    "Accept-Encoding",
    "traceparent",
    "tracestate",
    "baggage",
    "b3",
    "X-B3-TraceId",
    "X-Request-Id",
    "X-Client-Request-Id",
    "x-datadog-trace-id",
    "sentry-trace",
    "HTTP-Referer",
    "X-Title",
]
DECIDING = [
    "Authorization",
    "api-key",
    "OpenAI-Organization",
    "OpenAI-Project",
    "OpenAI-Beta",
    "anthropic-beta",
    "Content-Type",
    "Idempotency-Key",
    "X-Tenant",
    "Helicone-Cache-Enabled",
    "Cookie",
]


@pytest.mark.parametrize("name", NEUTRAL)
def test_what_decides_nothing_passes(name):
    assert not decides(name)
    assert said({name: "a"}) is None


@pytest.mark.parametrize("name", DECIDING)
def test_what_may_decide_something_is_refused_by_name(name):
    assert decides(name)
    assert name.lower() in said({"User-Agent": "x", name: "another"})


def said(headers, client=None):
    client = client or AsyncOpenAI(api_key="key", organization="org", base_url="http://x")
    options = FinalRequestOptions(method="post", url="/responses", json_data={}, headers=headers)
    return refusal(options, stream=False, usual=usual_headers(client))


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": "Bearer key"},
        {"openai-organization": "org"},
        {"Content-Type": "application/json"},
        {"X-Tenant": "a"},
    ],
    ids=str,
)
def test_what_the_client_sends_anyway_changes_nothing(headers):
    client = AsyncOpenAI(api_key="key", organization="org", base_url="http://x", default_headers={"X-Tenant": "a"})
    assert said(headers, client) is None


def test_azures_own_key_changes_nothing():
    client = AsyncAzureOpenAI(api_key="key", azure_endpoint="http://x", api_version="1")
    assert said({"api-key": "key"}, client) is None
    assert "with_options(api_key=…)" in said({"api-key": "other"}, client)


@pytest.mark.parametrize(
    ("name", "way_out"),
    [
        ("Authorization", "with_options(api_key=…)"),
        ("OpenAI-Organization", "with_options(organization=…)"),
        ("OpenAI-Project", "with_options(project=…)"),
    ],
)
def test_another_account_is_refused_with_the_way_out_and_without_its_key(name, way_out):
    refused = said({name: "s3cret"})
    assert way_out in refused
    assert "s3cret" not in refused


def test_a_header_that_is_left_out_says_nothing():
    assert deciding({"OpenAI-Beta": None, "User-Agent": "x", "X-A": "1"}) == {"x-a": "1"}
