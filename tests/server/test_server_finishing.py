"""How requests end on a server: late, sent again, given up, with their threads; also when it is stopped in between."""

import asyncio
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from deployed import Client, Deployed, until

from batch_bridge.testing import BatchServer

DEADLINE = 15.0
"""Seconds; threads have parked by then, and what they ask for is sent."""


class Finishing(Deployed):
    """The deployment, and the Batch API server that it asks."""

    def __init__(self, folder: Path, batches: BatchServer) -> None:
        self.batches_at, self.events_at = batches, folder / "events.jsonl"
        env = {"OPENAI_BASE_URL": batches.base_url, "OPENAI_API_KEY": "test", "EVENTS": str(self.events_at)}
        super().__init__("finishing", folder, env=env)

    def events(self) -> list[dict[str, Any]]:
        lines = self.events_at.read_text().splitlines() if self.events_at.exists() else []
        return [json.loads(line) for line in lines]

    async def start(self, client: Client, count: int, graph: str = "ask", **given: Any) -> list[str]:
        """Start threads, and send what they ask for as one batch."""
        names = [f"question {number}" for number in range(count)]
        threads = await asyncio.gather(*(client.start(graph, input={"name": name, **given}) for name in names))
        await client.shows(waiting=count)
        before = self.batches_at.stats.requests
        await client.tick(flush=True)

        async def sent() -> bool:
            return self.batches_at.stats.requests >= before + count

        await until(sent, f"{count} requests are sent", say=client.bridge)
        return threads


@pytest.fixture(scope="module")
def deployed(tmp_path_factory) -> Iterator[Finishing]:
    with BatchServer() as batches, Finishing(tmp_path_factory.mktemp("finishing"), batches) as running:
        yield running


class Batches:
    """The Batch API server, since a test began; nothing goes wrong on it unless the test says so."""

    def __init__(self, server: BatchServer) -> None:
        self._server = server
        self._before = server.stats
        self.configure = server.configure

    def count(self, *names: str) -> tuple[int, ...]:
        now = self._server.stats
        return tuple(getattr(now, name) - getattr(self._before, name) for name in names)

    def ended(self) -> dict[str, int]:
        """The batches by their status."""
        found = Counter(self._server.stats.batches_by_status)
        found.subtract(self._before.batches_by_status)
        return {status: count for status, count in found.items() if count}

    async def are(self, status: str, count: int = 1) -> None:
        """Wait until so many batches have a status."""

        async def there() -> bool:
            return self.ended().get(status, 0) >= count

        await until(there, f"{count} batches are {status}")


async def obeyed(client: Client, order: str) -> int:
    """Return to how many requests an order was done, once it is."""

    async def there() -> list[int]:
        shown = (await client.bridge()).get("commands", [])
        return [each["requests"] for each in shown if each["id"] == order and "waits_for" not in each]

    (count,) = await until(there, f"{order} is done", say=client.bridge)
    return int(count)


@pytest.fixture
def batches(deployed) -> Iterator[Batches]:
    yield Batches(deployed.batches_at)
    deployed.batches_at.configure(stuck=0.0, expiry=0.0, cancel_seconds=0.0)


async def test_what_is_late_is_answered_in_realtime_and_its_batch_cancelled(deployed, batches) -> None:
    batches.configure(stuck=1.0, stuck_share=0.0)
    async with deployed.client() as client:
        threads = await deployed.start(client, 4, deadline=DEADLINE)
        ended = await client.ended(*threads)
        assert all(f"question {n}" in seen["values"]["out"][0] for n, seen in enumerate(ended))
        await client.shows(in_flight=0, batches=0, undelivered=0, dead_letters=[])
    assert batches.count("realtime", "paid", "paid_twice") == (4, 0, 0)
    assert batches.ended() == {"cancelled": 1}


async def test_a_batch_that_expires_half_way_is_finished_by_the_next(deployed, batches) -> None:
    batches.configure(expiry=1.0, expiry_share=0.5)
    async with deployed.client() as client:
        threads = await deployed.start(client, 8)
        ended = await client.ended(*threads)
    out = [seen["values"]["out"][0] for seen in ended]
    assert [each for each in out if not isinstance(each, str)] == [["RequestExpired", ["expired", "expired"]]]
    assert batches.count("batches", "paid", "paid_twice") == (3, 7, 0)


async def test_a_thread_a_request_and_a_batch_are_given_up(deployed, batches) -> None:
    batches.configure(stuck=1.0, stuck_share=0.0)
    async with deployed.client() as client:
        threads = await deployed.start(client, 4)
        first, second, *rest = threads
        await client.tick(cancel={"thread_id": first}, id="first")
        (ended,) = await client.ended(first)
        assert ended["values"]["out"] == [["RequestCancelled", []]]
        ((asked,),) = [each["value"]["requests"] for each in await client.parked(second)]
        await client.tick(cancel={"request_id": asked["id"]}, id="second")
        await client.ended(second)
        assert "cancelled" not in batches.ended(), "others wait for the batch"
        (key,) = [each["batch"] for each in deployed.events() if each["kind"] == "Submitted"][-1:]
        await client.tick(cancel={"batch": key}, id="rest")
        await client.ended(*rest)
        await batches.are("cancelled")
        await client.tick(cancel={"thread_id": first}, id="nobody")
        assert [await obeyed(client, each) for each in ("first", "second", "rest", "nobody")] == [1, 1, 2, 0]
        await client.shows(in_flight=0, batches=0, undelivered=0, dead_letters=[])
    assert batches.count("paid", "realtime") == (0, 0)


async def test_a_queued_request_is_given_up_and_what_its_node_asks_next_is_not(deployed, batches) -> None:
    async with deployed.client() as client:
        thread = await client.start("again", "x")
        await client.shows(waiting=1)
        order = await client.runs.wait(None, "bridge", input={"cancel": "all"})

        async def asks_again() -> bool:
            raised = await client.parked(thread)
            return "second" in str(raised)

        await until(asks_again, "it has gone on to its second question")
        assert await obeyed(client, order["id"]) == 1
        await client.tick(flush=True)
        (ended,) = await client.ended(thread)
        assert ended["values"]["out"][0] == ["RequestCancelled", []]
        assert "x second" in ended["values"]["out"][1]
    assert batches.count("requests") == (1,)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"cancl": "all"}, "no command 'cancl'"),
        ({"cancel": {"thread": "x"}}, "there is no 'thread'"),
        ({"cancel": {"thread_id": "x", "batch": "y"}}, "does not say one thing"),
        ({"cancel": {"request_id": []}}, "is not a list of ids"),
    ],
)
async def test_an_order_that_there_is_not_is_an_error(deployed, given, words) -> None:
    async with deployed.client() as client:
        with pytest.raises(Exception, match=words):
            await client.runs.wait(None, "bridge", input=given)


async def test_what_happens_is_told(deployed, batches) -> None:
    before = len(deployed.events())
    async with deployed.client() as client:
        await client.ended(*await deployed.start(client, 3))

        async def all_told() -> bool:
            counts: Counter[str] = Counter()
            for each in deployed.events()[before:]:
                assert each["bridge"] == "bridge"
                counts[each["kind"]] += len(each.get("requests", ()))
            return all(counts[kind] == 3 for kind in ("Queued", "Submitted", "Settled", "Delivered"))

        await until(all_told, "all is told of three requests")
        loud = await client.start("loud")
        await client.ended(loud)
        for said in ("on_event failed; this is logged once", "BlockingError"):

            async def is_logged(said: str = said) -> bool:
                return said in deployed.server.log

            await until(is_logged, f"{said!r} is in the log")


async def test_a_server_that_is_stopped_between_a_cancellation_and_its_answers(deployed, batches) -> None:
    """Half of the batch is answered by its deadline; it is being cancelled when the server ends."""
    batches.configure(stuck=1.0, stuck_share=0.5, cancel_seconds=3600.0)
    async with deployed.client() as client:
        threads = await deployed.start(client, 6, deadline=DEADLINE)
        await batches.are("cancelling")
    deployed.server.stop()
    batches.configure(cancel_seconds=0.0)
    await batches.are("cancelled")
    deployed.server.start()
    async with deployed.client() as client:
        ended = await client.ended(*threads)
        assert all(f"question {n}" in seen["values"]["out"][0] for n, seen in enumerate(ended))
        await client.shows(in_flight=0, batches=0, undelivered=0, dead_letters=[])
    assert batches.count("realtime", "paid", "paid_twice") == (3, 3, 0)


async def test_an_order_outlives_the_server(deployed, batches) -> None:
    batches.configure(stuck=1.0, stuck_share=0.0)
    async with deployed.client() as client:
        threads = await deployed.start(client, 3)
        await client.runs.create(None, "bridge", input={"cancel": {"thread_id": threads}})
    deployed.restart()
    async with deployed.client() as client:
        ended = await client.ended(*threads)
        assert all(seen["values"]["out"] == [["RequestCancelled", []]] for seen in ended)
        await batches.are("cancelled")
        await client.shows(in_flight=0, batches=0, undelivered=0, dead_letters=[])
    assert batches.count("paid") == (0,)
