"""The twin of the OpenAI provider, through the real client, over real HTTP: the same outcomes as a batch."""

import asyncio
import socket
import threading
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
from openai import AsyncOpenAI
from test_openai_kit import CUT, HANG, Script, chats, client_of, refusal

from batch_bridge import Batcher, Errored, RequestFailed, Succeeded
from batch_bridge._core.json.messages import decode
from batch_bridge.providers.openai import OpenAIBatch
from batch_bridge.testing import BatchServer
from batch_bridge.testing.conformance import Drive, ask, requests

CHAT = "POST /v1/chat/completions"
WRONG = {"url": "/v1/chat/completions", "body": {"model": "gpt-4o-mini", "input": "no messages"}}
ANSWER = {"id": "1", "model": "m", "choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 2}}


@pytest.fixture(scope="module")
def shared():
    with BatchServer() as running:
        yield running


@pytest.fixture
def server(shared):
    shared.reset_stats()
    yield shared
    shared.configure(
        next_realtime_error=0, realtime_error=0.0, realtime_error_status=500, retry_after=1.0, slow_response=0.0
    )


@pytest.fixture
async def batch(server):
    async with client_of(server.base_url) as client:
        made = OpenAIBatch(client, model="gpt-4o-mini")
        yield made
        await made.aclose()


@pytest.fixture
async def twin(batch):
    made = batch.realtime()
    yield made
    await made.aclose()


def of(base_url, *, attempts=1, **options):
    return OpenAIBatch(client_of(base_url, **options), model="m").realtime(attempts=attempts)


async def outcome_of(provider):
    try:
        (outcome,) = await ask(provider, chats(1))
    finally:
        await provider.aclose()
    return outcome


# -- the same outcomes -------------------------------------------------------------------------------------------


async def test_two_hundred_items_have_the_same_outcomes_as_in_a_batch(server, batch, twin):
    asked = chats(200)
    assert await ask(twin, asked) == await ask(batch, asked)
    assert (server.stats.realtime, server.stats.paid, server.stats.batches) == (200, 200, 1)
    assert batch.calls[CHAT] == 200


TEXT = st.text(st.characters(codec="utf-8"), max_size=30)
MESSAGES = st.lists(st.builds(lambda text: {"role": "user", "content": text}, TEXT), min_size=1, max_size=3)
ITEMS = st.one_of(
    MESSAGES,
    st.builds(lambda messages: {"model": "gpt-4o", "messages": messages, "temperature": 0}, MESSAGES),
    st.builds(lambda text: {"model": "gpt-5-mini", "input": text}, TEXT),
    st.builds(lambda texts: {"model": "text-embedding-3-small", "input": texts}, st.lists(TEXT, min_size=1)),
    st.builds(
        lambda text: {"url": "/v1/moderations", "body": {"model": "omni-moderation-latest", "input": text}}, TEXT
    ),
    st.builds(lambda text: [SystemMessage("be short"), HumanMessage(text)], TEXT),
    st.just(WRONG),
    st.just({"nothing": "at all"}),
)


@settings(deadline=None, max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(items=st.lists(ITEMS, min_size=1, max_size=12))
async def test_whatever_is_asked_the_outcomes_are_the_same(batch, twin, items):
    asked = requests(items)
    at_once, later = await ask(twin, asked), await ask(batch, asked)
    assert [without_call(each) for each in at_once] == [without_call(each) for each in later]


def without_call(outcome):
    """Return an outcome without the provider's name for the call, which differs from call to call."""
    return replace(outcome, provider_request_id=None) if isinstance(outcome, Errored) else outcome


async def test_messages_are_answered_with_a_message(twin):
    (outcome,) = await ask(twin, requests([[HumanMessage("hello")]]))
    assert isinstance(decode(outcome.answer), AIMessage)


async def test_usage_is_told_as_realtime(twin, batch):
    asked = chats(5)
    usages = []
    for provider in (twin, batch):
        drive = await Drive(provider).start(asked)
        await drive.settle(asked)
        (closed,) = await drive.closed()
        usages.append(closed.usage)
    assert usages[0].input_tokens > 0
    assert usages[0] == replace(usages[1], realtime=True)


# -- errors ------------------------------------------------------------------------------------------------------


async def test_a_refusal_for_now_is_tried_again_when_the_server_says(server, batch):
    server.configure(next_realtime_error=3, realtime_error_status=429, retry_after=0.05)
    pauses = []

    async def sleep(seconds):
        pauses.append(seconds)

    twin = batch.realtime()
    twin._retry._retrying.sleep = twin._retry.sleep = sleep
    outcomes = await ask(twin, chats(10))
    assert {type(each) for each in outcomes} == {Succeeded}
    stats = server.stats
    assert (stats.realtime, stats.faults, stats.calls[CHAT]) == (10, {"realtime_error": 3}, 13)
    assert max(pauses) >= 0.05
    await twin.aclose()


async def test_a_wrong_request_is_told_at_once(server, twin):
    right, wrong = ask_for("gpt-4o-mini"), WRONG
    answered, refused = await ask(twin, requests([right, wrong]))
    assert isinstance(answered, Succeeded)
    assert (type(refused), refused.status_code, refused.retryable) == (Errored, 400, False)
    assert refused.body["error"]["message"]
    assert refused.provider_request_id.startswith("req_")
    assert server.stats.calls[CHAT] == 2


def ask_for(model):
    return {"model": model, "messages": [{"role": "user", "content": "hello"}]}


async def test_errors_of_the_server_are_retryable_in_the_end(server, batch):
    server.configure(realtime_error=1.0, realtime_error_status=503)
    twin = batch.realtime(attempts=2)
    outcomes = await ask(twin, chats(3))
    assert {(each.status_code, each.retryable) for each in outcomes} == {(503, True)}
    assert all("tried 2 times" in each.message for each in outcomes)
    assert server.stats.calls[CHAT] == 6
    await twin.aclose()


@pytest.mark.parametrize("status", [401, 403, 404])
async def test_permanent_errors_are_not_tried_again(status):
    async with Script({CHAT: refusal(status, "no such thing: sk-secret-key", "nope")}) as script:
        outcome = await outcome_of(of(script.base_url, attempts=5))
        assert (outcome.code, outcome.status_code, outcome.retryable) == ("nope", status, False)
        assert script.calls[CHAT] == 1


@pytest.mark.parametrize(
    "answer",
    [
        refusal(429, "you have spent it all", "insufficient_quota"),
        refusal(500, "do not", "x", {"x-should-retry": "false"}),
    ],
)
async def test_what_no_pause_helps_is_not_tried_again(answer):
    async with Script({CHAT: answer}) as script:
        outcome = await outcome_of(of(script.base_url, attempts=5))
        assert outcome.status_code in (429, 500)
        assert script.calls[CHAT] == 1


@pytest.mark.parametrize("lane", ["realtime", "flex"])
async def test_a_request_that_no_minute_has_tokens_for_is_not_tried_again(lane):
    message = (
        "Request too large for gpt-5-mini in organization org-1 on tokens per min (TPM): Limit 30000, Requested 36055."
    )
    async with Script({CHAT: refusal(429, message, "rate_limit_exceeded")}) as script:
        outcome = await outcome_of(getattr(OpenAIBatch(client_of(script.base_url), model="m"), lane)(attempts=5))
        assert (outcome.message, outcome.status_code, outcome.retryable) == (message, 429, False)
        assert script.calls[CHAT] == 1


@pytest.mark.parametrize("fault", [CUT, HANG])
async def test_a_call_whose_answer_is_lost_is_not_made_again(fault):
    async with Script({CHAT: fault}) as script:
        outcome = await outcome_of(of(script.base_url, attempts=5, timeout=0.3))
        assert (outcome.code, outcome.retryable) == ("realtime_interrupted", True)
        assert "not sent again" in outcome.message
        assert script.calls[CHAT] == 1


async def test_a_connection_that_is_refused_is_tried_again():
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        url = f"http://127.0.0.1:{nobody.getsockname()[1]}/v1"
    outcome = await outcome_of(of(url, attempts=2))
    assert (outcome.code, outcome.retryable) == ("unreachable", True)
    assert "tried 2 times" in outcome.message


async def test_there_is_no_key(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    outcome = await outcome_of(OpenAIBatch(model="m").realtime())
    assert (outcome.code, outcome.retryable) == ("no_api_key", False)
    assert "OPENAI_API_KEY" in outcome.message


async def test_an_address_that_is_none():
    outcome = await outcome_of(of("ftp://example.invalid/v1"))
    assert (outcome.code, outcome.retryable) == ("bad_base_url", False)


@pytest.mark.parametrize(("body", "kind"), [(b"<html>", Errored), (b"", Errored), (b"[1, 2]", Succeeded)])
async def test_strange_answers(body, kind):
    async with Script({CHAT: (200, body)}) as script:
        outcome = await outcome_of(of(script.base_url))
        assert type(outcome) is kind
        if kind is Errored:
            assert outcome.code == "unexpected_answer"


# -- lives -------------------------------------------------------------------------------------------------------


def test_two_event_loops_at_once(server):
    batch = OpenAIBatch(AsyncOpenAI(base_url=server.base_url, api_key="two-loops"), model="gpt-4o-mini")
    twin, results = batch.realtime(), []

    def work():
        async def main():
            try:
                return await ask(twin, chats(30))
            finally:
                await twin.aclose()

        results.append(asyncio.run(main()))

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert [len(each) for each in results] == [30, 30]
    assert {type(outcome) for each in results for outcome in each} == {Succeeded}


async def test_a_batcher_in_realtime_answers_each_caller_as_its_answer_comes(server, batch):
    async with Batcher(batch, mode="realtime", poll_interval=3600, max_batch_age=None) as batcher:
        answers = await asyncio.wait_for(
            asyncio.gather(*(batcher.asubmit(ask_for("gpt-4o-mini")) for _ in range(20))), 20
        )
        assert len(answers) == 20
        with pytest.raises(RequestFailed) as caught:
            await batcher.asubmit(WRONG)
        assert caught.value.status_code == 400
    assert server.stats.batches == 0


async def test_a_closed_batcher_leaves_no_call_behind():
    before = set(threading.enumerate())
    async with Script({CHAT: HANG}) as script:
        batch = OpenAIBatch(client_of(script.base_url), model="m")
        batcher = Batcher(batch, mode="realtime")
        asked = asyncio.ensure_future(batcher.amap([ask_for("m")] * 3, return_exceptions=True))
        while script.calls[CHAT] < 3:
            await asyncio.sleep(0.01)
        await asyncio.wait_for(batcher.aclose(wait=False), 60)
        with pytest.raises(Exception, match="closed"):
            await asked
        for thread in set(threading.enumerate()) - before:
            if thread.name.startswith("batcher"):
                await asyncio.to_thread(thread.join, 60)  # it may be at its very end, and may need this loop for that
                assert not thread.is_alive()


async def test_a_batcher_chooses_by_the_size_of_a_batch(server, batch):
    async with Batcher(batch, mode="auto", realtime_below=10, poll_interval=0.1) as batcher:
        await batcher.amap([ask_for("gpt-4o-mini")] * 9)
        assert (server.stats.realtime, server.stats.batches) == (9, 0)
        await batcher.amap([ask_for("gpt-4o-mini")] * 10)
    assert (server.stats.realtime, server.stats.batches) == (9, 1)


async def test_what_a_dead_process_left_is_not_paid_again(server, tmp_path):
    """A durable Batcher that is closed in the middle, and one after it that asks for the same."""

    def f_item(number):
        return {"model": "m", "messages": [{"role": "user", "content": f"{number}"}]}

    async with Script({CHAT: [(200, ANSWER), HANG, (200, ANSWER), (200, ANSWER)]}) as script:
        batch = OpenAIBatch(client_of(script.base_url), model="m")
        batcher = Batcher(batch, mode="realtime", path=tmp_path / "b.db")
        asked = [asyncio.ensure_future(batcher.asubmit(f_item(number))) for number in range(2)]
        await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)
        while script.calls[CHAT] < 2:
            await asyncio.sleep(0.01)
        await batcher.aclose(wait=False)
        await asyncio.gather(*asked, return_exceptions=True)

        batch = OpenAIBatch(client_of(script.base_url), model="m")
        async with Batcher(batch, mode="realtime", path=tmp_path / "b.db") as batcher:
            results = await batcher.amap([f_item(0), f_item(1)], return_exceptions=True)
        assert script.calls[CHAT] == 2
    failed = [each for each in results if isinstance(each, RequestFailed)]
    assert [each.code for each in failed] == ["realtime_interrupted"]
    assert [each for each in results if each not in failed] == [ANSWER]
