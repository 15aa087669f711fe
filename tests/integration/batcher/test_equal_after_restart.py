"""What a durable Batcher and a wrapped client return for an equal request after a restart: the same."""

import contextlib

import pytest
from openai import AsyncOpenAI

from batch_bridge import Batcher, FlushPolicy, wrap_openai
from batch_bridge.providers.openai import OpenAIBatch
from batch_bridge.testing import BatchServer

MESSAGES = [{"role": "user", "content": "Capital of Chad?"}]
SOON = {"flush": FlushPolicy(max_idle=0.05), "poll_interval": 0.05}


async def by_batcher(server, path, ending):
    client = AsyncOpenAI(base_url=server.base_url, api_key="test")
    batcher = Batcher(OpenAIBatch(client, model="m"), path=path, **SOON)
    with contextlib.suppress(LookupError):
        async with batcher:
            answer = await batcher.asubmit(MESSAGES)
            if ending == "by an exception":
                raise LookupError
            if ending == "at once":
                await batcher.aclose(wait=False)
    return answer["id"]


async def by_client(server, path, ending):
    client = wrap_openai(AsyncOpenAI(base_url=server.base_url, api_key="test"), path=path, **SOON)
    with contextlib.suppress(LookupError):
        async with client:
            answer = await client.chat.completions.create(model="m", messages=MESSAGES)
            if ending == "by an exception":
                raise LookupError
            if ending == "at once":  # the program ends without `close`
                asker = next(iter(client.__dict__["_batch_bridge"]._askers.values()))
                asker._shared.close(wait=False)
    return answer.id


@pytest.fixture(scope="module")
def server():
    with BatchServer(latency=0) as server:
        yield server


@pytest.mark.parametrize("host", [by_batcher, by_client])
@pytest.mark.parametrize(("ending", "paid"), [("well", 2), ("by an exception", 1), ("at once", 1)])
async def test_an_equal_request_after_a_restart(tmp_path, server, host, ending, paid):
    server.reset_stats()
    for end in (ending, "well"):
        assert await host(server, tmp_path / "b.db", end)
    assert server.stats.paid == paid
