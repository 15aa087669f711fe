"""A Runner's receipt and its budget, over HTTP against the Batch API server."""

import asyncio
from decimal import Decimal

import orjson
import pytest
from helpers import memory, one_node, within
from openai import AsyncOpenAI
from typer.testing import CliRunner

from batch_bridge import (
    Batcher,
    Bridge,
    Budget,
    BudgetExceeded,
    FlushPolicy,
    Price,
    Prices,
    ResponseCache,
    Runner,
    wait,
    wait_many,
)
from batch_bridge._cli.app import app
from batch_bridge._sqlite.erasure import erase_thread
from batch_bridge.jobs import Jobs
from batch_bridge.providers.openai import OpenAIBatch
from batch_bridge.testing import BatchServer

DIME = Prices({"gpt-4o-mini": Price(input=0, output=10_000, batch="0.5")})
"""Dollars a million tokens: a cent a token, half of it in a batch."""


@pytest.fixture(scope="module")
def server():
    with BatchServer(latency=0.01) as server:
        yield server


@pytest.fixture(autouse=True)
def fresh(server):
    server.reset_stats()


def provider(server):
    return OpenAIBatch(AsyncOpenAI(base_url=server.base_url, api_key="test"), model="gpt-4o-mini")


def bridge(server, **options):
    return Bridge(provider(server), **{"poll_interval": 0.05, "mode": "batch", **options})


def chat(text, most=20):
    return {"messages": [{"role": "user", "content": text}], "max_tokens": most}


async def asks(state):
    first = await wait(chat(f"{state['x']} first"))
    await wait(chat(f"{state['x']} {first['id']}"), label="second")
    return {"out": [state["x"]]}


def inputs(count):
    return [{"x": n} for n in range(count)]


async def test_a_receipt_is_what_the_server_has_billed(server):
    async with memory(one_node(asks), bridge(server)) as runner:
        await within(runner.abatch(inputs(3), run_id="eval"))
        cost = (await runner.report()).cost
        table = await runner.costs()
    stats = server.stats
    billed = (stats.input_tokens * Decimal("0.075") + stats.output_tokens * Decimal("0.3")) / 1_000_000
    assert (cost.requests, cost.paid, cost.list_price, cost.saved) == (6, billed, 2 * billed, billed)
    assert (cost.input_tokens, cost.output_tokens) == (stats.input_tokens, stats.output_tokens)
    assert (list(cost.by_model), list(cost.by_lane)) == (["gpt-4o-mini"], ["batch"])
    assert sum(row["paid"] for row in table) == billed
    assert [(row["run"], row["thread"], row["label"]) for row in table] == [
        ("eval", f"eval:{n}", label) for n in range(3) for label in ("node", "second")
    ]


async def test_realtime_calls_cost_the_full_price_and_save_nothing(server):
    async with memory(one_node(asks), bridge(server, mode="realtime")) as runner:
        await within(runner.abatch(inputs(2)))
        cost = (await runner.report()).cost
    assert (list(cost.by_lane), cost.requests, cost.saved) == (["realtime"], 4, 0)
    assert cost.paid == (await billed_in_realtime(cost))


async def billed_in_realtime(cost):
    return (cost.input_tokens * Decimal("0.15") + cost.output_tokens * Decimal("0.6")) / 1_000_000


async def test_cache_hits_and_deduplicated_lines_cost_nothing_and_are_saved(server, tmp_path):
    async def same(state):
        await wait(chat("the same"))

    with ResponseCache(tmp_path / "cache.db") as cache:
        for run in range(2):
            async with memory(one_node(same), bridge(server, cache=cache, dedupe=True)) as runner:
                await within(runner.abatch(inputs(3)))
                cost = (await runner.report()).cost
            lanes = {lane: (line.requests, line.paid) for lane, line in cost.by_lane.items()}
            one = server.stats.output_tokens * Decimal("0.3e-6") + server.stats.input_tokens * Decimal("0.075e-6")
            assert lanes == ({"batch": (1, one), "deduplicated": (2, 0)} if not run else {"cache_hit": (3, 0)})
            assert (cost.list_price, cost.saved) == (6 * one, 6 * one - cost.paid)
    assert server.stats.paid == 1


async def test_what_passes_the_budget_ends_its_threads_and_a_higher_one_goes_on(server, tmp_path):
    def runner(usd):
        own = bridge(server, prices=DIME)
        return Runner(one_node(asks), own, path=tmp_path / "run.db", budget=Budget(usd=usd), progress=False)

    async with runner("0.50") as first:
        results = await within(first.abatch(inputs(6), run_id="job", return_exceptions=True))
    assert server.stats.output_tokens * Decimal("0.005") <= Decimal("0.5")
    over = [each for each in results if isinstance(each, BudgetExceeded)]
    assert over
    assert over[0].what == "usd"
    assert over[0].limit == Decimal("0.5")
    assert over[0].spent + over[0].reserved + Decimal("0.1") > Decimal("0.5")
    assert "run the same command again" in str(over[0])
    paid = server.stats.paid
    async with runner("0.50") as again:  # nothing is sent that does not fit
        results = await within(again.abatch(inputs(6), run_id="job", return_exceptions=True))
    assert any(isinstance(each, BudgetExceeded) for each in results)
    assert server.stats.paid == paid
    async with runner(5) as more:
        results = await within(more.abatch(inputs(6), run_id="job"))
        cost = (await more.report()).cost
    assert [each["out"] for each in results] == [[n] for n in range(6)]
    assert (server.stats.paid, server.stats.paid_twice, server.stats.bodies_repeated) == (12, 0, 0)
    assert cost.paid == server.stats.output_tokens * Decimal("0.005")


async def test_one_thread_that_spends_too_much_lets_the_others_go_on(server):
    async def greedy(state):
        await wait_many([chat(f"{state['x']} {n}") for n in range(state["x"])])
        return {"out": [state["x"]]}

    budget = Budget(usd_per_thread="0.35")
    async with memory(one_node(greedy), bridge(server, prices=DIME), budget=budget) as runner:
        results = await within(runner.abatch([{"x": 2}, {"x": 9}, {"x": 3}], run_id="r", return_exceptions=True))
    assert [type(each) for each in results] == [dict, BudgetExceeded, dict]
    assert (results[1].what, results[1].limit) == ("usd_per_thread", Decimal("0.35"))
    assert "'r:1' (node 'node')" in str(results[1])


async def test_an_agent_that_loops_for_ever_ends_by_default_and_its_node_is_named(server):
    desk = []

    def submit(items):
        desk.append(items)
        return len(desk) - 1

    async def loops(state):
        for n in range(100_000):
            await wait_many([f"{n} {k}" for k in range(250)])

    bridge = Bridge(submit=submit, poll=lambda handle: desk[handle], poll_interval=0.01)
    async with memory(one_node(loops), bridge) as runner:
        (result,) = await within(runner.abatch([{}], run_id="r", return_exceptions=True), 60)
        assert isinstance(result, BudgetExceeded)
        assert (result.what, result.spent, result.limit) == ("requests_per_thread", 1000, 1000)
        assert "node 'node'" in str(result)
        assert sum(map(len, desk)) == 1000
        (again,) = await within(runner.abatch([{}], run_id="r", return_exceptions=True), 60)
        assert isinstance(again, BudgetExceeded)
    assert sum(map(len, desk)) == 1000


async def test_a_threads_requests_are_counted_over_restarts(server, tmp_path):
    async def three(state):
        for n in range(3):
            await wait(chat(f"{state['x']} {n}"))

    async def run(limit):
        budget = Budget(requests_per_thread=limit)
        own = bridge(server)
        async with Runner(one_node(three), own, path=tmp_path / "run.db", budget=budget, progress=False) as runner:
            return await within(runner.abatch(inputs(1), run_id="r", return_exceptions=True))

    assert (await run(2))[0].spent == 2
    assert (await run(2))[0].spent == 2
    assert not isinstance((await run(3))[0], Exception)
    assert (server.stats.paid, server.stats.bodies_repeated) == (3, 0)


async def test_a_model_without_a_price_is_not_sent_under_a_budget_and_is_unknown_on_a_receipt(server):
    async def other(state):
        return {"out": [await wait({**chat("hi"), "model": "my-own-model"})]}

    async with memory(one_node(other), bridge(server), budget=Budget(usd=5)) as runner:
        (result,) = await within(runner.abatch([{}], return_exceptions=True))
    assert (type(result), result.what, server.stats.paid) == (BudgetExceeded, "price", 0)
    assert "Prices(" in str(result)
    async with memory(one_node(other), bridge(server)) as runner:
        await within(runner.abatch([{}]))
        cost = (await runner.report()).cost
    assert (cost.paid, cost.list_price, cost.unknown, cost.known) == (None, None, 1, 0)
    assert cost.by_model["my-own-model"].output_tokens > 0


def test_a_batcher_has_a_receipt_and_a_budget(server, tmp_path):
    def batcher(usd):
        budget, policy = Budget(usd=usd), FlushPolicy(max_requests=2)
        own = Bridge(provider(server), poll_interval=0.05, prices=DIME, flush=policy, mode="batch", budget=budget)
        return Batcher(own, path=tmp_path / "b.db")

    with batcher("0.25") as batching:
        results = batching.map([chat(f"b{n}") for n in range(6)], return_exceptions=True)
        assert any(isinstance(each, BudgetExceeded) for each in results)
        cost = batching.report().cost
    assert batching.report().cost == cost
    assert cost.paid == server.stats.output_tokens * Decimal("0.005") <= Decimal("0.25")
    with batcher(9) as batching:
        batching.map([chat(f"b{n}") for n in range(6)])


def test_the_budget_of_a_bridge_counts_for_each_batcher_that_uses_it(server):
    shared = bridge(server, prices=DIME, budget=Budget(usd="0.10"), flush=FlushPolicy(max_requests=1))
    for who in ("first", "second"):
        with Batcher(shared) as batching:
            answered, refused = (batching.map([chat(who + asked)], return_exceptions=True)[0] for asked in ("1", "2"))
        assert not isinstance(answered, Exception)
        assert isinstance(refused, BudgetExceeded)


def test_jobs_have_a_receipt_and_a_budget_of_their_bridge(server, tmp_path):
    def jobs(usd):
        return Jobs(tmp_path / "jobs.db", bridge(server, prices=DIME, budget=Budget(usd=usd)), poll_interval=0.05)

    first = jobs("0.25")
    handle = first.submit([chat(f"j{n}") for n in range(12)])
    assert first.join(handle, timeout=20).ended
    results = list(first.results(handle))
    assert any(isinstance(each.error, BudgetExceeded) for each in results)
    assert first.report().cost.paid == server.stats.output_tokens * Decimal("0.005") <= Decimal("0.25")


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"budget": 5}, TypeError),
        ({"prices": 5}, TypeError),
        ({"budget": Budget(usd=5), "prices": Prices(currency="EUR")}, ValueError),
    ],
)
def test_money_that_is_none_is_refused(server, options, error):
    with pytest.raises(error):
        bridge(server, **options)


def test_a_runner_and_its_bridge_do_not_both_have_a_budget(server):
    with pytest.raises(TypeError, match="give one of them"):
        Runner(one_node(asks), bridge(server, budget=Budget(usd=5)), budget=Budget(usd=5))


def test_budgets_that_are_none_are_refused():
    for wrong in ({"usd": -1}, {"requests_per_thread": 0}, {"output_tokens": 1.5}):
        with pytest.raises(ValueError, match="Budget"):
            Budget(**wrong)


async def test_two_bridges_of_a_runner_share_one_budget(server):
    async def both(state):
        await asyncio.gather(wait(chat("a"), batcher="a"), wait(chat("b"), batcher="b"))

    bridges = [bridge(server, name=name, prices=DIME) for name in "ab"]
    async with memory(one_node(both), *bridges, budget=Budget(usd="0.12")) as runner:
        (result,) = await within(runner.abatch([{}], return_exceptions=True))
    assert isinstance(result, BudgetExceeded)
    assert server.stats.paid == 1


async def test_a_batcher_quotes_without_sending_anything(server):
    with Batcher(provider(server), max_batch_size=4, mode="batch") as batcher:
        quote = batcher.quote([chat(f"item {n}") for n in range(10)])
        assert (quote.requests.value, quote.batches, quote.waves.value) == (10, 3, 1)
        assert (quote.output_tokens.low, quote.output_tokens.high) == (0, 200)
        assert quote.usd.high == quote.usd_realtime.high / 2 > quote.usd.low > 0
        assert (quote.counted, quote.assumed) == ("bytes", "answers as long as their requests allow")
        assert batcher.quote([chat("a")], output_tokens=3).output_tokens.value == 3
        assert "4,096 tokens where 1 requests do not say" in str(batcher.quote([[{"role": "user", "content": "a"}]]))
        assert batcher.quote([{"model": "nobody", "messages": []}]).usd is None
    assert (server.stats.requests, server.stats.batches, server.stats.realtime) == (0, 0, 0)
    with Batcher(submit_func=list, poll_func=list) as own, pytest.raises(TypeError, match="cannot be quoted"):
        own.quote(["x"])


async def test_a_runners_quote_is_its_sample_extrapolated_and_the_sample_is_kept(server, tmp_path):
    async def long(state):
        first = await wait(chat("word " * (1 + state["x"] * 7 % 90)))
        await wait(chat(f"{state['x']} {first['id']}"))
        return {"out": [state["x"]]}

    own = bridge(server)
    async with Runner(one_node(long), own, path=tmp_path / "run.db", progress=False) as runner:
        quote = await within(runner.quote(inputs(80), sample=10, run_id="eval"))
        assert (server.stats.paid, quote.sample) == (20, 10)
        results = await within(runner.abatch(inputs(80), run_id="eval"))
        cost = (await runner.report()).cost
    assert len(results) == 80
    assert (server.stats.paid, server.stats.bodies_repeated) == (160, 0)
    assert (quote.requests.value, quote.waves.value) == (160, 2)
    assert quote.usd.low <= cost.paid <= quote.usd.high
    assert abs(quote.usd.value - cost.paid) <= cost.paid / 10
    assert abs(quote.usd_realtime.value - cost.list_price) <= cost.list_price / 10
    assert quote.seconds.low <= quote.seconds.value <= quote.seconds.high


async def test_the_command_prints_the_receipt_of_a_file_that_is_open(server, tmp_path):
    path = tmp_path / "run.db"
    async with Runner(one_node(asks), bridge(server), path=path, progress=False) as runner:
        await within(runner.abatch(inputs(2), run_id="eval"))
        printed = await asyncio.to_thread(CliRunner().invoke, app, ["cost", str(path), "--json"])
        cost = (await runner.report()).cost
    assert printed.exit_code == 0, printed.output
    told = orjson.loads(printed.stdout)
    assert (Decimal(told["paid"]), told["requests"], told["currency"]) == (cost.paid, 4, "USD")
    assert Decimal(told["by_lane"]["batch"]["saved"]) == cost.saved
    assert "gpt-4o-mini" in CliRunner().invoke(app, ["cost", str(path)]).stdout
    assert CliRunner().invoke(app, ["cost", str(tmp_path / "none.db")]).exit_code == 2
    erase_thread(path, "eval:0")
    async with Runner(one_node(asks), bridge(server), path=path, progress=False) as runner:
        threads = [row["thread"] for row in await runner.costs()]
        assert (await runner.report()).cost.paid == cost.paid
    assert threads == ["", "eval:1", "eval:1"]


def test_the_command_quotes_a_ready_file(tmp_path):
    lines = [
        {"custom_id": str(n), "url": "/v1/chat/completions", "body": {**chat("hi"), "model": "gpt-4o-mini"}}
        for n in "ab"
    ]
    path = tmp_path / "in.jsonl"
    path.write_bytes(b"\n".join(map(orjson.dumps, lines)))
    printed = CliRunner().invoke(app, ["quote", str(path)])
    assert printed.exit_code == 0, printed.output
    assert printed.stdout.startswith("2 requests, ")
    assert CliRunner().invoke(app, ["quote", str(tmp_path / "none.jsonl")]).exit_code == 2
