"""Jobs under a budget: the same job, submitted again with a higher one, sends what was not sent, and nothing twice."""

from decimal import Decimal

from openai import AsyncOpenAI

from batch_bridge import Bridge, Budget, BudgetExceeded, Price, Prices
from batch_bridge.jobs import Jobs
from batch_bridge.providers.openai import OpenAIBatch
from batch_bridge.testing import BatchServer

DIME = Prices({"gpt-4o-mini": Price(input=0, output=10_000, batch="0.5")})


def items(count):
    return [{"messages": [{"role": "user", "content": f"j{n}"}], "max_tokens": 20} for n in range(count)]


def test_a_job_goes_on_where_its_budget_has_stopped_it(tmp_path):
    with BatchServer(latency=0.01) as server:

        def jobs(usd):
            provider = OpenAIBatch(AsyncOpenAI(base_url=server.base_url, api_key="test"), model="gpt-4o-mini")
            bridge = Bridge(provider, poll_interval=0.05, mode="batch", prices=DIME, budget=Budget(usd=usd))
            return Jobs(tmp_path / "jobs.db", bridge)

        first = jobs("0.25")
        handle = first.submit(items(12), key="job")
        assert first.join(handle, timeout=20).ended
        refused = [each for each in first.results(handle) if isinstance(each.error, BudgetExceeded)]
        assert refused
        assert first.submit(items(12), key="job") == handle, "with the same budget nothing changes"
        assert first.join(handle, timeout=20).ended
        paid = server.stats.paid
        assert paid == 12 - len(refused)
        higher = jobs(50)
        assert not higher.status(handle).outcomes.get("expired")
        assert higher.submit(items(12), key="job") == handle
        assert not higher.status(handle).ended or server.stats.paid == 12
        assert higher.join(handle, timeout=20).outcomes == {"succeeded": 12}
        assert all(each.ok for each in higher.results(handle))
        assert (server.stats.paid, server.stats.paid_twice, server.stats.bodies_repeated) == (12, 0, 0)
        assert higher.report().cost.paid == server.stats.output_tokens * Decimal("0.005")
