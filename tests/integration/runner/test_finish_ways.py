"""Every way to finish: sent again, late, held back by a quota. Real client, real HTTP, real engine."""

import asyncio
import json
import math
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
import sampling
from langgraph.graph import StateGraph
from openai import AsyncOpenAI

from batch_bridge import Batcher, Bridge, Deadline, FlushPolicy, Limits, ResponseCache, Runner, wait
from batch_bridge.errors import RequestCancelled, RequestExpired, RequestFailed, ResultPending
from batch_bridge.events import Submitted
from batch_bridge.providers.openai import OpenAIBatch
from batch_bridge.testing import BatchServer


@pytest.fixture
def server():
    with BatchServer() as running:
        yield running


def items(count, size=0):
    return [[{"role": "user", "content": f"{n:05d}{'.' * size}"}] for n in range(count)]


def batcher_on(server, **options):
    client = AsyncOpenAI(base_url=server.base_url, api_key="any")
    return Batcher(OpenAIBatch(client, model="gpt-4o-mini"), **{"poll_interval": 0.1, **options})


async def ask(state):
    return {"a": await wait([{"role": "user", "content": str(state["n"])}])}


def asking():
    graph = StateGraph(dict)
    graph.add_node("node", ask)
    graph.add_edge("__start__", "node")
    return graph


def said(answers):
    return [each["choices"][0]["message"]["content"] for each in answers]


def test_half_expired_batches_are_finished_by_the_next_ones(server):
    server.configure(expiry=1.0, expiry_share=0.5)
    client = AsyncOpenAI(base_url=server.base_url, api_key="any")
    bridge = Bridge(OpenAIBatch(client, model="gpt-4o-mini"), attempts=5, poll_interval=0.1)
    with Batcher(bridge) as batcher:
        answers = batcher.map(items(64), return_exceptions=True)
    left = [each for each in answers if isinstance(each, RequestExpired)]
    assert all(f"{n:05d}" in said([each])[0] for n, each in enumerate(answers) if each not in left)
    assert [len(each.attempts) for each in left] == [4, 4]
    stats = server.stats
    assert (stats.paid, stats.paid_twice, stats.batches) == (62, 0, 5)


def test_what_was_tried_is_told_with_the_error(server):
    server.configure(expiry=1.0, expiry_share=0.0)
    with batcher_on(server) as batcher:
        (error,) = batcher.map(items(1), return_exceptions=True)
    assert isinstance(error, RequestExpired)
    assert [each["kind"] for each in error.attempts] == ["expired", "expired"]
    assert server.stats.batches == 3


@pytest.mark.parametrize(("status", "batches"), [(429, 3), (500, 3), (0, 3), (400, 1), (401, 1), (404, 1)])
def test_lines_that_fail_for_good_are_told_at_once_and_others_are_tried_again(server, status, batches):
    server.configure(line_failure=1.0, line_failure_status=status)
    with batcher_on(server) as batcher:
        errors = batcher.map(items(5), return_exceptions=True)
    assert {(type(each), each.status_code) for each in errors} == {(RequestFailed, status)}
    assert {len(each.attempts) for each in errors} == {batches - 1}
    assert (server.stats.batches, server.stats.paid) == (batches, 0)


def test_a_provider_that_is_full_for_the_moment(server):
    server.configure(batch_failure=1.0)
    with batcher_on(server, poll_interval=0.05) as batcher:
        threading.Timer(1.0, server.configure, kwargs={"batch_failure": 0.0}).start()
        answers = batcher.map(items(20))
    assert len(said(answers)) == 20
    assert (server.stats.paid, server.stats.paid_twice) == (20, 0)


def test_a_quota_of_tokens_is_learned_from_one_refusal(server):
    """Ten thousand requests, of which a thousand may be enqueued; by default a fifth of both."""
    room = sampling.many(1000, 200)
    asked = items(10 * room, size=30)
    body = len(json.dumps({"messages": asked[0], "model": "gpt-4o-mini"}, separators=(",", ":")))
    server.configure(enqueued_tokens=room * math.ceil(body / 4), latency=0.1)
    with batcher_on(server) as batcher:
        answers = batcher.map(asked, return_exceptions=True)
    assert not [each for each in answers if isinstance(each, Exception)]
    stats = server.stats
    assert stats.batches_by_status.get("failed", 0) == 1
    assert (stats.paid, stats.paid_twice) == (10 * room, 0)
    assert stats.batches <= 13, "there was room, and it was not used"


@pytest.mark.parametrize("policy", ["wait_for_cancel", "pay_again"])
def test_a_batch_that_never_ends_is_late(server, policy):
    """Fifty requests, of which the batch has answered 45 and never says so; a cancellation takes its time."""
    server.configure(stuck=1.0, stuck_share=0.9, cancel_seconds=1.0 if policy == "wait_for_cancel" else 3600.0)
    began = time.monotonic()
    batcher = batcher_on(server, deadline=Deadline(within=3, then=policy))
    answers = batcher.map(items(50))
    stats = server.stats
    batcher.close(wait=False)
    assert time.monotonic() - began >= 3
    assert all(f"{n:05d}" in text for n, text in enumerate(said(answers)))
    if policy == "wait_for_cancel":
        assert (stats.realtime, stats.paid, stats.paid_twice) == (5, 45, 0)
        assert stats.batches_by_status["cancelled"] == 1
    else:
        assert stats.realtime == 50
        assert stats.batches_by_status["cancelling"] == 1, "the cancellation was waited for"


@pytest.mark.parametrize(
    ("age", "deadline", "expected"),
    [(1800, None, 1800), (1800, 600, 300), (60, 600, 60), (None, 600, None), (0, 600, 0), (1800, 7200, 1800)],
)
def test_nothing_waits_for_others_longer_than_half_of_the_deadline(age, deadline, expected):
    bridge = Bridge(OpenAIBatch(model="m"), flush=FlushPolicy(max_age=age), deadline=deadline)
    assert bridge._flush.max_age == (None if expected is None else timedelta(seconds=expected))


def test_a_request_that_waits_for_others_is_sent_in_time_for_a_batch(server):
    server.configure(latency=0)
    with batcher_on(server, deadline=4) as batcher:
        assert "00000" in said([batcher.submit(items(1)[0])])[0]
    assert (server.stats.paid, server.stats.realtime) == (1, 0)


async def ask_soon(state):
    deadline = 0.5 if state["n"] % 2 else None
    return {"a": await wait([{"role": "user", "content": str(state["n"])}], deadline=deadline)}


@pytest.mark.parametrize("policy", ["wait_for_cancel", "pay_again"])
async def test_one_requests_deadline_harms_no_other(server, policy):
    server.configure(stuck=1.0, stuck_share=0.0)
    graph = StateGraph(dict).add_node("node", ask_soon).add_edge("__start__", "node")
    client = AsyncOpenAI(base_url=server.base_url, api_key="any")
    bridge = Bridge(OpenAIBatch(client, model="gpt-4o-mini"), deadline=Deadline(then=policy), poll_interval=0.1)
    async with Runner(graph, bridge, path=":memory:", progress=False) as runner:
        ended = runner.abatch_as_completed([{"n": n} for n in range(20)])
        first = [(await anext(ended))[0] for _ in range(10)]
        assert all(n % 2 for n in first)
        assert server.stats.batches == 2
        assert not server.stats.paid
        server.configure(stuck=0.0)
        assert {n async for n, _ in ended} == set(range(0, 20, 2))
    assert (server.stats.realtime, server.stats.paid, server.stats.paid_twice) == (10, 10, 0)


def test_a_batchers_request_has_a_deadline_of_its_own(server):
    server.configure(stuck=1.0, stuck_share=0.0)
    with batcher_on(server, max_batch_age=0.1) as batcher:
        assert "now" in said([batcher.submit([{"role": "user", "content": "now"}], deadline=0.5)])[0]
        assert (server.stats.realtime, server.stats.paid) == (1, 0)
        with pytest.raises(ValueError, match="has passed at once"):
            batcher.map(items(1), deadline=0)
        with pytest.raises(TypeError, match="is not a duration"):
            batcher.submit(items(1)[0], deadline="soon")
        with pytest.raises(ValueError, match="longer than ten years"):
            batcher.submit(items(1)[0], deadline=1e12)


async def test_what_is_late_expires_where_no_provider_answers_it():
    at_once = FlushPolicy(when_idle=True)
    bridge = Bridge(submit=lambda items: 1, poll=lambda handle: None, poll_interval=0.1, flush=at_once)
    graph = StateGraph(dict).add_node("node", ask_soon).add_edge("__start__", "node")
    async with Runner(graph, bridge, path=":memory:", progress=False) as runner:
        with pytest.raises(RequestExpired, match="Set fallback="):
            await runner.ainvoke({"n": 1})


def test_one_request_that_is_larger_than_the_quota_harms_no_other(server):
    server.configure(enqueued_tokens=300)
    asked = [[{"role": "user", "content": "word " * 2000}], *items(20)]
    with batcher_on(server) as batcher:
        large, *small = batcher.map(asked, return_exceptions=True)
    assert isinstance(large, RequestFailed)
    assert large.code == "token_limit_exceeded"
    assert [f"{n:05d}" in text for n, text in enumerate(said(small))] == [True] * 20
    assert server.stats.paid == 20


def test_equal_requests_share_an_answer_when_they_are_late_too(server, tmp_path):
    server.configure(stuck=1.0, stuck_share=0.0)
    cache = ResponseCache(tmp_path / "cache.db")
    with batcher_on(server, deadline=1, dedupe=True, cache=cache) as batcher:
        assert len(said(batcher.map(items(1) * 20))) == 20
        assert len(said(batcher.map(items(1)))) == 1
    assert (server.stats.requests, server.stats.realtime) == (1, 1)


def test_a_cancel_reaches_what_nobody_waits_for(server, tmp_path):
    with batcher_on(server, path=tmp_path / "b.db", on_pending="raise") as batcher:
        for item in items(3):
            with pytest.raises(ResultPending):
                batcher.submit(item)
        assert batcher.cancel() == 3
    assert server.stats.paid == 0


def test_what_was_cancelled_is_asked_again_by_the_next_process(server, tmp_path):
    def run(give_up):
        with ThreadPoolExecutor() as pool:
            batcher = batcher_on(server, path=tmp_path / "b.db", max_batch_age=1000 if give_up else 0.1)
            asked = pool.submit(batcher.submit, items(1)[0])
            if give_up:
                until(batcher.cancel)
            try:
                return asked.result(60)
            finally:
                batcher.close(wait=False)

    with pytest.raises(RequestCancelled):
        run(give_up=True)
    assert said([run(give_up=False)])


async def test_what_is_paid_twice_is_reported(server):
    server.configure(stuck=1.0, stuck_share=0.9, latency=0.1)
    client = AsyncOpenAI(base_url=server.base_url, api_key="any")
    late = Deadline(within=1.0, then="pay_again")
    bridge = Bridge(OpenAIBatch(client, model="gpt-4o-mini"), deadline=late, poll_interval=0.1)
    async with Runner(asking(), bridge, path=":memory:") as runner:
        results = await runner.abatch([{"n": n} for n in range(20)])
        assert all("a" in each for each in results)
        async with asyncio.timeout(60):
            while (await runner.report()).paid_twice == 0:
                await asyncio.sleep(0.05)
        report = await runner.report()
    assert (report.paid_twice, report.requests) == (18, 20)
    assert server.stats.realtime == 20


async def test_how_requests_end_is_checked_when_the_bridge_is_made():
    with pytest.raises(TypeError, match=r"fallback=.* is not a provider"):
        Bridge(OpenAIBatch(model="m"), fallback=OpenAIBatch)
    with pytest.raises(ValueError, match=r"Limits\(batches=0\) would never send"):
        Limits(batches=0)
    with pytest.raises(ValueError, match="is unknown"):
        Deadline(within=3, then="never")
    with pytest.raises(ValueError, match="is not a positive integer"):
        Bridge(OpenAIBatch(model="m"), attempts=0)
    bridge = Bridge(submit=lambda items: 1, poll=lambda handle: None, deadline=3, fallback=OpenAIBatch(model="m"))
    assert len(bridge.providers) == 2


def test_a_batcher_gives_up_what_is_on_its_way(server):
    server.configure(stuck=1.0, stuck_share=0.0)
    with batcher_on(server, max_batch_age=0.1) as batcher, ThreadPoolExecutor() as pool:
        asked = pool.submit(batcher.map, items(10), return_exceptions=True)
        until(lambda: server.stats.batches)
        assert batcher.cancel() == 10
        assert {type(each) for each in asked.result(60)} == {RequestCancelled}
        assert batcher.cancel() == 0
        until(lambda: server.stats.batches_by_status.get("cancelled"))
    assert batcher.cancel() == 0, "it is closed"
    assert server.stats.paid == 0


@pytest.mark.parametrize("workers", [0, 1])
def test_a_callback_that_cancels_waits_for_itself_only_on_the_batchers_own_thread(server, workers):
    server.configure(stuck=1.0, stuck_share=0.0)
    seen = []

    def give_up(event):
        if isinstance(event, Submitted):
            try:
                seen.append(batcher.cancel())
            except RuntimeError as error:
                seen.append(str(error))
                server.configure(stuck=0.0)

    batcher = batcher_on(server, on_event=give_up, callback_workers=workers, max_batch_age=0.1)
    with batcher:
        (ended,) = batcher.map(items(1), return_exceptions=True)
    if workers:
        assert isinstance(ended, RequestCancelled)
        assert seen == [1]
    else:
        assert said([ended])
        assert "use callback_workers=1" in seen[0]


async def test_a_batcher_gives_up_without_blocking_the_loop(server):
    server.configure(stuck=1.0, stuck_share=0.0)
    async with batcher_on(server, max_batch_age=0.1) as batcher:
        asked = asyncio.create_task(batcher.amap(items(3), return_exceptions=True))
        async with asyncio.timeout(60):
            while not server.stats.batches:
                await asyncio.sleep(0.05)
        assert await batcher.acancel() == 3
        assert {type(each) for each in await asked} == {RequestCancelled}


async def test_a_runner_gives_up_a_thread_a_request_and_a_batch(server):
    server.configure(stuck=1.0, stuck_share=0.0)
    client = AsyncOpenAI(base_url=server.base_url, api_key="any")
    bridge = Bridge(OpenAIBatch(client, model="gpt-4o-mini"), poll_interval=0.1)
    async with Runner(asking(), bridge, path=":memory:") as runner:
        running = asyncio.create_task(runner.abatch([{"n": n} for n in range(6)], run_id="r", return_exceptions=True))
        async with asyncio.timeout(60):
            while not server.stats.batches:
                await asyncio.sleep(0.05)
        assert await runner.cancel(thread_id="r:2") == 1
        assert await runner.cancel(thread_id="r:2") == 0
        assert await runner.cancel(thread_id="nobody") == 0
        assert not server.stats.batches_by_status.get("cancelled")
        (batch,) = (await client.batches.list()).data
        assert await runner.cancel(batch=batch.metadata["batch_bridge_key"]) == 5
        results = await running
        async with asyncio.timeout(60):
            while not server.stats.batches_by_status.get("cancelled"):
                await asyncio.sleep(0.05)
    assert {type(each) for each in results} == {RequestCancelled}
    assert server.stats.paid == 0


def until(true):
    for _ in range(400):
        if true():
            return
        time.sleep(0.05)
    raise AssertionError("it did not happen in time")
