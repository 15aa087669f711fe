"""Anthropic, Gemini and Azure that misbehave in each of the ways of `test_hostile_provider.py`, in their own words."""

import contextlib
import json
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from anthropic import AsyncAnthropic
from google import genai
from openai import AsyncAzureOpenAI

from batch_bridge import Request
from batch_bridge._core.models import InProgress
from batch_bridge.errors import ProviderUnavailable, ResponseRejected
from batch_bridge.providers import ResponseLimits
from batch_bridge.providers._shared.background import Background
from batch_bridge.providers.anthropic import AnthropicBatch
from batch_bridge.providers.azure import AzureOpenAIBatch
from batch_bridge.providers.gemini import GeminiBatch

SERVER = Path(__file__).parents[1].joinpath("hostile_vendors.py")
KEY = "my-very-own-key-17"
SMALL = ResponseLimits(
    answer_bytes=1_000_000,
    body_bytes=1_000_000,
    download_bytes=3_000_000,
    listed=500,
)
BRIEF = replace(SMALL, call_time=timedelta(seconds=1), transfer_time=timedelta(seconds=1))
"""For those who send a byte a second; others may be slow because the machine is."""


@dataclass(frozen=True)
class Vendor:
    """One of them: how its provider is made, and what the ledger holds of a batch of it."""

    make: Callable[..., Any]
    prepared: dict[str, Any]
    handle: dict[str, Any]
    name: str
    """Under what a handle names its batch, and `kind` what stands before it."""
    kind: str = ""
    lists: str = "batches.list"


def anthropic(root: str, limits: ResponseLimits, **options: Any) -> AnthropicBatch:
    client = AsyncAnthropic(base_url=root, api_key=KEY, max_retries=0)
    return AnthropicBatch(client, model="m", max_tokens=9, responses=limits, delete_batches=True, **options)


def gemini(root: str, limits: ResponseLimits, **options: Any) -> GeminiBatch:
    client = genai.Client(api_key=KEY, http_options={"base_url": root})
    return GeminiBatch(client, model="m", responses=limits, delete_files=True, **options)


def azure(root: str, limits: ResponseLimits, **options: Any) -> AzureOpenAIBatch:
    client = AsyncAzureOpenAI(azure_endpoint=root, api_key=KEY, api_version="2025-03-01-preview", max_retries=0)
    return AzureOpenAIBatch(client, model="m", responses=limits, delete_files=True, **options)


UPLOAD = {"input_file_id": "file-in", "endpoint": "/v1/chat/completions", "model": "m", "uploaded_at": 1}
SOUGHT = {"key": "k", "model": "m", "requests": 1, "newest": None, "newest_at": None, "is_listed": True}
FILED = {"input_file": "files/in", "model": "m", "uploaded_at": 1}
VENDORS = {
    "anthropic": Vendor(
        anthropic,
        SOUGHT,
        {"id": "msgbatch_1", "key": "k", "model": "m", "created_at": 1},
        "id",
        lists="messages.batches.list",
    ),
    "gemini": Vendor(gemini, FILED, {**FILED, "name": "batches/b1", "key": "k", "created_at": 1}, "name", "batches/"),
    "azure": Vendor(azure, UPLOAD, {**UPLOAD, "id": "batch_1", "key": "k", "created_at": 1}, "id"),
}
ALL = pytest.mark.parametrize("vendor", VENDORS)


@contextlib.contextmanager
def hostile(vendor, mode):
    process = subprocess.Popen(
        [sys.executable, str(SERVER), vendor, mode], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"
    finally:
        process.kill()
        process.communicate()


def seen(root):
    with urllib.request.urlopen(f"{root}/seen") as answer:
        return json.load(answer)


@contextlib.asynccontextmanager
async def provider_of(vendor, mode, limits=SMALL, grace=60.0, **options):
    with hostile(vendor, mode) as root:
        provider = VENDORS[vendor].make(root, limits, **options)
        provider._background = Background(grace)
        provider.root = root
        try:
            yield provider
        finally:
            await provider.aclose()


async def outcomes(provider, vendor):
    ended = await provider.poll(VENDORS[vendor].handle, ["a"])
    return [pair async for pair in ended.outcomes]


@pytest.mark.sampled(least=9)
@ALL
@pytest.mark.parametrize(
    ("mode", "error", "words"),
    [
        ("endless_lines", ResponseRejected, "download_bytes=3_000_000"),
        ("gzip_bomb", ResponseRejected, "download_bytes=3_000_000"),
        ("packed_twice", ResponseRejected, "has the encoding 'gzip, gzip'"),
        ("drip", ProviderUnavailable, r"within 1 seconds, which is ResponseLimits\(transfer_time"),
        ("redirect", ResponseRejected, "redirects to http://localhost"),
    ],
)
async def test_results_that_harm_are_refused(vendor, mode, error, words) -> None:
    async with provider_of(vendor, mode, BRIEF if mode == "drip" else SMALL) as provider:
        with pytest.raises(error, match=words):
            await outcomes(provider, vendor)
        assert not [each for each in seen(provider.root) if each[2].startswith("localhost")]


@ALL
async def test_a_line_without_end_is_not_held(vendor) -> None:
    limits = ResponseLimits(answer_bytes=1_000_000)
    async with provider_of(vendor, "endless_line", limits) as provider:
        assert all(each.code == "answer_too_large" for _, each in await outcomes(provider, vendor))


@ALL
@pytest.mark.parametrize(
    ("mode", "error", "words"),
    [
        ("poll_bomb", ResponseRejected, "(body|answer)_bytes=1_000_000"),
        ("poll_drip", ProviderUnavailable, r"within 1 seconds, which is ResponseLimits\((call|transfer)_time"),
        ("poll_redirect", ResponseRejected, "redirects to http://localhost"),
    ],
)
async def test_a_state_that_harms_is_refused(vendor, mode, error, words) -> None:
    async with provider_of(vendor, mode, BRIEF if mode == "poll_drip" else SMALL) as provider:
        with pytest.raises(error, match=words):
            await provider.poll(VENDORS[vendor].handle, ["a"])
        assert not [each for each in seen(provider.root) if each[2].startswith("localhost")]


@ALL
async def test_a_byte_a_second_holds_up_nobody(vendor) -> None:
    async with provider_of(vendor, "drip", grace=0.05) as provider:
        looked = [await provider.poll(VENDORS[vendor].handle, ["a"]) for _ in range(2)]
        assert all(isinstance(each, InProgress) and each.looking for each in looked)


@ALL
async def test_a_listing_without_end_is_left(vendor) -> None:
    async with provider_of(vendor, "listing") as provider:
        with pytest.raises(ResponseRejected, match="listed=500"):
            await provider.find("k", VENDORS[vendor].prepared)
        assert provider.calls[VENDORS[vendor].lists] <= 7


async def test_empty_pages_without_end_are_left_too() -> None:
    async with provider_of("gemini", "empty_pages", replace(SMALL, listed=50)) as provider:
        with pytest.raises(ResponseRejected, match="listed=50"):
            await provider.find("k", FILED)
        assert provider.calls["batches.list"] == 51


@ALL
async def test_an_id_leads_nowhere_else(vendor) -> None:
    one = VENDORS[vendor]
    async with provider_of(vendor, "traversal") as provider:
        for bad in ("../files/precious", "..", "x?y=1", "a/../../files/precious", "%2e%2e/precious"):
            handle = {**one.handle, one.name: one.kind + bad}
            for call in (provider.poll(handle, ["a"]), provider.cancel(handle), provider.release(handle)):
                with pytest.raises(ResponseRejected, match="would lead to another address"):
                    await call
        assert not seen(provider.root)


@pytest.mark.parametrize(
    ("vendor", "mode"), [("gemini", "traversal"), ("gemini", "other_kind"), ("azure", "traversal")]
)
async def test_the_id_of_a_results_file_leads_nowhere_else(vendor, mode) -> None:
    async with provider_of(vendor, mode) as provider:
        with pytest.raises(ResponseRejected, match="would lead to another address"):
            await outcomes(provider, vendor)
        with pytest.raises(ResponseRejected, match="would lead to another address"):
            await provider.release(VENDORS[vendor].handle)
        assert not [each for each in seen(provider.root) if "precious" in each[1] or "elsewhere" in each[1]]


async def test_results_at_another_host_are_not_fetched_and_no_key_goes_there() -> None:
    async with provider_of("anthropic", "results_elsewhere") as provider:
        with pytest.raises(ResponseRejected, match="redirects to http://localhost"):
            await outcomes(provider, "anthropic")
        assert not [each for each in seen(provider.root) if each[2].startswith("localhost")]


async def test_results_elsewhere_at_the_same_host_are_no_results() -> None:
    """The provider sees its own key: it may send us where it likes at its own host, but to read alone."""
    async with provider_of("anthropic", "results_path") as provider:
        with contextlib.suppress(ProviderUnavailable, ResponseRejected):
            await outcomes(provider, "anthropic")
        assert {each[0] for each in seen(provider.root)} == {"GET"}


async def test_an_upload_is_not_sent_to_another_host() -> None:
    async with provider_of("gemini", "upload_elsewhere", inline_bytes=0) as provider:
        with pytest.raises(Exception, match="redirects to http://localhost"):
            await provider.prepare("k", [Request("a", "t", [{"role": "user", "content": "x"}])])
        assert not [each for each in seen(provider.root) if each[2].startswith("localhost")]


@ALL
async def test_texts_of_errors_are_clean(vendor) -> None:
    async with provider_of(vendor, "texts") as provider:
        with pytest.raises(ProviderUnavailable) as caught:
            await provider.poll(VENDORS[vendor].handle, ["a"])
    told = str(caught.value)
    assert told.isprintable()
    assert KEY not in told
    assert "ERROR forged line, key ***" in told
