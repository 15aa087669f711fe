"""Many nodes at once that are not async, and wait."""

import asyncio

from deployed import Deployed


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
