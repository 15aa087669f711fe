"""One node that waits for two bridges of a deployment, each at its own pace."""

import asyncio
from collections.abc import Iterator

import pytest
from deployed import Deployed

from batch_bridge import is_bridge_interrupt

THREADS = 30


@pytest.fixture(scope="module")
def deployed(tmp_path_factory) -> Iterator[Deployed]:
    with Deployed("mixed", tmp_path_factory.mktemp("two"), jobs=30) as running:
        yield running


@pytest.mark.parametrize("slow", [("other",), ("bridge",), ("bridge", "other")], ids="+".join)
async def test_a_node_that_waits_for_two_bridges(deployed, slow) -> None:
    for bridge in slow:
        deployed.hold(bridge)
    async with deployed.client() as client:
        try:
            threads = await asyncio.gather(*(client.start("both") for _ in range(THREADS)))
            for bridge in slow:
                await client.shows(bridge, in_flight=THREADS)
            if len(slow) == 1:
                (quick,) = {"bridge", "other"} - set(slow)
                await client.shows(quick, in_flight=0, undelivered=0)
                for thread in threads:
                    (raised,) = await client.parked(thread)
                    assert [each["batcher"] for each in raised["value"]["requests"]] == [*slow]
        finally:
            for bridge in slow:
                deployed.let_go(bridge)
        wanted = [[f"{thread} bridge!", f"{thread} other!"] for thread in threads]
        for thread, answers in zip(threads, wanted, strict=True):
            raised = await client.human(thread)
            assert raised["value"] == {"approve": answers}
            assert deployed.sent(thread) == dict.fromkeys([f"{thread} bridge", f"{thread} other"], 1)
        for bridge in ("bridge", "other"):
            await client.shows(bridge, waiting=0, in_flight=0, undelivered=0)
        for thread in threads:
            (raised,) = await client.interrupts(thread)
            assert not is_bridge_interrupt(raised)
            await client.run("both", thread, input=None, command={"resume": {raised["id"]: "yes"}})
        ended = await client.ended(*threads)
        assert [seen["values"]["out"] for seen in ended] == [[*answers, "yes"] for answers in wanted]
        rounds = [await client.rounds(thread) for thread in threads]
        assert max(rounds) <= 3
