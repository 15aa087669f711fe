"""Whatever happens to requests, their money adds up: threads, batches and the report come to what was billed."""

import asyncio
from collections import Counter
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

from fakes import Crash, FakeProvider, FakeStore, at, ended, request
from hypothesis import example, given, settings
from hypothesis import strategies as st

from batch_bridge import Price, Prices
from batch_bridge._core.models import Ended, Errored, Expired, Succeeded
from batch_bridge._core.policy.flush_policy import FlushPolicy
from batch_bridge._engine import Engine, EngineSettings
from batch_bridge._engine.deduplication import Deduplication
from batch_bridge._ledger.ledger import Ledger
from batch_bridge._money import Cost, add_up, receipt
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

    async def poll(self, handle, requests):
        reply = await super().poll(handle, requests)
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


class Known:
    """A cache that outlives every process."""

    def __init__(self):
        self.answers = {}

    async def recall(self, keys, now, *, again=False):
        return {key: self.answers[key] for key in keys if key in self.answers}

    async def remember(self, answers, now):
        self.answers.update(answers)


FATES = st.lists(st.sampled_from(["answer", "answer", "expire", "busy"]), min_size=1, max_size=6)


@settings(max_examples=40, deadline=None)
@given(
    FATES,
    st.integers(0, 80),
    st.sampled_from(["before", "middle", "after"]),
    st.sets(st.integers(0, REQUESTS - 1)),
    st.sampled_from([None, 1, 3, REQUESTS]),
)
@example(["answer"], 40, "middle", {0, 3}, None)  # the summary of a batch is written, and its account is not
def test_threads_batches_and_the_report_come_to_what_was_billed(fates, die_at, moment, given_up, kinds):
    """`kinds` items differ, where a cache and deduplication share answers; without them all do."""
    asyncio.run(live(fates, die_at, moment, given_up, kinds))


async def live(fates, die_at, moment, given_up, kinds):
    store, provider, cache = FakeStore(), Billing(fates), Known()
    shared = None if kinds is None else Deduplication("bridge", provider, cache, dedupe=True)
    requests = [replace(request(n), item={"n": n % (kinds or REQUESTS)}) for n in range(2 * REQUESTS)]
    dropped = [each.id for n, each in enumerate(requests) if n in given_up]

    def start():
        policy = FlushPolicy(max_requests=3, max_age=timedelta(0))
        ledger = Ledger(store, "bridge")
        options = {"poll_interval": timedelta(seconds=1), "deduplication": shared, "attempts": 3, "prices": PRICES}
        return Engine("bridge", provider, policy, ledger, EngineSettings(**options))

    async def run(engine, begin):
        await engine.open(at(begin))
        await engine.collect(requests[:REQUESTS], at(begin))
        await engine.tick(at(begin), drain=True)
        await engine.cancel(dropped, at(begin))
        for second in range(begin + 1, begin + 40):
            await engine.tick(at(second), drain=True)
            if second == begin + 10:
                await engine.collect(requests[REQUESTS:], at(second))

    if die_at:
        store.fuse.arm(die_at, moment)
    try:
        engine = start()
        await run(engine, 0)
    except Crash:
        store.fuse.revive()
        engine = start()
        await run(engine, 100)
    store.fuse.revive()
    assert not engine.batches
    accounts = await engine.accounts()
    report = receipt([(PRICES, [line for each in accounts for line in each.each()])])
    by_batch = sum((receipt([(PRICES, each.each())]).paid for each in accounts), Decimal(0))
    table = rows([("bridge", PRICES, [line for each in accounts for line in each.each()])])
    by_thread = sum((row["paid"] for row in table), Decimal(0))
    assert report.paid == by_batch == by_thread == provider.total()
    assert add_up([receipt([(PRICES, each.each())]) for each in accounts]) == report
    assert sum((row["list_price"] for row in table), Decimal(0)) == report.list_price
    assert report.saved == report.list_price - report.paid >= report.paid
    billed = sum(line.requests for lane, line in report.by_lane.items() if lane in ("batch", "realtime"))
    assert billed == sum(fate == "answer" for fate in provider.billed.values())
    if kinds == 1 and not die_at and not given_up and fates == ["answer"]:
        assert report.by_lane["deduplicated"].requests + report.by_lane["cache_hit"].requests > REQUESTS


def test_receipts_of_two_currencies_have_no_sum():
    costs = [
        Cost(paid=Decimal(1), list_price=Decimal(2), requests=3, known=Decimal(1), currency=each)
        for each in ("USD", "EUR")
    ]
    both = add_up(costs)
    assert (both.paid, both.list_price, both.currency, both.unknown) == (None, None, "", 6)
    assert add_up([costs[0], costs[0]]).paid == 2
    assert add_up([costs[0], replace(costs[0], paid=None, unknown=1)]).paid is None
