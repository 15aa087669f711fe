"""Cases whose money is known: each is computed by hand of what the server has billed, at the prices of gpt-4o-mini.

Source: https://developers.openai.com/api/docs/pricing, gpt-4o-mini: 0.15 in and 0.60 out a million tokens, half of that
in a batch.
"""

import asyncio
from decimal import Decimal

import pytest
from helpers import one_node, within
from openai import AsyncOpenAI

from batch_bridge import Bridge, Runner, wait
from batch_bridge.providers.openai import OpenAIBatch
from batch_bridge.testing import BatchServer

BATCH = (Decimal("0.075e-6"), Decimal("0.30e-6"))
FULL = (Decimal("0.15e-6"), Decimal("0.60e-6"))


@pytest.fixture
def server():
    with BatchServer(latency=0.05) as server:
        yield server


def runner(server, path, **options):
    provider = OpenAIBatch(AsyncOpenAI(base_url=server.base_url, api_key="test"), model="gpt-4o-mini")
    bridge = Bridge(provider, **{"poll_interval": 0.1, "mode": "batch", **options})
    return Runner(one_node(asks), bridge, path=path, progress=False)


async def asks(state):
    answer = await wait([{"role": "user", "content": f"question {state['x']}"}])
    return {"out": [answer["usage"]["prompt_tokens"], answer["usage"]["completion_tokens"]]}


def inputs(count):
    return [{"x": n} for n in range(count)]


def priced(results, prices):
    """Return what answers cost, of what each of them says that it has used."""
    return sum(used * price for result in results for used, price in zip(result["out"], prices, strict=True))


async def test_what_a_deadline_has_answered_in_realtime_costs_the_full_price_and_its_batch_nothing(server, tmp_path):
    server.configure(stuck=1.0, stuck_share=0.0, cancel_seconds=0.0)
    async with runner(server, tmp_path / "run.db", deadline=0.5) as one:
        results = await within(one.abatch(inputs(4), run_id="r"))
        cost = (await one.report()).cost
    assert (server.stats.realtime, server.stats.paid) == (4, 0)
    assert {lane: line.requests for lane, line in cost.by_lane.items()} == {"realtime": 4}
    assert (cost.paid, cost.saved) == (priced(results, FULL), 0)


async def test_what_an_overdue_batch_has_answered_all_the_same_is_paid_at_the_price_of_a_batch(server, tmp_path):
    server.configure(stuck=1.0, stuck_share=0.5, cancel_seconds=0.0)
    async with runner(server, tmp_path / "run.db", deadline=0.5) as one:
        results = await within(one.abatch(inputs(4), run_id="r"))
        cost = (await one.report()).cost
    lanes = {lane: (line.requests, line.paid) for lane, line in cost.by_lane.items()}
    batch, full = results[:2], results[2:]
    if server.stats.realtime == 2:  # which lines the batch had answered, the server chooses; all are as long
        assert lanes == {"batch": (2, priced(batch, BATCH)), "realtime": (2, priced(full, FULL))}
    assert cost.paid == sum(paid for _, paid in lanes.values())
    assert cost.requests == server.stats.paid + server.stats.realtime


async def test_lines_that_were_sent_again_are_paid_where_they_were_answered(server, tmp_path):
    server.configure(expiry=1.0, expiry_share=0.5)
    async with runner(server, tmp_path / "run.db") as one:
        results = await within(one.abatch(inputs(8), run_id="r", return_exceptions=True))
        report = await one.report()
    answered = [each for each in results if isinstance(each, dict)]
    assert (len(answered), report.resubmitted) == (7, 4 + 2)  # of eight, four, two: the last one has expired thrice
    assert (server.stats.paid, server.stats.paid_twice) == (7, 0)
    assert (report.cost.requests, report.cost.paid) == (7, priced(answered, BATCH))
    assert report.cost.list_price == priced(answered, FULL)


async def test_a_batch_that_another_process_adopts_is_paid_once_and_by_whom_it_was_asked(server, tmp_path):
    server.configure(latency=0.6)
    path = tmp_path / "run.db"
    async with runner(server, path) as first:
        running = asyncio.create_task(first.abatch(inputs(3), run_id="r"))
        while not server.stats.requests:
            await asyncio.sleep(0.02)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    async with runner(server, path) as second:
        results = await within(second.abatch(inputs(3), run_id="r"))
        cost, rows = (await second.report()).cost, await second.costs()
    assert (server.stats.batches, server.stats.paid_twice) == (1, 0)
    assert (cost.requests, cost.paid) == (3, priced(results, BATCH))
    assert [(row["thread"], row["paid"]) for row in rows] == [
        (f"r:{n}", priced([result], BATCH)) for n, result in enumerate(results)
    ]
