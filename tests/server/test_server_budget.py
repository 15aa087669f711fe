"""A bridge's budget on a LangGraph server: what would pass it is not sent, and a higher one goes on. And its notices."""

import asyncio
import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any, Self

import pytest
from deployed import Deployed
from inbox import Inbox

from batch_bridge.testing import BatchServer

THREADS = 8
TOKEN = Decimal("0.005")


class Budgeted(Deployed):
    """The deployment, the Batch API server that it asks, and the file that says its budget."""

    def __init__(self, folder: Path, batches: BatchServer, notify: str) -> None:
        self._budget, self._batches = folder / "budget.json", batches
        env = {"OPENAI_BASE_URL": batches.base_url, "OPENAI_API_KEY": "test", "BUDGET": str(self._budget)}
        env["NOTIFY"] = notify
        super().__init__("budget", folder, env=env)

    def given(self, **budget: Any) -> Self:
        """Say what the budget is, from the next start on."""
        self._budget.write_text(json.dumps(budget))
        return self

    @property
    def billed(self) -> Decimal:
        return self._batches.stats.output_tokens * TOKEN


@pytest.fixture
def batches() -> Iterator[BatchServer]:
    with BatchServer(latency=0.05) as batches:
        yield batches


async def test_a_budget_holds_on_a_server_and_a_higher_one_goes_on(tmp_path: Path, batches: BatchServer) -> None:
    with Inbox() as inbox, Budgeted(tmp_path, batches, inbox.url).given(usd="0.60") as deployed:
        async with deployed.client() as client:
            threads = await asyncio.gather(*(client.start("ask", f"question {n}") for n in range(THREADS)))
            failed, ended = await client.rest(*threads)
            assert failed
            assert "BudgetExceeded" in await client.error(failed[0])
            shown = await client.shows(in_flight=0, waiting=0, undelivered=0)
            assert Decimal(shown["cost"]["paid"]) == deployed.billed <= Decimal("0.60")
            assert shown["cost"]["by_model"]["gpt-4o-mini"]["requests"] == batches.stats.paid
        paid = batches.stats.paid
        deployed.given(usd=50, requests_per_thread=5)
        deployed.restart()
        async with deployed.client() as client:
            await asyncio.gather(*(client.runs.wait(thread, "ask") for thread in failed))
            await client.ended(*failed)
            shown = await client.shows(in_flight=0, waiting=0, undelivered=0)
            assert Decimal(shown["cost"]["paid"]) == deployed.billed
            assert batches.stats.paid == 2 * THREADS
            looping = await client.start("loop", "for ever")
            assert "BudgetExceeded" in await client.error(looping)
        assert batches.stats.paid == 2 * THREADS + 5
        assert inbox.titles == ["BatchBridge: a batch of 'bridge' has ended"] * batches.stats.batches
        assert batches.stats.paid > paid
        assert (batches.stats.paid_twice, batches.stats.bodies_repeated) == (0, 0)
        assert len(ended) + len(failed) == THREADS
