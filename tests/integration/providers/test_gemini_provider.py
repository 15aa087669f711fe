"""`GeminiBatch` through the real SDK, over real HTTP."""

import asyncio
import time
import uuid
from datetime import timedelta

import httpx
import pytest
from google import genai
from google.genai import types
from langchain_core.messages import HumanMessage, SystemMessage
from langchain_core.tools import tool
from langchain_google_genai import ChatGoogleGenerativeAI

from batch_bridge._core.json.messages import decode
from batch_bridge._core.models import Cancelled, Ended, Errored, Expired, InProgress, Succeeded
from batch_bridge.errors import ProviderUnavailable, SubmissionRefused, SubmissionUnknown
from batch_bridge.providers.gemini import GeminiBatch
from batch_bridge.providers.gemini._provider import INLINE_BYTES
from batch_bridge.testing import BatchServer
from batch_bridge.testing.conformance import Drive, ask, requests

MODEL = "gemini-2.5-flash"
BOTH = pytest.mark.parametrize("inline_bytes", [0, INLINE_BYTES], ids=["file", "inline"])


@pytest.fixture(scope="module")
def server():
    with BatchServer() as running:
        yield running


def client_of(server, key=None, **options):
    return genai.Client(api_key=key or uuid.uuid4().hex, http_options={"base_url": server.root_url, **options})


def provider_of(server, key=None, **options):
    return GeminiBatch(client_of(server, key), **{"model": MODEL, **options})


def questions(count):
    return requests([{"role": "user", "content": f"question {n}."}] for n in range(count))


@BOTH
async def test_a_body_goes_to_the_model_and_its_answer_comes_back_as_they_are(server, inline_bytes):
    body = {
        "contents": [{"role": "user", "parts": [{"text": "Grüße"}]}],
        "systemInstruction": {"parts": [{"text": "s"}]},
        "generationConfig": {"responseMimeType": "application/json", "unknownToTheSDK": {"display_name": [1]}},
    }
    key = uuid.uuid4().hex
    provider = provider_of(server, key, inline_bytes=inline_bytes)
    (outcome,) = await ask(provider, requests([{"model": MODEL, **body}]))
    await provider.aclose()
    async with httpx.AsyncClient(base_url=server.root_url, headers={"x-goog-api-key": key}) as http:
        answered = await http.post(f"/v1beta/models/{MODEL}:generateContent", json=body)
    assert outcome == Succeeded(answered.json())  # the stand-in's answer has a digest of the body in it


@tool
def look(city: str) -> str:
    """Tell the weather."""
    return city


@BOTH
@pytest.mark.parametrize("tools", [False, True])
async def test_a_message_is_the_one_that_langchains_model_gives(server, inline_bytes, tools):
    model = ChatGoogleGenerativeAI(model=MODEL, api_key="k", base_url=server.root_url)
    conversation = [SystemMessage("Be brief."), HumanMessage("Weather in Rome?")]
    told = await (model.bind_tools([look]) if tools else model).ainvoke(conversation)
    item = {"messages": conversation}
    if tools:
        schema = {"type": "OBJECT", "properties": {"city": {"type": "STRING"}}, "required": ["city"]}
        item["tools"] = [{"functionDeclarations": [{"name": "look", "description": "d", "parameters": schema}]}]
    (outcome,) = await ask(provider_of(server, inline_bytes=inline_bytes), requests([item]))
    message = decode(outcome.answer)
    if tools:
        assert [(call["name"], call["args"]) for call in message.tool_calls] == [("look", {"city": "stand-in"})]
        assert [(call["name"], call["args"]) for call in told.tool_calls] == [("look", {"city": "stand-in"})]
    assert message.text.split("] ")[-1] == told.text.split("] ")[-1]
    assert set(message.usage_metadata) == set(told.usage_metadata)
    assert message.response_metadata["finish_reason"] == told.response_metadata["finish_reason"] == "STOP"
    assert message.response_metadata["model_name"] == told.response_metadata["model_name"] == MODEL


@BOTH
async def test_an_expired_batch_has_no_results(server, inline_bytes):
    server.configure(expiry=1.0)
    try:
        outcomes = await ask(provider_of(server, inline_bytes=inline_bytes), questions(4))
    finally:
        server.configure(expiry=0.0)
    assert all(isinstance(each, Expired) for each in outcomes)


async def test_requests_of_a_batch_cancelled_half_way_are_cancelled(server):
    provider = provider_of(server)
    server.configure(latency=1.0, cancel_seconds=0.1)
    try:
        drive = await Drive(provider).start(asked := questions(10))
        await drive.tick()
        (batch,) = await drive.ledger.open_batches()
        await provider.cancel(batch.handle)
        outcomes = await drive.settle(asked)
    finally:
        server.configure(latency=0.0, cancel_seconds=0.0)
    assert all(isinstance(each, Cancelled) for each in outcomes)


@pytest.mark.parametrize(("inline_bytes", "inside"), [(0, False), (100, False), (5_000, True)])
async def test_small_batches_go_inside_the_create_call(server, inline_bytes, inside):
    provider = provider_of(server, inline_bytes=inline_bytes)
    outcomes = await ask(provider, questions(10))
    assert all(isinstance(each, Succeeded) for each in outcomes)
    assert bool(provider.calls["files.upload"]) is not inside
    assert bool(provider.calls["files.download"]) is not inside


async def test_a_batch_of_requests_inside_is_looked_for_before_it_is_sent_again(server):
    provider = provider_of(server, inline_bytes=INLINE_BYTES, inline_doubt=timedelta(seconds=30))
    asked = questions(2)
    prepared = await provider.prepare("key", asked)
    assert await provider.find("key", prepared) == []
    with pytest.raises(ProviderUnavailable, match="looked for"):
        await provider.fence(prepared)
    await provider.fence({**prepared, "uploaded_at": int(time.time()) - 31})
    handle = await provider.submit("key", asked, prepared)
    assert [each["name"] for each in await provider.find("key", prepared)] == [handle["name"]]


async def test_a_fence_is_the_end_of_the_input_file(server):
    provider = provider_of(server)
    asked = questions(2)
    prepared = await provider.prepare("key", asked)
    for _ in range(2):
        await provider.fence(prepared)
    with pytest.raises(ProviderUnavailable, match="just uploaded"):
        await provider.submit("key", asked, prepared)
    with pytest.raises(SubmissionRefused):
        await provider.submit("key", asked, {**prepared, "uploaded_at": 0})


async def test_a_batch_whose_input_was_fenced_is_doubted_until_it_fails(server):
    provider = provider_of(server)
    asked = questions(2)
    prepared = await provider.prepare("key", asked)
    server.reset_stats()
    server.configure(latency=60.0)
    try:
        handle = await provider.submit("key", asked, prepared)
        assert len(await provider.find("key", prepared)) == 1
        await provider.fence(prepared)
        with pytest.raises(ProviderUnavailable, match="input file has been deleted"):
            await provider.find("key", prepared)
    finally:
        server.configure(latency=0.0)
    await until_ended(provider, handle)
    assert await provider.find("key", prepared) == []
    assert server.stats.paid == 0


async def until_ended(provider, handle):
    deadline = time.monotonic() + 60
    while not isinstance(await provider.poll(handle, []), Ended):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)


async def test_the_users_retries_are_not_used(server):
    client = client_of(server, retry_options=types.HttpRetryOptions(attempts=5, initial_delay=0.0, max_delay=0.0))
    provider = GeminiBatch(client, model=MODEL)
    asked = questions(2)
    prepared = await provider.prepare("key", asked)
    server.reset_stats()
    server.configure(next_create_error_after=1)
    with pytest.raises(SubmissionUnknown):
        await provider.submit("key", asked, prepared)
    assert server.stats.calls["POST /v1beta/models/{model}:batchGenerateContent"] == server.stats.batches == 1


async def test_a_create_over_the_rate_says_how_long_to_wait(server):
    provider = provider_of(server)
    asked = questions(1)
    prepared = await provider.prepare("key", asked)
    server.configure(next_create_rate_limit=1, retry_after=17.0)
    with pytest.raises(ProviderUnavailable) as limited:
        await provider.submit("key", asked, prepared)
    assert limited.value.retry_after == 17.0


async def test_the_users_own_http_client_is_used(server):
    seen = []

    async def note(request):
        seen.append(request.url.path)

    async with httpx.AsyncClient(event_hooks={"request": [note]}) as http:
        provider = GeminiBatch(client_of(server, httpx_async_client=http), model=MODEL)
        await ask(provider, questions(1))
        await provider.aclose()
        assert not http.is_closed
    assert any(path.endswith(":batchGenerateContent") for path in seen)


async def test_results_that_are_late_are_waited_for_but_not_for_ever():
    stats = {"requestCount": "1", "successfulRequestCount": "1", "pendingRequestCount": "0"}
    batch = {"name": "batches/1", "metadata": {"state": "BATCH_STATE_SUCCEEDED", "batchStats": stats}}
    http = httpx.AsyncClient(transport=httpx.MockTransport(lambda _: httpx.Response(200, json=batch)))
    provider = GeminiBatch(genai.Client(api_key="k", http_options=types.HttpOptions(httpx_async_client=http)))
    handle = {"name": "batches/1", "key": "k", "input_file": "files/1", "model": MODEL, "created_at": 0}
    now = provider._history._clock()
    polls = []
    for later in (0, 60, 299, 301):
        provider._history._clock = lambda at=now + later: at
        polls.append(await provider.poll(handle, ["r"]))
    assert [type(poll) for poll in polls] == [InProgress, InProgress, InProgress, Ended]
    assert polls[-1].missing.code == "missing_result"
    await http.aclose()


async def test_files_are_deleted_if_that_is_asked_for(server):
    key = uuid.uuid4().hex
    await ask(provider_of(server, key), questions(1))
    api = client_of(server, key).aio
    assert len([each async for each in await api.files.list()]) == 1
    await ask(provider_of(server, key, delete_files=True), questions(1))
    assert len([each async for each in await api.files.list()]) == 1
    await api.aclose()


async def test_a_flush_of_two_models_becomes_two_batches(server):
    server.reset_stats()
    items = [{"model": f"m{n % 2}", "messages": [{"role": "user", "content": f"question {n}."}]} for n in range(6)]
    outcomes = await ask(provider_of(server), requests(items))
    assert all(isinstance(each, Succeeded) for each in outcomes)
    assert server.stats.batches == 2


async def test_two_hundred_requests_cost_what_the_server_billed(server):
    server.reset_stats()
    provider = provider_of(server)
    drive = await Drive(provider).start(asked := questions(200))
    outcomes = await drive.settle(asked)
    for n, outcome in enumerate(outcomes):
        assert f"question {n}." in outcome.answer["candidates"][0]["content"]["parts"][0]["text"]
    (closed,) = await drive.closed()
    stats = server.stats
    assert (closed.usage.model, closed.usage.input_tokens, closed.usage.output_tokens) == (
        MODEL,
        stats.input_tokens,
        stats.output_tokens,
    )
    assert (stats.paid, stats.paid_twice, stats.bodies_repeated) == (200, 0, 0)


async def test_the_twin_answers_at_once(server):
    provider = provider_of(server)
    server.reset_stats()
    asked = requests([[{"role": "user", "content": "a"}], [HumanMessage("b")]])
    outcomes = await ask(provider.realtime(), asked)
    assert outcomes[0].answer["candidates"]
    assert decode(outcomes[1].answer).text.endswith("You asked: b")
    assert server.stats.batches == 0
    server.configure(next_realtime_error=1, realtime_error_status=400)
    (refused,) = await ask(provider.realtime(), questions(1))
    server.configure(realtime_error_status=500)
    assert isinstance(refused, Errored)
    assert (refused.status_code, refused.code, refused.retryable) == (400, "invalid_argument", False)


async def test_identity_names_the_place_and_no_secret(server):
    one, other = questions(2)
    provider = provider_of(server, "a-secret-key")
    assert provider.identity(one) != provider.identity(other)
    assert provider.identity(one) == provider_of(server, "another-key").identity(one)
    assert b"a-secret-key" not in provider.identity(one)


async def test_without_a_key_the_requests_fail_and_say_why(monkeypatch):
    for name in ("GEMINI_API_KEY", "GOOGLE_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    (outcome,) = await ask(GeminiBatch(model=MODEL), questions(1))
    assert isinstance(outcome, Errored)
    assert (outcome.code, "GEMINI_API_KEY" in outcome.message) == ("no_api_key", True)


async def test_a_key_of_the_environment_is_used(server, monkeypatch):
    monkeypatch.setenv("GEMINI_API_KEY", "k")
    monkeypatch.setenv("GOOGLE_GEMINI_BASE_URL", server.root_url)
    (outcome,) = await ask(GeminiBatch(model=MODEL), questions(1))
    assert isinstance(outcome, Succeeded)


def test_what_is_no_client_or_no_option_is_refused():
    with pytest.raises(TypeError, match=r"pass a google\.genai\.Client"):
        GeminiBatch(object())
    with pytest.raises(TypeError, match="Vertex"):
        GeminiBatch(genai.Client(vertexai=True, api_key="k"))
    with pytest.raises(ValueError, match="20,000,000"):
        GeminiBatch(inline_bytes=INLINE_BYTES + 1)
    with pytest.raises(TypeError, match="pass a model's name"):
        GeminiBatch(model=7)
    with pytest.raises(ValueError, match="one or the other"):
        GeminiBatch(model="a", defaults={"model": "b"})
    assert repr(GeminiBatch(model="a")) == "GeminiBatch(model='a')"
