"""Each result of a job tells what was paid for it, and together they are the receipt."""

import json
from decimal import Decimal

from langchain_core.messages import HumanMessage
from openai import AsyncOpenAI

from batch_bridge import Bridge, Price, Prices
from batch_bridge._core import outcomes as _outcome
from batch_bridge.jobs import Jobs
from batch_bridge.providers.openai import OpenAIBatch
from batch_bridge.testing import BatchServer

CENT = Prices({"gpt-4o-mini": Price(input=0, output=10_000, batch="0.5")})


def test_the_results_of_a_job_tell_what_each_has_cost(tmp_path):
    items = [[HumanMessage("hello")], *([{"role": "user", "content": text}] for text in ("hi", "hi"))]
    with BatchServer(latency=0.01) as server:

        def jobs(prices=CENT):
            provider = OpenAIBatch(AsyncOpenAI(base_url=server.base_url, api_key="test"), model="gpt-4o-mini")
            return Jobs(tmp_path / "jobs.db", Bridge(provider, poll_interval=0.05, mode="batch", prices=prices))

        handle = jobs().submit(items)
        assert jobs().join(handle, timeout=20).ended
        results = list(jobs().results(handle))  # in another process, as it were
        paid = jobs().report().cost.paid
        assert sum(each.cost for each in results) == paid == server.stats.output_tokens * Decimal("0.005")
        assert results[0].answer.response_metadata["batch_bridge"]["paid"] == f"{results[0].cost:f}"
        shown = json.loads(json.dumps(_outcome.shown(results[1].outcome)))  # as `batch-bridge jobs results` prints it
        assert Decimal(shown["cost"]) == results[1].cost
        dearer = Prices({"gpt-4o-mini": Price(input=0, output=70_000, batch="0.5")})
        assert [each.cost for each in jobs(dearer).results(handle)] == [each.cost for each in results], "priced once"
