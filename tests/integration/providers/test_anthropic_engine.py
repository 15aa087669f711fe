"""What is Anthropic's own of the provider under the real engine; the rest is in the conformance kit."""

import uuid
from datetime import timedelta

import pytest
from anthropic import AsyncAnthropic
from langchain_anthropic import ChatAnthropic
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage

from batch_bridge import Errored, FlushPolicy, Limits, Succeeded
from batch_bridge._core.json.messages import decode
from batch_bridge.providers.anthropic import AnthropicBatch
from batch_bridge.testing import BatchServer
from batch_bridge.testing.conformance import Drive, ask, requests

MODEL = "claude-haiku-4-5"


@pytest.fixture(scope="module")
def server():
    with BatchServer() as running:
        yield running


@pytest.fixture(autouse=True)
def fresh(server):
    server.reset_stats()
    yield
    server.configure(
        latency=0.0, visible_after=0.0, realtime_error=0.0, realtime_error_status=500, drop_create_response=0.0
    )


def key():
    return f"key-{uuid.uuid4().hex}"


def client_of(server, account=None):
    return AsyncAnthropic(base_url=server.root_url, api_key=account or key())


@pytest.fixture
async def provider(server):
    made = AnthropicBatch(client_of(server), model=MODEL, lost_after=timedelta(seconds=1))
    yield made
    await made.aclose()


def chats(count):
    return requests([{"role": "user", "content": f"question {i}."}] for i in range(count))


TOOLS = [
    {
        "name": "look",
        "description": "Look.",
        "input_schema": {"type": "object", "properties": {"n": {"type": "integer"}}},
    }
]
CONVERSATIONS = [
    [HumanMessage("Hello")],
    [SystemMessage("Be brief."), HumanMessage("Grüße")],
    [
        HumanMessage("a"),
        AIMessage("", tool_calls=[{"name": "look", "args": {"n": 1}, "id": "toolu_1"}]),
        ToolMessage("there", tool_call_id="toolu_1"),
    ],
]


@pytest.mark.parametrize("messages", CONVERSATIONS)
@pytest.mark.parametrize("tools", [[], TOOLS])
async def test_an_answer_is_the_one_that_langchains_own_model_gives(server, provider, messages, tools):
    model = ChatAnthropic(model=MODEL, base_url=server.root_url, api_key=key(), max_tokens=4_096)
    theirs = await (model.bind(tools=tools) if tools else model).ainvoke(messages)
    item = {"messages": messages, "tools": tools} if tools else messages
    (outcome,) = await ask(provider, requests([item]))
    ours = decode(outcome.answer)
    assert [each["name"] for each in ours.tool_calls] == [each["name"] for each in theirs.tool_calls]
    assert ours.content == theirs.content or tools
    assert ours.usage_metadata.keys() == theirs.usage_metadata.keys()
    assert ours.response_metadata["stop_reason"] == theirs.response_metadata["stop_reason"]
    assert ours.response_metadata["model_name"] == theirs.response_metadata["model_name"]


async def test_batches_of_the_same_size_are_not_taken_for_each_other(server, provider):
    """Three of one flush, of which one's create call is lost: it is found, and its siblings are not harmed."""
    server.configure(next_drop_create_response=1, latency=0.3)
    drive = await Drive(provider, policy=FlushPolicy(max_requests=4)).start(asked := chats(12))
    outcomes = await drive.settle(asked)
    assert {type(each) for each in outcomes} == {Succeeded}
    assert all(f"question {n}." in each.answer["content"][0]["text"] for n, each in enumerate(outcomes))
    stats = server.stats
    assert (stats.batches, stats.paid, stats.paid_twice) == (3, 12, 0)


async def test_somebody_elses_batch_of_the_same_size_delays_and_no_more(server):
    account = key()
    async with client_of(server, account) as client:
        provider = AnthropicBatch(client, model=MODEL, lost_after=timedelta(seconds=0.5))
        drive = await Drive(provider).start(asked := chats(2))
        server.configure(next_create_error=1)
        await drive.tick()
        other = {"model": MODEL, "max_tokens": 1, "messages": [{"role": "user", "content": "mine"}]}
        await client.messages.batches.create(requests=[{"custom_id": f"own-{n}", "params": other} for n in range(2)])
        outcomes = await drive.settle(asked)
        await provider.aclose()
    assert {type(each) for each in outcomes} == {Succeeded}
    stats = server.stats
    assert (stats.batches, stats.paid, stats.paid_twice) == (2, 4, 0)


async def test_with_a_doubt_for_ever_nothing_is_sent_again(server):
    provider = AnthropicBatch(client_of(server), model=MODEL, lost_after=None)
    server.configure(next_create_error=1)
    outcomes = await ask(provider, chats(3))
    await provider.aclose()
    assert {(type(each), each.code, each.retryable) for each in outcomes} == {(Errored, "submission_unknown", True)}
    assert server.stats.batches == 0


async def test_limits_split_batches(server):
    provider = AnthropicBatch(client_of(server), model=MODEL, limits=Limits(requests=4, bytes=10_000))
    await ask(provider, chats(10))
    outcomes = await ask(provider, requests([[{"role": "user", "content": "x" * 11_000}]]))
    await provider.aclose()
    assert outcomes[0].code == "item_too_large"
    assert server.stats.batches == 3


async def test_models_have_batches_and_bills_of_their_own(server, provider):
    asked = requests(
        {"model": each, "messages": [{"role": "user", "content": "a"}]} for each in ("claude-a", "claude-b")
    )
    drive = await Drive(provider).start(asked)
    await drive.settle(asked)
    assert sorted(each.usage.model for each in await drive.closed()) == ["claude-a", "claude-b"]


async def test_a_client_is_made_from_the_environment(server, monkeypatch):
    monkeypatch.setenv("ANTHROPIC_API_KEY", key())
    monkeypatch.setenv("ANTHROPIC_BASE_URL", server.root_url)
    provider = AnthropicBatch(model=MODEL)
    for _ in range(2):
        assert {type(each) for each in await ask(provider, chats(1))} == {Succeeded}
        await provider.aclose()


async def test_a_clients_owner_closes_it(server):
    async with client_of(server) as client:
        await AnthropicBatch(client, model=MODEL).aclose()
        assert not client.is_closed()


async def test_batches_are_deleted_if_that_was_asked_for(server):
    async with client_of(server) as client:
        provider = AnthropicBatch(client, model=MODEL, delete_batches=True)
        await ask(provider, chats(2))
        await provider.aclose()
        assert [each async for each in client.messages.batches.list()] == []


# -- the twin that answers at once ---------------------------------------------------------------------------------


async def test_realtime_gives_the_answers_of_a_batch(server, provider):
    items = [[{"role": "user", "content": "a"}], [HumanMessage("b")], {"messages": [HumanMessage("c")], "tools": TOOLS}]
    batched = await ask(provider, requests(items))
    twin = provider.realtime()
    drive = await Drive(twin).start(asked := requests(items))
    outcomes = await drive.settle(asked)
    await twin.aclose()
    assert [each.answer for each in outcomes] == [each.answer for each in batched]
    usages = [each.usage for each in await drive.closed()]
    assert all(each is None or each.realtime for each in usages)
    assert server.stats.realtime == 3


async def test_realtime_tries_what_is_refused_for_now_again(server, provider):
    server.configure(next_realtime_error=2, realtime_error_status=529)
    twin = provider.realtime()
    outcomes = await ask(twin, chats(1))
    await twin.aclose()
    assert {type(each) for each in outcomes} == {Succeeded}


async def test_realtime_tells_what_is_refused_for_ever(server, provider):
    server.configure(realtime_error=1.0, realtime_error_status=403)
    twin = provider.realtime()
    (outcome,) = await ask(twin, chats(1))
    await twin.aclose()
    assert (outcome.code, outcome.status_code, outcome.retryable) == ("permission_error", 403, False)
    assert outcome.body["error"]["type"] == "permission_error"
