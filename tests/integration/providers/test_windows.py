"""Windows over HTTP: each request one stored response, adopted, cancelled, refused, and never made twice blindly."""

import asyncio
import random
import sqlite3
import string
from typing import TypedDict

import pytest
from langchain_core.messages import AIMessage, HumanMessage
from langgraph.graph import START, StateGraph
from openai import AsyncOpenAI

from batch_bridge import Batcher, Bridge, RequestError, Runner, wait
from batch_bridge.providers.openai import OpenAIBatch
from batch_bridge.testing import BatchServer


@pytest.fixture(scope="module")
def windows(tmp_path_factory):
    with BatchServer(state_dir=tmp_path_factory.mktemp("windows")) as server:
        yield server


@pytest.fixture
def server(windows):
    windows.configure(response_seconds=0, response_failure=0, response_gone=0, clock_speed=1, poll_error=0)
    windows.configure(drop_create_response=0, next_drop_create_response=0, create_error=0, create_rate_limit=0)
    windows.reset_stats()
    return windows


def key():
    return "".join(random.choices(string.ascii_lowercase, k=12))


class WithWindows(OpenAIBatch):
    """A provider whose windows are made with other limits."""

    limits_of_windows: dict[str, float]

    def window(self, *arguments, **options):
        made = super().window(*arguments, **options)
        vars(made).update(self.limits_of_windows)
        return made


def openai(server, **limits):
    provider = WithWindows(AsyncOpenAI(base_url=server.base_url, api_key=key()), model="gpt-5-mini")
    provider.limits_of_windows = limits
    return provider


def said(number):
    return [{"role": "user", "content": f"question {number} {key()}"}]


async def answers_of(provider, items, **options):
    async with Batcher(provider, poll_interval=0.2, **options) as batcher:
        return await batcher.amap(items, return_exceptions=True), batcher.report()


async def test_every_request_is_one_response(server):
    answers, report = await answers_of(openai(server), [said(number) for number in range(30)], mode="window:8h")
    stats = server.stats
    assert [answer["object"] for answer in answers] == ["chat.completion"] * 30
    assert all(
        f"question {number}" in answer["choices"][0]["message"]["content"] for number, answer in enumerate(answers)
    )
    assert (stats.responses, stats.paid, stats.paid_twice, stats.batches, stats.realtime) == (30, 30, 0, 0, 0)
    assert report.cost.by_lane.keys() == {"window:8h"}
    assert report.cost.paid == report.cost.list_price * 6 / 10
    assert not any(usage.realtime for usage in report.usage)


async def test_two_hours_cost_thirty_percent_less(server):
    _, report = await answers_of(openai(server), [{"input": "x", "model": "gpt-5-mini"}], mode="window:2h")
    assert report.cost.paid == report.cost.list_price * 7 / 10


async def test_messages_are_answered_with_a_message(server):
    answers, _ = await answers_of(openai(server), [[HumanMessage("hello")]], mode="window:2h")
    assert isinstance(answers[0], AIMessage)


class State(TypedDict, total=False):
    name: str
    out: list[str]


async def agent(state: State) -> State:
    out = []
    for step in range(3):
        answer = await wait({"model": "gpt-5-mini", "input": f"{state['name']} step {step} {''.join(out)[:40]}"})
        out.append(answer["output"][0]["content"][0]["text"])
    return {"out": out}


async def test_the_steps_of_a_thread_share_a_continuation(server, tmp_path):
    graph = StateGraph(State).add_node(agent).add_edge(START, "agent")
    bridge = Bridge(openai(server), mode="window:2h", poll_interval=0.2)
    async with Runner(graph, bridge, path=tmp_path / "run.db", progress=False) as runner:
        results = await runner.abatch([{"name": f"{key()} {number}"} for number in range(10)], run_id="agents")
    assert all(len(result["out"]) == 3 for result in results)
    stats = server.stats
    assert (stats.responses, stats.paid_twice) == (30, 0)
    counts = continuations(server)[-10:]
    assert counts == [3] * 10


def continuations(server):
    """How many responses carry each continuation id, in the order in which these came up."""
    folder = server._state_dir
    with sqlite3.connect(folder / "server.db") as db:
        rows = db.execute(
            "SELECT count(*) FROM responses WHERE json_extract(body, '$.background_options.continuation_id') IS NOT NULL "
            "GROUP BY json_extract(body, '$.background_options.continuation_id') ORDER BY min(ordinal)"
        )
        return [count for (count,) in rows]


async def test_a_lost_create_response_fails_and_is_not_repeated(server):
    server.configure(next_drop_create_response=1)
    answers, _ = await answers_of(openai(server), [said(1)], mode="window:8h")
    (error,) = answers
    assert isinstance(error, RequestError)
    assert (error.code, error.retryable) == ("submission_unknown", True)
    assert server.stats.responses == 1


async def test_pay_again_repeats_it_and_counts_it(server):
    server.configure(next_drop_create_response=2)
    provider = openai(server).window("8h", on_unknown="pay_again")
    answers, report = await answers_of(provider, [said(number) for number in range(6)])
    assert all(isinstance(answer, dict) for answer in answers)
    await settled(server, 8)
    stats = server.stats
    assert (stats.responses, stats.paid, stats.paid_twice) == (8, 8, 2)
    assert report.resubmitted == stats.paid_twice


async def settled(server, count):
    while server.stats.paid < count:
        await asyncio.sleep(0.02)


async def test_a_create_that_had_no_effect_is_repeated(server):
    server.configure(next_create_rate_limit=3, retry_after=0.05)
    answers, _ = await answers_of(openai(server), [said(1)], mode="window:8h")
    assert isinstance(answers[0], dict)
    assert server.stats.responses == 1


async def test_a_response_that_failed_for_now_is_asked_again_and_then_fails(server):
    server.configure(response_failure=True)
    answers, report = await answers_of(openai(server), [said(1)], mode="window:8h")
    assert (answers[0].code, len(answers[0].attempts)) == ("server_error", 2)
    assert (server.stats.responses, server.stats.paid, report.resubmitted) == (3, 0, 2)


async def test_an_answer_that_is_gone_fails_its_request(server):
    server.configure(response_gone=True)
    answers, report = await answers_of(openai(server, _unseen=0.0), [said(1)], mode="window:8h", poll_patience=0.1)
    assert (answers[0].code, answers[0].retryable) == ("response_not_found", True)
    assert server.stats.responses == 1
    assert report.cost.paid is None  # it may have been billed


async def test_what_is_late_is_cancelled_and_answered_in_realtime(server):
    server.configure(response_seconds=7_000)
    answers, _ = await answers_of(openai(server), [said(1), said(2)], mode="window:2h", deadline=1)
    stats = server.stats
    assert all(isinstance(answer, dict) for answer in answers)
    assert (stats.realtime, stats.paid, stats.responses_by_status["cancelled"]) == (2, 0, 2)


async def test_a_response_in_flight_is_adopted_by_the_next_process(server, tmp_path):
    provider, items = openai(server), [said(number) for number in range(4)]
    server.configure(response_seconds=3600, clock_speed=0)
    path = tmp_path / "b.db"
    async with Batcher(provider, mode="window:2h", path=path, poll_interval=0.2, on_pending="raise") as first:
        pending = asyncio.gather(*map(first.asubmit, items), return_exceptions=True)
        while server.stats.responses < 4:
            await asyncio.sleep(0.02)
        await pending
    server.configure(clock_speed=100_000)
    async with Batcher(provider, mode="realtime", path=path, poll_interval=0.2) as second:
        answers = await second.amap(items)
    assert len(answers) == 4
    assert (server.stats.responses, server.stats.realtime) == (4, 0)


async def test_retrievals_are_few(server):
    server.configure(response_seconds=1)
    await answers_of(openai(server, _retrieves=5), [said(number) for number in range(20)], mode="window:8h")
    assert server.stats.calls["GET /v1/responses/{response_id}"] < 20 * 4
