"""A provider that misbehaves: what it sends fills no memory, takes no key away, and holds up nobody."""

import asyncio
import contextlib
import json
import subprocess
import sys
import urllib.request
from datetime import timedelta
from pathlib import Path

import pytest
import warm
from openai import AsyncOpenAI

from batch_bridge._core.models import InProgress
from batch_bridge.errors import ProviderUnavailable, ResponseRejected
from batch_bridge.providers import ResponseLimits
from batch_bridge.providers._shared.background import Background
from batch_bridge.providers.openai import OpenAIBatch

SERVER = Path(__file__).parents[1].joinpath("hostile_server.py")
KEY = "my-very-own-key-17"
UPLOAD = {"input_file_id": "file-in", "endpoint": "/v1/chat/completions", "model": "m", "uploaded_at": 1}
HANDLE = {**UPLOAD, "id": "batch_1", "key": "k", "created_at": 1}
SMALL = ResponseLimits(
    answer_bytes=1_000_000,
    body_bytes=1_000_000,
    download_bytes=3_000_000,
    listed=500,
    transfer_time=timedelta(seconds=1),
)


@contextlib.contextmanager
def hostile(mode):
    process = warm.start([SERVER, mode], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"
    finally:
        process.kill()
        process.communicate()


def seen(root):
    with urllib.request.urlopen(f"{root}/seen") as answer:
        return json.load(answer)


@contextlib.asynccontextmanager
async def provider_of(root, limits=SMALL, grace=60.0, **options):
    client = AsyncOpenAI(base_url=f"{root}/v1", api_key=KEY)
    provider = OpenAIBatch(client, model="m", responses=limits, **options)
    provider._background = Background(grace)
    try:
        yield provider
    finally:
        await provider.aclose()


async def outcomes(ended):
    return [pair async for pair in ended.outcomes]


async def test_a_line_without_end_fails_its_own_request():
    with hostile("endless_line") as root:
        async with provider_of(root, ResponseLimits(answer_bytes=1_000_000)) as provider:
            ended = await provider.poll(HANDLE, ["a"])
            ((name, errored),) = await outcomes(ended)
    assert (name, errored.code, errored.retryable) == ("a", "answer_too_large", False)


@pytest.mark.parametrize("mode", ["endless_lines", "gzip_bomb"])
async def test_results_without_end_are_not_read_to_it(mode):
    with hostile(mode) as root:
        async with provider_of(root) as provider:
            ended = await provider.poll(HANDLE, ["a"])
            with pytest.raises(ResponseRejected, match="download_bytes=3_000_000"):
                await outcomes(ended)


async def test_what_is_packed_twice_is_not_unpacked():
    with hostile("packed_twice") as root:
        async with provider_of(root) as provider:
            with pytest.raises(ResponseRejected, match="the encoding 'gzip, gzip'"):
                await outcomes(await provider.poll(HANDLE, ["a"]))


async def test_a_bomb_in_the_state_of_a_batch_is_not_unpacked():
    with hostile("poll_bomb") as root:
        async with provider_of(root) as provider:
            with pytest.raises(ResponseRejected, match="body_bytes"):
                await provider.poll(HANDLE, ["a"])


async def test_a_byte_a_second_ends_with_the_time_that_is_allowed():
    with hostile("drip") as root:
        async with provider_of(root) as provider:
            with pytest.raises(ProviderUnavailable, match=r"within 1 seconds, which is ResponseLimits\(transfer_time"):
                await outcomes(await provider.poll(HANDLE, ["a"]))


async def test_a_byte_a_second_holds_up_nobody():
    with hostile("drip") as root:
        async with provider_of(root, ResponseLimits(), grace=0.05) as provider:
            first = await provider.poll(HANDLE, ["a"])
            again = await provider.poll(HANDLE, ["a"])
            assert isinstance(first, InProgress)
            assert first.looking
            assert again.news is not None
            assert provider.calls["files.content"] <= 1
            await provider.release(HANDLE)


async def test_what_takes_longer_is_told_later():
    background, go = Background(0.01), asyncio.Event()

    async def look():
        await go.wait()
        return InProgress(1, 2)

    first = await background.look("b", look)
    assert first.looking
    go.set()
    await first.news
    assert await background.look("b", look) == InProgress(1, 2)


async def test_a_redirect_to_another_host_gets_nothing():
    with hostile("redirect") as root:
        async with provider_of(root) as provider:
            with pytest.raises(ResponseRejected, match="redirects to http://localhost"):
                await outcomes(await provider.poll(HANDLE, ["a"]))
        assert not [each for each in seen(root) if each[1] == "/v1/elsewhere"]


async def test_a_listing_without_end_is_left():
    with hostile("listing") as root:
        async with provider_of(root) as provider:
            with pytest.raises(ResponseRejected, match="listed=500"):
                await provider.find("k", UPLOAD)
            assert provider.calls["batches.list"] <= 7


@pytest.mark.parametrize("quirks", ["openai", "mistral", "together", "vllm"])
async def test_an_id_leads_nowhere_else(quirks):
    with hostile("traversal") as root:
        async with provider_of(root, quirks=quirks, delete_files=True) as provider:
            bad = {**HANDLE, "id": "../files/precious"}
            for call in (provider.poll(bad, ["a"]), provider.cancel(bad), provider.release(bad)):
                with pytest.raises(ResponseRejected, match="would lead to another address"):
                    await call
            if quirks == "openai":
                with pytest.raises(ResponseRejected, match="precious"):
                    await provider.poll(HANDLE, ["a"])
        assert not [each for each in seen(root) if "precious" in each[1]]


async def test_texts_of_errors_are_clean():
    with hostile("texts") as root:
        async with provider_of(root) as provider:
            with pytest.raises(ProviderUnavailable) as caught:
                await provider.poll(HANDLE, ["a"])
    told = str(caught.value)
    assert told.isprintable()
    assert KEY not in told
    assert "ERROR forged line, key ***" in told


async def test_a_client_of_the_users_is_guarded_and_not_changed():
    import httpx2 as httpx

    with hostile("redirect") as root:
        async with httpx.AsyncClient(follow_redirects=True) as http:
            provider = OpenAIBatch(AsyncOpenAI(base_url=f"{root}/v1", api_key=KEY, http_client=http), model="m")
            with pytest.raises(ResponseRejected):
                await outcomes(await provider.poll(HANDLE, ["a"]))
            assert http.event_hooks == {"request": [], "response": []}


MEMORY = """
import asyncio, os, sys, time
from pathlib import Path
from openai import AsyncOpenAI
from batch_bridge import Batcher
from batch_bridge.providers.openai import OpenAIBatch

good, *bad = sys.argv[1:]
def batcher(url):
    return Batcher(OpenAIBatch(AsyncOpenAI(base_url=url, api_key="a-key-for-tests"), model="m"), poll_interval=0.2, max_batch_age=0)

async def main():
    theirs = [batcher(url) for url in bad]
    asked = [asyncio.ensure_future(each.asubmit([{"role": "user", "content": "x"}])) for each in theirs]
    await asyncio.sleep(1)
    ours = batcher(good)
    began = time.monotonic()
    answers = await asyncio.gather(*(ours.asubmit([{"role": "user", "content": str(i)}]) for i in range(50)))
    print(len(answers), time.monotonic() - began, flush=True)
    await asyncio.sleep(2)
    # Not ru_maxrss: that begins with what the process that started this one holds, here hundreds of megabytes.
    print(int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]) / 1024, flush=True)
    os._exit(0)

asyncio.run(main())
"""


def test_the_good_one_beside_them_is_not_late_and_memory_stays_small():
    from batch_bridge.testing import BatchServer

    modes = (
        "endless_line",
        "gzip_bomb",
        "packed_twice",
        "drip",
        "redirect",
        "poll_bomb",
        "poll_drip",
        "traversal",
        "texts",
    )
    with contextlib.ExitStack() as stack:
        good = stack.enter_context(BatchServer())
        roots = [stack.enter_context(hostile(mode)) for mode in modes]
        told = subprocess.run(
            [sys.executable, "-c", MEMORY, good.base_url, *(f"{root}/v1" for root in roots)],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    (count, seconds), (megabytes,) = (line.split() for line in told.stdout.splitlines())
    print(count, seconds, megabytes)
    assert int(count) == 50
    assert float(seconds) < 30
    assert float(megabytes) < 300, megabytes
