"""A prompt cache primed, by Anthropic's own client over HTTP: one request of each prefix goes before the others."""

import uuid
from collections import Counter
from decimal import Decimal

import pytest
from anthropic import AsyncAnthropic
from helpers import memory, one_node, within
from openai import AsyncOpenAI

from batch_bridge import Batcher, Bridge, FlushPolicy, RequestFailed, wait
from batch_bridge.events import Submitted
from batch_bridge.providers.anthropic import AnthropicBatch
from batch_bridge.providers.openai import OpenAIBatch
from batch_bridge.testing import BatchServer

MODEL = "claude-haiku-4-5"
BOOKS = [f"Book {number}. " + "All happy families are alike. " * 100 for number in range(2)]


@pytest.fixture(scope="module")
def shared():
    with BatchServer() as running:
        yield running


@pytest.fixture
def server(shared):
    shared.configure(latency=0, line_failure=0)
    shared.reset_stats()
    return shared


def provider(server, account, **options):
    client = AsyncAnthropic(base_url=server.root_url, api_key=account)
    return AnthropicBatch(client, model=MODEL, max_tokens=50, **{"prime": True, **options})


@pytest.fixture
def account():
    return uuid.uuid4().hex


def ask(number, book, ttl="1h"):
    mark = {"type": "ephemeral", "ttl": ttl}
    return {
        "system": [{"type": "text", "text": book, "cache_control": mark}],
        "messages": [{"role": "user", "content": f"Question {number}?"}],
    }


def asks():
    return [ask(number, BOOKS[number % 2]) for number in range(50)]


def sizes(seen):
    return [len(each.requests) for each in seen if isinstance(each, Submitted)]


def used(answers):
    """How many answers have written the cache, and how many have read it."""
    counts = Counter()
    for answer in answers:
        usage = answer["usage"]
        counts["written"] += bool(usage["cache_creation_input_tokens"])
        counts["read"] += bool(usage["cache_read_input_tokens"])
    return counts


def batcher_of(made, seen, **options):
    return Batcher(made, poll_interval=0.1, on_event=seen.append, **options)


async def test_one_of_each_prefix_writes_the_cache_and_all_others_read_it(server, account):
    seen = []
    async with batcher_of(provider(server, account), seen, max_batch_size=50) as batcher:
        answers = await within(batcher.amap(asks()))
        primed = batcher.report().cost
    assert sizes(seen) == [2, 48]
    assert used(answers) == Counter(written=2, read=48)

    async with batcher_of(provider(server, uuid.uuid4().hex, prime=False), seen, max_batch_size=50) as batcher:
        answers = await within(batcher.amap(asks()))
        plain = batcher.report().cost
    assert sizes(seen) == [2, 48, 50]
    assert used(answers) == Counter(written=50, read=0)
    assert (primed.requests, primed.input_tokens) == (plain.requests, plain.input_tokens)
    assert primed.paid < plain.paid / 3
    assert plain.cache_saved == 0
    assert 0 < primed.cache_saved < plain.paid - primed.paid, "an hour's entry costs more than one of five minutes"
    assert "reading the provider's cache" in str(primed)
    assert server.stats.paid_twice == 0


async def test_the_receipt_tells_the_saving_to_the_cent(server, account):
    async with batcher_of(provider(server, account), [], max_batch_size=50) as batcher:
        await within(batcher.amap([ask(number, BOOKS[0], "5m") for number in range(50)]))
        primed = batcher.report().cost
    async with batcher_of(provider(server, uuid.uuid4().hex, prime=False), [], max_batch_size=50) as batcher:
        await within(batcher.amap([ask(number, BOOKS[0], "5m") for number in range(50)]))
        plain = batcher.report().cost
    assert primed.cache_saved == plain.paid - primed.paid > Decimal(0)


async def test_the_agents_of_a_runner_wait_for_the_first_of_them(server, account):
    seen = []

    async def node(state):
        answer = await wait(ask(state["x"], BOOKS[state["x"] % 2]))
        return {"out": [answer]}

    bridge = Bridge(provider(server, account), mode="batch", poll_interval=0.1, on_event=seen.append)
    async with memory(one_node(node), bridge) as runner:
        results = await within(runner.abatch([{"x": number} for number in range(50)]))
    assert sizes(seen) == [2, 48]
    assert used([result["out"][0] for result in results]) == Counter(written=2, read=48)


async def test_the_first_fails_and_the_rest_is_sent(server, account):
    server.configure(line_failure=1, line_failure_status=[400])
    seen = []

    def heal(event):
        seen.append(event)
        if len(sizes(seen)) == 2:
            server.configure(line_failure=0)

    async with Batcher(provider(server, account), max_batch_size=10, poll_interval=0.1, on_event=heal) as batcher:
        waits = [batcher.asubmit(ask(number, BOOKS[0])) for number in range(10)]
        answers = await within(gathered(waits))
    assert sizes(seen) == [1, 9]
    assert sum(isinstance(each, RequestFailed) for each in answers) >= 1
    assert len(answers) == 10


async def gathered(waits):
    import asyncio

    return await asyncio.gather(*waits, return_exceptions=True)


async def test_who_says_no_prefix_waits_for_nobody(server, account):
    seen = []
    plain = [{"messages": [{"role": "user", "content": f"Question {number}?"}]} for number in range(10)]
    async with batcher_of(provider(server, account), seen, max_batch_size=10) as batcher:
        await within(batcher.amap(plain))
    assert sizes(seen) == [10]


async def test_a_cache_key_of_openai_passes_through(server):
    client = AsyncOpenAI(base_url=server.base_url, api_key=uuid.uuid4().hex)
    made = OpenAIBatch(client, model="gpt-5-mini", defaults={"prompt_cache_key": "book-1"})
    async with Batcher(made, flush=FlushPolicy(max_requests=2), poll_interval=0.1) as batcher:
        item = {"messages": [{"role": "user", "content": "a"}], "prompt_cache_key": "book-2"}
        await within(batcher.amap([[{"role": "user", "content": "b"}], item]))
    (listed,) = (await client.batches.list()).data
    lines = (await client.files.content(listed.input_file_id)).text.splitlines()
    assert sorted(line.split('"prompt_cache_key":"')[1].partition('"')[0] for line in lines) == ["book-1", "book-2"]
