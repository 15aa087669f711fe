"""A quote by a sample of twenty is within a tenth of what the demo's records then cost."""

import itertools
from decimal import Decimal

import demo
import sampling
from langgraph.graph import END, START, StateGraph
from openai import AsyncOpenAI

from batch_bridge import Bridge, Runner
from batch_bridge.providers.openai import OpenAIBatch
from batch_bridge.testing import BatchServer

RECORDS = sampling.many(2000, 200)
SAMPLE = 20


async def test_a_quote_of_the_demo_is_within_a_tenth_of_its_receipt(tmp_path):
    records = list(itertools.islice(demo.docstrings(), RECORDS))
    graph = StateGraph(demo.State).add_node("describe", demo.describe)
    graph.add_edge(START, "describe").add_edge("describe", END)
    with BatchServer(latency=0.1) as server:
        openai = OpenAIBatch(AsyncOpenAI(base_url=server.base_url, api_key="demo"), model=demo.MODEL)
        bridge = Bridge(openai, name="bridge", poll_interval=1, mode="batch")
        async with Runner(graph, bridge, path=tmp_path / "run.db", progress=False) as runner:
            quote = await runner.quote(records, sample=SAMPLE, run_id="demo")
            assert server.stats.paid == 4 * SAMPLE
            await runner.abatch(records, run_id="demo")
            cost = (await runner.report()).cost
        assert server.stats.paid == quote.requests.value == 4 * RECORDS
        assert server.stats.paid_twice == 0
    assert abs(quote.usd.value - cost.paid) <= cost.paid / 10
    assert abs(quote.usd_realtime.value - cost.list_price) <= cost.list_price / 10
    assert quote.waves.value == Decimal(2)
    print(f"quoted {quote.usd}, paid {cost.paid}")
