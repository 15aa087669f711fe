"""The response cache and `dedupe` through real graphs, the real client and the Batch API server: what is paid."""

import asyncio
import itertools
import logging

import pytest
from helpers import Desk, State, memory, one_node, within
from langchain_core.messages import AIMessage, HumanMessage
from langchain_parts import plain
from langgraph.store.memory import InMemoryStore
from test_openai_kit import client_of

from batch_bridge import Batcher, Bridge, RequestFailed, ResponseCache, wait
from batch_bridge.providers.openai import OpenAIBatch
from batch_bridge.testing import BatchServer

_count = itertools.count()


def answer(url, body):
    """Answer otherwise each time, as a model does; this runs in the server's process."""
    return f"{body['messages'][-1]['content']} [{next(_count)}]"


@pytest.fixture(scope="module")
def shared():
    with BatchServer(latency=0, answerer="test_cache_runs:answer") as running:
        yield running


@pytest.fixture
def server(shared):
    shared.reset_stats()
    yield shared
    shared.configure(line_failure=0.0, doubled_line=0.0, drop_create_response=0.0, expiry=0.0)


@pytest.fixture
async def client(server):
    async with client_of(server.base_url) as made:
        yield made


@pytest.fixture
def cache(tmp_path):
    with ResponseCache(tmp_path / "cache.db") as made:
        yield made


def question(text):
    return [{"role": "user", "content": str(text)}]


def text_of(answer):
    return answer["choices"][0]["message"]["content"]


def bridge(client, **options):
    return Bridge(OpenAIBatch(client, model="gpt-4o-mini"), poll_interval=0.05, **options)


async def ask(state: State):
    return {"out": [text_of(await wait(question(state["x"])))]}


async def sample_twice(state: State):
    answers = await asyncio.gather(*(wait(question(state["x"])) for _ in range(2)))
    return {"out": [text_of(each) for each in answers]}


async def sample_by_name(state: State):
    answers = await asyncio.gather(*(wait(question(state["x"]), key=name) for name in ("draft", "rewrite")))
    return {"out": [text_of(each) for each in answers]}


async def run(node, inputs, *bridges):
    async with memory(one_node(node), *bridges) as runner:
        results = await within(runner.abatch([{"x": each} for each in inputs]))
        return [result["out"] for result in results], await runner.report()


async def test_a_second_run_costs_nothing(server, client, cache):
    inputs = [f"question {i}" for i in range(30)]
    first, report = await run(ask, inputs, bridge(client, cache=cache))
    assert (server.stats.paid, cache.stats.stored, cache.stats.hits) == (30, 30, 0)
    assert sum(each.output_tokens for each in report.usage) > 0
    second, report = await run(ask, inputs, bridge(client, cache=cache))
    assert second == first
    assert (server.stats.paid, server.stats.batches, cache.stats.hits) == (30, 1, 30)
    assert report.usage == (), "a cached answer is not billed"
    assert report.requests == 0
    third, _ = await run(ask, [*inputs[:10], "new"], bridge(client, cache=cache))
    assert third[:10] == first[:10]
    assert server.stats.paid == 31


async def test_equal_requests_of_many_threads_are_one_line_each(server, client):
    inputs = [f"question {i % 7}" for i in range(100)]
    results, report = await run(ask, inputs, bridge(client, dedupe=True))
    assert (server.stats.requests, server.stats.paid, server.stats.bodies_repeated) == (7, 7, 0)
    assert len({(x, out[0]) for x, out in zip(inputs, results, strict=True)}) == 7
    assert report.requests == 100
    total = sum(each.input_tokens + each.output_tokens for each in report.usage)
    assert total == server.stats.input_tokens + server.stats.output_tokens


async def test_off_by_default(server, client):
    await run(ask, ["same"] * 5, bridge(client))
    assert server.stats.paid == 5


@pytest.mark.parametrize("node", [sample_twice, sample_by_name])
async def test_who_asks_twice_gets_two_answers_and_shares_them_with_other_threads(server, client, cache, node):
    results, _ = await run(node, ["same"] * 20, bridge(client, dedupe=True, cache=cache))
    assert server.stats.paid == 2
    assert len(set(map(tuple, results))) == 1
    assert len(set(results[0])) == 2, "siblings share no answer"
    again, _ = await run(node, ["same"], bridge(client, cache=cache))
    assert again[0] == results[0]
    assert server.stats.paid == 2


async def test_faults_change_nothing_about_what_is_paid(server, client, cache):
    server.configure(doubled_line=0.3, drop_create_response=1.0)
    inputs = [f"question {i % 9}" for i in range(90)]
    results, _ = await run(ask, inputs, bridge(client, dedupe=True, cache=cache))
    assert len({(x, out[0]) for x, out in zip(inputs, results, strict=True)}) == 9
    assert (server.stats.paid, server.stats.paid_twice, server.stats.bodies_repeated) == (9, 0, 0)
    assert cache.stats.stored == 9


async def test_failures_are_told_to_all_and_kept_for_nobody(server, client, cache):
    server.configure(line_failure=1.0)
    options = {"cache": cache, "dedupe": True, "poll_interval": 0.05}
    async with Batcher(Bridge(OpenAIBatch(client, model="m"), attempts=1, **options)) as batcher:
        failed = await batcher.amap([question("a")] * 3, return_exceptions=True)
    assert all(isinstance(each, RequestFailed) for each in failed)
    assert len({each.request_id for each in failed}) == 3
    assert (server.stats.executed, cache.stats.stored) == (1, 0)
    server.configure(line_failure=0.0)
    async with Batcher(OpenAIBatch(client, model="m"), **options) as batcher:
        await batcher.amap([question("a")])
    assert (server.stats.paid, cache.stats.stored) == (1, 1)


async def test_a_batcher_shares_unless_samples_are_wanted(server, client):
    async with Batcher(OpenAIBatch(client, model="m"), dedupe=True, poll_interval=0.05) as batcher:
        one, other = await batcher.amap([question("a")] * 2)
        assert one == other
        assert server.stats.paid == 1
        samples = await batcher.amap([question("b")] * 3, samples=True)
        assert len(set(map(text_of, samples))) == 3
        assert server.stats.paid == 4


async def test_a_batcher_in_another_process_finds_the_answers_in_any_store(server, client):
    store = InMemoryStore()
    for _ in range(2):
        cache = ResponseCache(store, tenant="team-a")
        with Batcher(OpenAIBatch(client, model="m"), cache=cache, poll_interval=0.05) as batcher:
            answers = await asyncio.to_thread(batcher.map, [question(i) for i in range(5)])
            assert len(answers) == 5
    assert server.stats.paid == 5
    assert cache.stats.hits == 5
    other = ResponseCache(store, tenant="team-b")
    async with Batcher(OpenAIBatch(client, model="m"), cache=other, poll_interval=0.05) as batcher:
        await batcher.amap([question(0)])
    assert server.stats.paid == 6


async def test_messages_come_back_as_messages(server, client, cache):
    answers = []
    for _ in range(2):
        async with Batcher(OpenAIBatch(client, model="m"), cache=cache, poll_interval=0.05) as batcher:
            answers += await batcher.amap([[HumanMessage("hello")]])
    assert isinstance(answers[0], AIMessage)
    assert plain(answers[0]) == plain(answers[1])
    assert server.stats.paid == 1


async def test_answers_of_batches_and_of_realtime_calls_are_the_same(server, client, cache):
    answers = []
    for mode in ("batch", "realtime"):
        provider = OpenAIBatch(client, model="m")
        async with Batcher(provider, mode=mode, cache=cache, poll_interval=0.05) as batcher:
            answers += await batcher.amap([question("a")])
    assert answers[0] == answers[1]
    assert (server.stats.paid, server.stats.realtime) == (1, 0)


async def test_a_cache_that_fails_fails_nothing(server, client, cache, caplog):
    cache.close()
    with caplog.at_level(logging.WARNING, logger="batch_bridge"):
        results, _ = await run(ask, ["a", "b"], bridge(client, cache=cache))
    assert len(results) == 2
    assert server.stats.paid == 2
    assert sum("response cache" in record.message for record in caplog.records) == 2


async def test_a_durable_batcher_that_dies_shares_after_it_too(server, client, cache, tmp_path):
    """Closed without waiting, while its batch is in flight: the next one adopts the batch, and fans it out."""
    server.configure(latency=0.5)
    options = {"path": tmp_path / "b.db", "poll_interval": 0.05, "cache": cache}
    first = Batcher(OpenAIBatch(client, model="m"), dedupe=True, **options)
    asking = asyncio.create_task(first.amap([question("a"), question("a"), question("b")]))
    while not server.stats.batches:
        await asyncio.sleep(0.01)
    await first.aclose(wait=False)
    with pytest.raises(Exception, match="closed"):
        await asking
    async with Batcher(OpenAIBatch(client, model="m"), **options) as batcher:  # without dedupe
        answers = await within(batcher.amap([question("a"), question("a"), question("b")]))
    server.configure(latency=0.0)
    assert answers[0] == answers[1] != answers[2]
    assert (server.stats.paid, server.stats.batches, cache.stats.stored) == (2, 1, 2)


def test_a_provider_that_cannot_say_what_decides_its_answers_gets_no_cache(cache):
    class Mine(OpenAIBatch):
        identity = None

    with pytest.raises(TypeError, match="identity"):
        Bridge(Mine(model="m"), cache=cache)
    assert Bridge(Mine(model="m"), dedupe=True)
    assert Bridge(submit=lambda items: 0, poll=lambda handle: None, cache=cache)


async def test_a_pair_of_functions_is_known_by_the_name_of_its_bridge(cache):
    desks = [Desk(lambda item, name=name: f"{item} by {name}") for name in ("one", "two")]
    for _ in range(2):
        for desk, name in zip(desks, ("one", "two"), strict=True):
            options = {"submit_func": desk.submit, "poll_func": desk.poll, "poll_interval": 0.02}
            async with Batcher(**options, name=name, cache=cache, dedupe=True) as batcher:
                assert await batcher.amap(["a", "b", "a"]) == [f"{item} by {name}" for item in "aba"]
    assert [desk.batches for desk in desks] == [[["a", "b"]], [["a", "b"]]]


@pytest.mark.parametrize("options", [{"cache": "cache.db"}, {"cache": True}, {"dedupe": 1}, {"dedupe": None}])
def test_arguments_of_the_wrong_kind(options):
    with pytest.raises(TypeError, match="Bridge"):
        Bridge(OpenAIBatch(model="m"), **options)


async def test_realtime_calls_are_shared_and_kept_too(server, client, cache):
    for _ in range(2):
        provider = OpenAIBatch(client, model="m")
        async with Batcher(provider, mode="realtime", dedupe=True, cache=cache, poll_interval=0.05) as batcher:
            answers = await batcher.amap([question(i % 4) for i in range(40)])
        assert len(set(map(text_of, answers))) == 4
    assert (server.stats.paid, server.stats.realtime) == (0, 4)
    assert cache.stats.stored == 4
    assert cache.stats.hits == 40
