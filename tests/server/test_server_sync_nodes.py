"""Many nodes at once that are not async, and wait."""

import asyncio

import pytest
from deployed import Deployed


@pytest.mark.xfail(
    strict=True,
    reason="wait_sync blocks a thread of the server's pool until the bridge was told, and telling it needs a thread of "
    "that pool (every log line of the server does): with as many such nodes at once as the pool has threads, CPUs + 4, "
    "the whole server stands still",
)
async def test_more_sync_nodes_than_the_server_has_threads(tmp_path) -> None:
    deployed = Deployed("shapes", tmp_path, jobs=40)
    deployed.server.start()
    try:
        async with asyncio.timeout(20), deployed.client() as client:
            threads = [await client.start("sync") for _ in range(40)]
            ended = await client.ended(*threads, patience=18)
            assert [seen["values"]["out"][0] for seen in ended] == [f"{thread} sync!" for thread in threads]
    finally:
        deployed.server.kill()
