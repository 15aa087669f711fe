"""Whatever happens to requests, their money adds up: threads, batches and the report come to what was billed."""

import asyncio
from collections import Counter
from datetime import timedelta
from decimal import Decimal

from fakes import T0, Crash, FakeProvider, FakeStore, at, ended, request
from hypothesis import given, settings
from hypothesis import strategies as st

from batch_bridge import Price, Prices
from batch_bridge._core.flush_policy import FlushPolicy
from batch_bridge._core.models import Ended, Errored, Expired, Succeeded
from batch_bridge._engine import Engine
from batch_bridge._ledger.ledger import Ledger
from batch_bridge._money import receipt
from batch_bridge._money.receipt import rows

PRICES = Prices({"m": Price(input=1, output=3, batch="0.5")}, vendor="test")
REQUESTS = 7


class Billing(FakeProvider):
    """Bills each line that it answers, and fails others as it is told."""

    def __init__(self, fates):
        super().__init__()
        self.fates = Counter()
        self.plan = fates
        self.billed = {}

    async def poll(self, handle, members):
        reply = await super().poll(handle, members)
        if not isinstance(reply, Ended):
            return reply
        batch = self.batches[str(handle)]
        return ended({each.id: self.fate(batch, each) for each in batch.requests})

    def fate(self, batch, each):
        key = (batch.handle, each.id)
        if key not in self.billed:
            number = self.fates[each.id]
            self.fates[each.id] += 1
            self.billed[key] = self.plan[(int(each.id[:8], 16) + number) % len(self.plan)]
        match self.billed[key]:
            case "answer":
                usage = {"prompt_tokens": 100 + each.item["n"], "completion_tokens": 10}
                return Succeeded({"model": "m", "usage": usage})
            case "expire":
                return Expired("late")
            case _:
                return Errored("busy", code="busy", status_code=429, retryable=True)

    def total(self):
        by_id = {each.id: each for batch in self.batches.values() for each in batch.requests}
        answered = [by_id[request_id] for (_, request_id), fate in self.billed.items() if fate == "answer"]
        return sum((Decimal(100 + each.item["n"] + 30) / 2_000_000 for each in answered), Decimal(0))


FATES = st.lists(st.sampled_from(["answer", "answer", "expire", "busy"]), min_size=1, max_size=6)


@settings(max_examples=40, deadline=None)
@given(FATES, st.integers(0, 60), st.sampled_from(["before", "middle", "after"]), st.sets(st.integers(0, REQUESTS - 1)))
def test_threads_batches_and_the_report_come_to_what_was_billed(fates, die_at, moment, given_up):
    asyncio.run(live(fates, die_at, moment, given_up))


async def live(fates, die_at, moment, given_up):
    store, provider = FakeStore(), Billing(fates)
    requests = [request(n) for n in range(REQUESTS)]
    dropped = [each.id for n, each in enumerate(requests) if n in given_up]

    def start():
        policy = FlushPolicy(max_requests=3, max_age=timedelta(0))
        ledger = Ledger(store, "bridge")
        return Engine("bridge", provider, policy, ledger, poll_interval=timedelta(seconds=1), attempts=3, prices=PRICES)

    async def run(engine, begin):
        await engine.open(at(begin))
        await engine.collect(requests, at(begin))
        await engine.tick(at(begin), drain=True)
        await engine.cancel(dropped, at(begin))
        for second in range(begin + 1, begin + 20):
            await engine.tick(at(second), drain=True)

    if die_at:
        store.fuse.arm(die_at, moment)
    try:
        engine = start()
        await run(engine, 0)
    except Crash:
        store.fuse.revive()
        engine = start()
        await run(engine, 100)
    assert not engine.batches
    accounts = await engine.accounts()
    report = receipt([(PRICES, [line for each in accounts for line in each.each()])])
    by_batch = sum((receipt([(PRICES, each.each())]).paid for each in accounts), Decimal(0))
    table = rows([("bridge", PRICES, [line for each in accounts for line in each.each()])])
    by_thread = sum((row["paid"] for row in table), Decimal(0))
    assert report.paid == by_batch == by_thread == provider.total()
    assert T0
