"""What is OpenAI's own of the provider under the real engine; the rest is in the conformance kit."""

import asyncio

import pytest
from langchain_core.messages import AIMessage, HumanMessage
from test_openai_kit import chats, client_of, key

from batch_bridge import Bridge, Errored, Expired, Limits, Succeeded
from batch_bridge._core.json.messages import decode
from batch_bridge.errors import ProviderUnavailable
from batch_bridge.providers.openai import OpenAIBatch
from batch_bridge.testing import BatchServer
from batch_bridge.testing.conformance import Drive, ask, requests


@pytest.fixture(scope="module")
def shared():
    with BatchServer() as running:
        yield running


@pytest.fixture
def server(shared):
    shared.reset_stats()
    yield shared
    shared.configure(**dict.fromkeys(SHARES, 0.0), visible_after=0.0, latency=0.0, expiry_share=0.5)


SHARES = [
    "missing_line",
    "doubled_line",
    "unknown_line",
    "garbled_line",
    "line_failure",
    "batch_failure",
    "expiry",
    "unknown_status",
    "forgotten",
    "output_missing",
    "drop_create_response",
    "cut_download",
]


@pytest.fixture
async def provider(server):
    async with client_of(server.base_url) as client:
        made = OpenAIBatch(client, model="gpt-4o-mini")
        yield made
        await made.aclose()


def content(outcome):
    return outcome.answer["choices"][0]["message"]["content"]


async def test_every_request_gets_its_own_answer(server, provider):
    server.configure(doubled_line=0.3, unknown_line=0.3)
    asked = chats(60)
    outcomes = await ask(provider, asked)
    assert all(isinstance(each, Succeeded) for each in outcomes)
    assert len({content(each) for each in outcomes}) == 60
    stats = server.stats
    assert (stats.paid, stats.paid_twice, stats.batches) == (60, 0, 1)
    assert provider.calls["files.create"] == provider.calls["batches.create"] == 1


@pytest.mark.parametrize(("status", "retryable"), [(0, True), (400, False), (429, True), (500, True)])
async def test_lines_that_fail(server, provider, status, retryable):
    server.configure(line_failure=1.0, line_failure_status=status)
    outcomes = await ask(provider, chats(4))
    assert {(type(each), each.status_code, each.retryable) for each in outcomes} == {(Errored, status, retryable)}
    assert server.stats.paid == 0


async def test_an_expired_batch_keeps_what_was_done(server, provider):
    server.configure(expiry=1.0, expiry_share=0.5)
    drive = await Drive(provider).start(asked := chats(20))
    outcomes = await drive.settle(asked)
    kinds = [type(each) for each in outcomes]
    assert (kinds.count(Succeeded), kinds.count(Expired)) == (10, 10)
    (closed,) = await drive.closed()
    assert closed.usage.input_tokens > 0
    assert closed.usage.model == "gpt-4o-mini"


async def test_a_failed_batch_fails_all_its_requests(server, provider):
    server.configure(batch_failure=1.0)
    outcomes = await ask(provider, chats(3))
    assert {(each.code, each.retryable) for each in outcomes} == {("token_limit_exceeded", True)}


async def test_a_create_answered_with_500_that_took_no_effect_is_sent_again(server, provider):
    server.configure(next_create_error=1)
    outcomes = await ask(provider, chats(5))
    assert {type(each) for each in outcomes} == {Succeeded}
    assert (server.stats.batches, server.stats.paid) == (1, 5)
    assert provider.calls["files.delete"] == 1, "the first input file was fenced"


async def test_a_create_that_turns_up_after_the_fence_is_not_paid(server, provider):
    server.configure(visible_after=1.0, next_drop_create_response=1)
    drive = await Drive(provider).start(asked := chats(5))
    await drive.tick()
    server.configure(visible_after=0.0)
    outcomes = await drive.settle(asked)
    assert {type(each) for each in outcomes} == {Succeeded}
    stats = server.stats
    assert (stats.batches, stats.paid, stats.paid_twice) == (2, 5, 0)
    assert provider.calls["batches.create"] == 2


async def test_a_ghost_of_an_earlier_try_is_not_adopted(server, provider):
    """The first create turns up late, and fails for its file is gone; the second one's answer is lost as well."""
    server.configure(visible_after=0.3, drop_create_response=1.0)
    drive = await Drive(provider).start(asked := chats(4))
    await drive.tick()
    for _ in range(3):
        await drive.tick()
    server.configure(visible_after=0.0)
    outcomes = await drive.settle(asked)
    assert {type(each) for each in outcomes} == {Succeeded}
    assert (server.stats.paid, server.stats.paid_twice) == (4, 0)


async def test_a_batch_that_is_forgotten_ends(server, provider):
    server.configure(forgotten=1.0, latency=0.2)
    outcomes = await ask(provider, chats(3))
    assert {each.code for each in outcomes} == {"batch_not_found"}


async def test_an_output_file_that_is_gone(server, provider):
    server.configure(output_missing=1.0, line_failure=0.5, line_failure_status=400)
    outcomes = await ask(provider, chats(20))
    codes = {each.code for each in outcomes}
    assert "output_file_missing" in codes
    assert len(codes) == 2, "those that failed are told from those whose answers are lost"


async def test_an_unknown_status_is_one_that_goes_on(server, provider, caplog):
    server.configure(unknown_status=1.0, latency=0.2)
    outcomes = await ask(provider, chats(2))
    assert {type(each) for each in outcomes} == {Succeeded}
    assert sum("its status 'paused' is unknown" in message for message in caplog.messages) == 1


async def test_trouble_on_the_way_delays_and_no_more(server, provider):
    server.configure(next_upload_error=1, next_create_rate_limit=1, next_poll_error=2)
    outcomes = await ask(provider, chats(4))
    assert {type(each) for each in outcomes} == {Succeeded}
    assert (server.stats.batches, server.stats.paid) == (1, 4)
    assert (provider.calls["files.create"], provider.calls["batches.create"]) == (2, 2)


async def test_the_process_after_this_one_polls_the_batch(server, provider):
    server.configure(latency=0.2)
    drive = await Drive(provider).start(asked := requests([[HumanMessage("Hello")]]))
    await drive.tick()
    async with client_of(server.base_url, provider._clients._own.api_key) as client:
        drive.provider = OpenAIBatch(client)
        outcomes = await (await drive.again()).settle(asked)
    assert isinstance(decode(outcomes[0].answer), AIMessage)
    assert server.stats.paid == 1


async def test_models_and_endpoints_have_batches_of_their_own(server, provider):
    asked = requests(
        [
            [{"role": "user", "content": "Hello"}],
            {"model": "gpt-4.1", "messages": [{"role": "user", "content": "Hello"}]},
            {"input": "Hello"},
            {"model": "text-embedding-3-small", "input": ["a", "b"]},
            {"url": "/v1/moderations", "body": {"model": "omni-moderation-latest", "input": "Hello"}},
            [HumanMessage("Hello")],
        ]
    )
    outcomes = await ask(provider, asked)
    assert {type(each) for each in outcomes} == {Succeeded}
    assert outcomes[0].answer["object"] == "chat.completion"
    assert outcomes[1].answer["model"].startswith("gpt-4.1")
    assert outcomes[2].answer["object"] == "response"
    assert len(outcomes[3].answer["data"]) == 2
    assert "results" in outcomes[4].answer
    message = decode(outcomes[5].answer)
    assert message.usage_metadata["total_tokens"] > 0
    assert message.response_metadata["finish_reason"] == "stop"
    assert server.stats.batches == 5


async def test_messages_through_the_responses_api(server):
    async with client_of(server.base_url) as client:
        provider = OpenAIBatch(client, model="gpt-4o-mini", endpoint="/v1/responses")
        outcomes = await ask(provider, requests([[HumanMessage("Hello")], [{"role": "user", "content": "Hello"}]]))
    assert decode(outcomes[0].answer).text
    assert outcomes[1].answer["object"] == "response"


async def test_limits_split_batches(server):
    async with client_of(server.base_url) as client:
        provider = OpenAIBatch(client, model="m", limits=Limits(requests=4, bytes=10_000))
        await ask(provider, chats(10))
        await ask(provider, requests([[{"role": "user", "content": "x" * 6_000}]] * 2))
        outcomes = await ask(provider, requests([[{"role": "user", "content": "x" * 11_000}]]))
    assert outcomes[0].code == "item_too_large"
    assert server.stats.batches == 3 + 2


@pytest.mark.parametrize("delete", [True, False])
async def test_files_are_deleted_if_that_was_asked_for(server, delete):
    async with client_of(server.base_url) as client:
        provider = OpenAIBatch(client, model="m", delete_files=delete)
        await ask(provider, chats(2))
        left = [each.id async for each in client.files.list()]
    assert len(left) == (0 if delete else 2)


async def test_our_key_and_the_users_metadata_are_on_the_batch(server):
    async with client_of(server.base_url) as client:
        provider = OpenAIBatch(client, model="m", metadata={"team": "search"})
        drive = await Drive(provider).start(asked := chats(1))
        await drive.settle(asked)
        batches = [each async for each in client.batches.list()]
        (closed,) = await drive.closed()
    assert batches[0].metadata == {"team": "search", "batch_bridge_key": closed.key}


async def test_without_a_key_the_waiters_get_an_error(monkeypatch):
    for name in ("OPENAI_API_KEY", "OPENAI_ADMIN_KEY"):
        monkeypatch.delenv(name, raising=False)
    provider = OpenAIBatch(model="m")
    outcomes = await ask(provider, chats(2))
    assert {each.code for each in outcomes} == {"no_api_key"}
    assert "OPENAI_API_KEY" in outcomes[0].message
    with pytest.raises(ProviderUnavailable, match="OPENAI_API_KEY"):
        await provider.poll({"id": "batch_1", "model": "m", "created_at": 0}, ())


async def test_a_client_is_made_from_the_environment(server, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", key())
    monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
    provider = OpenAIBatch(model="m")
    for _ in range(2):
        outcomes = await ask(provider, chats(1))
        assert {type(each) for each in outcomes} == {Succeeded}
        await provider.aclose()


async def test_a_clients_owner_closes_it(server):
    async with client_of(server.base_url) as client:
        provider = OpenAIBatch(client, model="m")
        await provider.aclose()
        assert not client.is_closed()


def test_a_users_client_may_meet_one_event_loop_after_another(server):
    async def once():
        outcomes = await ask(provider, chats(2))
        await provider.aclose()
        return {type(each) for each in outcomes}

    provider = OpenAIBatch(client_of(server.base_url), model="m")
    for _ in range(3):
        assert asyncio.run(once()) == {Succeeded}
    assert provider.calls["files.create"] == provider.calls["batches.create"] == 3, "no call had to be repeated"


def test_a_bridge_takes_it():
    assert repr(Bridge(OpenAIBatch(model="m"))) == "Bridge(OpenAIBatch, name='bridge')"
