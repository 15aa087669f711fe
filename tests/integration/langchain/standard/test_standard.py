"""LangChain's own standard tests, run on plain models and on batched ones: whatever a plain model passes, its twin must.

Which tests these are is the outcome of the plain model's run on the same server (see `conftest.py`), and no list of ours.
"""

import functools

import pytest
from anthropic import AsyncAnthropic
from google import genai
from langchain_anthropic import ChatAnthropic
from langchain_google_genai import ChatGoogleGenerativeAI
from langchain_openai import ChatOpenAI
from openai import AsyncOpenAI

from batch_bridge import Batcher, FlushPolicy
from batch_bridge.langchain import batched
from batch_bridge.providers.anthropic import AnthropicBatch
from batch_bridge.providers.gemini import GeminiBatch
from batch_bridge.providers.openai import OpenAIBatch
from batch_bridge.testing import BatchServer

pytest.importorskip("langchain_tests", reason="the package langchain-tests is not installed")

from langchain_tests.integration_tests import ChatModelIntegrationTests
from langchain_tests.unit_tests import ChatModelUnitTests


def openai_params(server):
    return {"model": "gpt-4o-mini", "base_url": server.base_url, "stream_usage": True}


def responses_params(server):
    return {**openai_params(server), "use_responses_api": True}


def anthropic_params(server):
    return {"model": "claude-haiku-4-5", "base_url": server.root_url}


def google_params(server):
    return {"model": "gemini-2.5-flash", "base_url": server.root_url}


def openai_provider(server):
    return OpenAIBatch(AsyncOpenAI(base_url=server.base_url, api_key="test"))


def anthropic_provider(server):
    return AnthropicBatch(AsyncAnthropic(base_url=server.root_url, api_key="test"))


def google_provider(server):
    return GeminiBatch(genai.Client(api_key="test", http_options={"base_url": server.root_url}))


KINDS = {
    "OpenAI": (ChatOpenAI, openai_params, openai_provider, "OPENAI_API_KEY"),
    "Responses": (ChatOpenAI, responses_params, openai_provider, "OPENAI_API_KEY"),
    "Anthropic": (ChatAnthropic, anthropic_params, anthropic_provider, "ANTHROPIC_API_KEY"),
    "Google": (ChatGoogleGenerativeAI, google_params, google_provider, "GOOGLE_API_KEY"),
}
LEAST = 45
"""So many tests the plain model of each kind must pass, or this file compares too little."""
EXCEPTIONS = {}
"""Tests that a plain model passes and no batch can, with the reason."""
RUNNING = {}
"""The server, and the Batcher of each kind."""


@pytest.fixture(scope="module", autouse=True)
def running():
    with BatchServer() as server:
        RUNNING["server"] = server
        yield
        for kind in KINDS:
            if kind in RUNNING:
                RUNNING.pop(kind).close()


def batcher_of(kind):
    if kind not in RUNNING:
        provider = KINDS[kind][2](RUNNING["server"])
        RUNNING[kind] = Batcher(provider, flush=FlushPolicy(max_idle=0.01), poll_interval=0.02)
    return RUNNING[kind]


@functools.cache
def batched_class(kind):
    """A class of models whose instances are batched."""
    given = KINDS[kind][0]

    class Made(given):
        def __new__(cls, **options):
            return batched(given(**options), batcher_of(kind))

    return Made


class Recorded:
    """A snapshot that the plain model writes, and its batched twin is compared with."""

    def __init__(self, kind):
        self.kind = kind

    def __call__(self, name):
        return self

    def __eq__(self, seen):
        return RUNNING.setdefault(f"{self.kind} serialized", seen) == seen

    __hash__ = None


class _Standard:
    kind = ""
    is_batched = False
    exceptions = EXCEPTIONS

    @property
    def chat_model_class(self):
        return batched_class(self.kind) if self.is_batched else KINDS[self.kind][0]

    @property
    def chat_model_params(self):
        return {**KINDS[self.kind][1](RUNNING["server"]), "api_key": "test"}

    @property
    def init_from_env_params(self):
        return {KINDS[self.kind][3]: "test"}, KINDS[self.kind][1](RUNNING["server"]), {}

    @pytest.fixture
    def snapshot(self):
        return Recorded(self.kind)

    @property
    def model_override_value(self):
        return "another-model"


for _kind in KINDS:
    for _is_batched in (False, True):
        for _base in (ChatModelUnitTests, ChatModelIntegrationTests):
            _name = f"Test{_kind}{'Batched' if _is_batched else 'Plain'}{_base.__name__[9:-5]}"
            globals()[_name] = type(_name, (_Standard, _base), {"kind": _kind, "is_batched": _is_batched})


@pytest.mark.parametrize("kind", KINDS)
def test_enough_is_compared(kind, outcomes):
    if not outcomes[kind]:
        pytest.skip("the standard tests of this kind did not run")
    passed = [name for name, outcome in outcomes[kind].items() if outcome == "passed"]
    assert len(passed) >= LEAST, outcomes[kind]
