"""A receiver in `http.app` of a real server wakes its bridge: by polling alone it would look two minutes later."""

import asyncio
import time
from collections.abc import Iterator

import httpx
import orjson
import pytest
from deployed import Deployed

from batch_bridge import webhooks
from batch_bridge.testing._server.webhook import event, signed_headers

SECRET = "whsec_c2VjcmV0IG9mIHRoZSB0ZXN0cywgbG9uZyBlbm91Z2g="


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[Deployed]:
    with Deployed("webhooks", tmp_path_factory.mktemp("webhooks"), env={"OPENAI_WEBHOOK_SECRET": SECRET}) as server:
        yield server


async def post(receiver: httpx.AsyncClient, name: str, secret: str = SECRET) -> int:
    what = event(name, "batch.completed", time.time())
    body = orjson.dumps(what)
    headers = signed_headers(secret, what["id"], body, time.time())
    return (await receiver.post(webhooks.PATH, content=body, headers=headers)).status_code


async def test_a_delivery_wakes_the_bridge_of_a_deployment(server) -> None:
    server.hold("bridge", "ask")
    async with server.client() as client, httpx.AsyncClient(base_url=server.server.url, timeout=60) as receiver:
        thread = await client.start("agent", "ask 1")
        await client.shows(in_flight=1)
        server.let_go("bridge")
        assert await post(receiver, "ask 1", secret="whsec_Zm9yZ2VkIGJ5IHNvbWVib2R5") == 400
        names = ("ask 1", "ask of another program", "ask 1")
        assert await asyncio.gather(*(post(receiver, name) for name in names)) == [204] * 3
        await client.ended(thread, patience=60)
        assert await client.out(thread) == ["ask 1!"]
        assert len(server.batches) == 1
