"""Who is told what something has cost: listeners to events, and `on_item` where it asks for it."""

from decimal import Decimal

import pytest
from helpers import memory, one_node, within
from openai import AsyncOpenAI

from batch_bridge import Batcher, Bridge, ResponseCache, Runner, wait
from batch_bridge.events import Settled
from batch_bridge.providers.openai import OpenAIBatch
from batch_bridge.testing import BatchServer

INTO, OUT = Decimal("0.075e-6"), Decimal("0.3e-6")


@pytest.fixture(scope="module")
def server():
    with BatchServer(latency=0.01) as server:
        yield server


@pytest.fixture(autouse=True)
def fresh(server):
    server.reset_stats()


def bridge(server, **options):
    provider = OpenAIBatch(AsyncOpenAI(base_url=server.base_url, api_key="test"), model="gpt-4o-mini")
    return Bridge(provider, **{"poll_interval": 0.05, "mode": "batch", **options})


def billed(server):
    return server.stats.input_tokens * INTO + server.stats.output_tokens * OUT


async def asks(state):
    for n in range(1 + state["x"] % 2):
        await wait([{"role": "user", "content": f"{state['x']} {n}"}])


def inputs(count):
    return [{"x": n} for n in range(count)]


async def test_the_events_of_ended_batches_add_up_to_the_receipt(server):
    seen = []
    async with memory(one_node(asks), bridge(server), on_event=seen.append) as runner:
        await within(runner.abatch(inputs(5), run_id="r"))
        cost = (await runner.report()).cost
    ended = [event for event in seen if isinstance(event, Settled) and event.ended]
    assert len(ended) == 2
    assert sum(event.cost.paid for event in ended) == cost.paid == billed(server)
    assert sum(event.cost.saved for event in ended) == cost.saved
    assert {event.cost.currency for event in ended} == {"USD"}


async def test_a_batch_without_a_known_price_says_so_in_its_event():
    seen = []
    own = Bridge(submit=list, poll=list, poll_interval=0.02, on_event=seen.append)
    async with memory(one_node(asks), own) as runner:
        await within(runner.abatch(inputs(1), run_id="r"))
    (event,) = [each for each in seen if isinstance(each, Settled) and each.ended]
    assert (event.cost.paid, event.cost.list_price, event.cost.saved) == (None, None, None)


@pytest.mark.parametrize("mode", ["batch", "realtime"])
async def test_on_item_is_given_what_its_thread_has_cost_if_it_asks(server, mode):
    told = {}

    def on_item(index, result, cost):
        told[index] = cost

    async with memory(one_node(asks), bridge(server, mode=mode), on_item=on_item) as runner:
        await within(runner.abatch(inputs(4), run_id="r"))
        cost, rows = (await runner.report()).cost, await runner.costs()
    assert {index: each.requests for index, each in told.items()} == {0: 1, 1: 2, 2: 1, 3: 2}
    assert sum(each.paid for each in told.values()) == cost.paid
    by_thread = {f"r:{n}": sum(row["paid"] for row in rows if row["thread"] == f"r:{n}") for n in range(4)}
    assert {f"r:{n}": each.paid for n, each in told.items()} == by_thread


async def test_what_a_thread_has_cost_is_the_same_after_a_restart(server, tmp_path):
    told = []

    def on_item(index, _, *, cost):
        told.append((index, cost.paid, cost.requests))

    for _ in range(2):
        path = tmp_path / "run.db"
        async with Runner(one_node(asks), bridge(server), path=path, progress=False, on_item=on_item) as runner:
            await within(runner.abatch(inputs(2), run_id="r"))
    assert sorted(told[:2]) == sorted(told[2:])
    assert sum(paid for _, paid, _ in told[:2]) == billed(server)


def test_a_batchers_on_item_is_given_what_its_item_has_cost(server, tmp_path):
    told = []

    def on_item(item, _, cost):
        told.append(cost)

    with ResponseCache(tmp_path / "cache.db") as cache:
        for _ in range(2):
            own = bridge(server).provider
            with Batcher(own, poll_interval=0.05, mode="batch", cache=cache, on_item=on_item) as batcher:
                batcher.map([[{"role": "user", "content": f"item {n}"}] for n in range(3)])
    assert sum(each.paid for each in told[:3]) == billed(server)
    assert [each.paid for each in told[3:]] == [0, 0, 0]
    assert [list(each.by_lane) for each in told] == [["batch"]] * 3 + [["cache_hit"]] * 3


async def test_on_item_without_a_cost_is_called_as_ever(server):
    told = []
    async with memory(one_node(asks), bridge(server), on_item=lambda *told_of: told.append(told_of)) as runner:
        await within(runner.abatch(inputs(1), run_id="r"))
    assert [(index, type(result)) for index, result in told] == [(0, dict)]
