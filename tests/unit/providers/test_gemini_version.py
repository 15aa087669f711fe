"""Which version of Gemini's API is asked: ours where nobody says one, whatever the SDK's own default is."""

from importlib.metadata import version

import pytest
from google import genai
from packaging.version import Version

from batch_bridge.providers.gemini._clients import GeminiClients

READS_THE_VARIABLE = Version(version("google-genai")) >= Version("3")


@pytest.fixture(autouse=True)
def key(monkeypatch):
    monkeypatch.setenv("GEMINI_API_KEY", "k")
    monkeypatch.delenv("GOOGLE_GENAI_API_VERSION", raising=False)


async def asked(clients):
    client = clients._new()
    told = client._api_client._http_options.api_version
    await clients._close(client)
    return told


async def test_a_client_of_ours_asks_for_v1beta():
    clients = GeminiClients(None)
    assert (await asked(clients), clients._describe()[-1]) == ("v1beta", "v1beta")


@pytest.mark.skipif(not READS_THE_VARIABLE, reason="older SDKs do not read the variable")
async def test_or_for_what_the_environment_says(monkeypatch):
    monkeypatch.setenv("GOOGLE_GENAI_API_VERSION", "v1alpha")
    clients = GeminiClients(None)
    assert (await asked(clients), clients._describe()[-1]) == ("v1alpha", "v1alpha")


async def test_a_client_of_the_users_asks_for_what_it_is_set_to():
    own = genai.Client(api_key="k", http_options={"api_version": "v1"})
    clients = GeminiClients(own)
    copied = clients._copy(own)
    assert copied._api_client._http_options.api_version == "v1"
    await clients._close(copied)
    await own.aio.aclose()
