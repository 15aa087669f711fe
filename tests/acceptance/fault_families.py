"""The providers that meet the faults, one of each wire form: how each is opened and asked, and what it calls an error."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from anthropic import AsyncAnthropic
from google import genai
from openai import AsyncAzureOpenAI, AsyncOpenAI

from batch_bridge import Provider
from batch_bridge.providers.anthropic import AnthropicBatch
from batch_bridge.providers.azure import AzureOpenAIBatch
from batch_bridge.providers.gemini import GeminiBatch
from batch_bridge.providers.gemini._provider import INLINE_BYTES
from batch_bridge.providers.openai import OpenAIBatch


@dataclass(frozen=True, eq=False)
class SharedClientState:
    """One wire form.

    Attributes:
        name: As the page calls it.
        open: Makes the provider, for the server's root and an API key.
        text: The text in an answer.
        words: What it calls the errors that the table of faults names.
    """

    name: str
    open: Callable[[str, str], Provider]
    text: Callable[[Any], str]
    words: Mapping[str, str]


def openai(root: str, key: str, *, path: str = "/v1", quirks: Any = "openai") -> Provider:
    client = AsyncOpenAI(base_url=root + path, api_key=key)
    return OpenAIBatch(client, model="some-model", quirks=quirks)


def azure(root: str, key: str) -> Provider:
    client = AsyncAzureOpenAI(azure_endpoint=root, api_key=key, api_version="2025-04-01-preview")
    return AzureOpenAIBatch(client, model="some-deployment")


def anthropic(root: str, key: str) -> Provider:
    return AnthropicBatch(AsyncAnthropic(base_url=root, api_key=key), model="claude-haiku-4-5")


def gemini(root: str, key: str, **options: Any) -> Provider:
    client = genai.Client(api_key=key, http_options={"base_url": root})
    return GeminiBatch(client, model="gemini-2.5-flash", **options)


def openai_text(answer: Any) -> str:
    return answer["choices"][0]["message"]["content"]


def anthropic_text(answer: Any) -> str:
    return answer["content"][0]["text"]


def gemini_text(answer: Any) -> str:
    return answer["candidates"][0]["content"]["parts"][0]["text"]


PASSING = "RequestFailed ({}, retryable), RequestFailed ({}, retryable)"
OPENAI_WORDS = {"passing": PASSING.format("rate_limit_exceeded 429", "server_error 500"), "failed": "invalid_json_line"}
ANTHROPIC_WORDS = {"passing": PASSING.format("api_error 500", "rate_limit_error 429")}
GEMINI_WORDS = {"passing": PASSING.format("internal 500", "resource_exhausted 429"), "failed": "invalid_argument"}

OPENAI = SharedClientState("OpenAI", openai, openai_text, OPENAI_WORDS)
AZURE = SharedClientState("Azure", azure, openai_text, OPENAI_WORDS)
ANTHROPIC = SharedClientState("Anthropic", anthropic, anthropic_text, ANTHROPIC_WORDS)
GEMINI = SharedClientState("Gemini", gemini, gemini_text, GEMINI_WORDS)
INLINE = SharedClientState("Gemini (inline)", partial(gemini, inline_bytes=INLINE_BYTES), gemini_text, GEMINI_WORDS)
TOGETHER = SharedClientState(
    "Together",
    partial(openai, path="/together/v1", quirks="together"),
    openai_text,
    OPENAI_WORDS | {"failed": "batch_failed"},
)
MISTRAL = SharedClientState(
    "Mistral",
    partial(openai, path="/mistral/v1", quirks="mistral"),
    openai_text,
    OPENAI_WORDS | {"failed": "batch_failed"},
)
FAMILIES = (OPENAI, AZURE, ANTHROPIC, GEMINI, INLINE, TOGETHER, MISTRAL)
