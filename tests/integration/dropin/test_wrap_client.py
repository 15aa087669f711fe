"""A wrapped OpenAI client, as its user sees it: the SDK's types and exceptions, from batches, over real HTTP."""

import asyncio
import gc
import logging
import threading

import openai
import pytest
from helpers import within
from openai import AsyncAzureOpenAI, AsyncOpenAI, AzureOpenAI, OpenAI
from openai.types.chat import ChatCompletionUserMessageParam
from pydantic import BaseModel

from batch_bridge import Batcher, Bridge, FlushPolicy, RequestExpired, RequestFailed, wrap_openai
from batch_bridge.errors import JSONError, OutsideGraphError, UnsupportedCallError
from batch_bridge.providers.openai import OpenAIBatch
from batch_bridge.testing import BatchServer

QUICK = {"flush": FlushPolicy(max_idle=0.05), "poll_interval": 0.1}


class City(BaseModel):
    name: str
    country: str


def user(text):
    return [{"role": "user", "content": text}]


TOOL = {
    "type": "function",
    "function": {
        "name": "look_up",
        "strict": True,
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
            "additionalProperties": False,
        },
    },
}

CALLS = {
    "chat": lambda c: c.chat.completions.create(model="gpt-4o-mini", messages=user("hi"), temperature=0.5),
    "chat with tools": lambda c: c.chat.completions.create(model="gpt-4o-mini", messages=user("hi"), tools=[TOOL]),
    "chat, omitted arguments": lambda c: c.chat.completions.create(
        model="gpt-4o-mini", messages=user("hi"), seed=openai.NOT_GIVEN, stop=openai.NOT_GIVEN, stream=False
    ),
    "chat, extra_body": lambda c: c.chat.completions.create(
        model="gpt-4o-mini", messages=user("hi"), extra_body={"top_k": 3}, extra_headers=None
    ),
    "chat, a typed dict": lambda c: c.chat.completions.create(
        model="gpt-4o-mini", messages=(ChatCompletionUserMessageParam(role="user", content="hi"),)
    ),
    "chat.parse": lambda c: c.chat.completions.parse(model="gpt-4o-mini", messages=user("Paris"), response_format=City),
    "responses": lambda c: c.responses.create(model="gpt-4o-mini", input="hi", instructions="be kind"),
    "responses.parse": lambda c: c.responses.parse(model="gpt-4o-mini", input="Paris", text_format=City),
    "embeddings": lambda c: c.embeddings.create(model="text-embedding-3-small", input=["a", "b"]),
    "embeddings as floats": lambda c: c.embeddings.create(
        model="text-embedding-3-small", input="a", encoding_format="float"
    ),
    "moderations": lambda c: c.moderations.create(input="a", model="omni-moderation-latest"),
    "completions": lambda c: c.completions.create(model="gpt-3.5-turbo-instruct", prompt="a"),
    "with_options": lambda c: c.with_options(max_retries=0).responses.create(model="gpt-4o-mini", input="hi"),
}
RAW = {
    "chat": lambda c: c.chat.completions.with_raw_response.create(model="gpt-4o-mini", messages=user("hi")),
    "of the client": lambda c: c.with_raw_response.responses.create(model="gpt-4o-mini", input="hi"),
}


@pytest.fixture(scope="module")
def server():
    with BatchServer(latency=0) as server:
        yield server


@pytest.fixture
def options(server, request):
    return {"base_url": server.base_url, "api_key": request.node.name}


@pytest.fixture
async def plain(options):
    async with AsyncOpenAI(**options) as client:
        yield client


@pytest.fixture
async def client(plain):
    client = wrap_openai(plain, **QUICK)
    yield client
    await client.close()


async def test_every_call_returns_what_the_realtime_call_returns(plain, client, server):
    realtime = [await call(plain) for call in CALLS.values()]
    before = server.stats.realtime
    batched = await within(asyncio.gather(*(call(client) for call in CALLS.values())))
    for name, once, other in zip(CALLS, realtime, batched, strict=True):
        assert type(other) is type(once), name
        assert other.model_dump(warnings=False) == once.model_dump(warnings=False), name
    assert server.stats.realtime == before


def test_so_does_every_call_of_a_synchronous_client(options, server):
    plain, answers = OpenAI(**options), {}
    client = wrap_openai(plain, **QUICK)
    threads = [
        threading.Thread(target=lambda name=name, call=call: answers.update({name: call(client)}))
        for name, call in CALLS.items()
    ]
    before = server.stats.realtime
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert server.stats.realtime == before
    for name, call in CALLS.items():
        assert answers[name].model_dump(warnings=False) == call(plain).model_dump(warnings=False), name
    client.close()


async def test_parsed_answers_are_pydantic_objects(client):
    chat, response = await within(asyncio.gather(CALLS["chat.parse"](client), CALLS["responses.parse"](client)))
    assert isinstance(chat.choices[0].message.parsed, City)
    assert isinstance(response.output_parsed, City)


async def test_raw_responses(plain, client):
    for name, call in RAW.items():
        once, other = await call(plain), await within(call(client))
        assert type(other) is type(once), name
        assert other.status_code == 200
        assert other.parse().model_dump() == once.parse().model_dump()


async def test_a_gather_is_one_batch_and_the_original_client_stays_what_it_was(plain, client, server):
    before = server.stats
    asked = [client.chat.completions.create(model="gpt-4o-mini", messages=user(f"q{i}")) for i in range(20)]
    answers = await within(asyncio.gather(*asked))
    assert len({answer.id for answer in answers}) == 20
    assert server.stats.batches == before.batches + 1
    await plain.chat.completions.create(model="gpt-4o-mini", messages=user("hi"))
    assert server.stats.realtime == before.realtime + 1


@pytest.mark.parametrize("kind", [AsyncOpenAI, OpenAI])
def test_the_wrapped_client_is_of_the_same_class(options, kind):
    client = kind(**options)
    wrapped = wrap_openai(client)
    assert type(wrapped) is kind
    assert wrapped is not client
    assert type(wrapped.chat.completions) is type(client.chat.completions)
    assert (wrapped.base_url, wrapped.api_key) == (client.base_url, client.api_key)


def test_in_realtime_mode_nothing_is_hooked(options, server, monkeypatch):
    client = wrap_openai(OpenAI(**options), mode="realtime")
    before = server.stats
    assert client.with_options(timeout=5).chat.completions.create(model="m", messages=user("hi")).choices
    assert list(client.chat.completions.create(model="m", messages=user("hi"), stream=True))
    monkeypatch.setenv("BATCH_BRIDGE_MODE", "realtime")
    assert wrap_openai(OpenAI(**options)).chat.completions.create(model="m", messages=user("hi")).choices
    assert (server.stats.realtime, server.stats.batches) == (before.realtime + 3, before.batches)
    monkeypatch.setenv("BATCH_BRIDGE_MODE", "reel-time")
    with pytest.raises(ValueError, match="BATCH_BRIDGE_MODE='reel-time'"):
        wrap_openai(OpenAI(**options))


def test_the_argument_counts_before_the_environment(options, server, monkeypatch):
    monkeypatch.setenv("BATCH_BRIDGE_MODE", "realtime")
    client = wrap_openai(OpenAI(**options), mode="batch", **QUICK)
    before = server.stats
    client.chat.completions.create(model="m", messages=user("hi"))
    assert (server.stats.realtime, server.stats.batches) == (before.realtime, before.batches + 1)
    client.close()


# -- what a batch cannot hold --------------------------------------------------------------------------------------


async def _stream(client):
    async with client.chat.completions.with_streaming_response.create(model="m", messages=user("hi")) as response:
        return await response.text()


UNSUPPORTED = {
    r"chat/completions: a batch cannot stream \(stream=True\)": lambda c: c.chat.completions.create(
        model="m", messages=user("hi"), stream=True
    ),
    "cannot stream .with_streaming_response": _stream,
    "POST files": lambda c: c.files.create(file=("a.jsonl", b"{}"), purpose="batch"),
    "has no headers, and the call has some .x-tenant": lambda c: c.responses.create(
        model="m", input="hi", extra_headers={"X-Tenant": "a"}
    ),
    "has no query, and the call has one .beta": lambda c: c.responses.create(
        model="m", input="hi", extra_query={"beta": "1"}
    ),
}


@pytest.mark.parametrize("message", UNSUPPORTED)
async def test_a_call_that_a_batch_cannot_hold_is_refused_and_nothing_is_sent(client, server, message):
    before = server.stats.calls
    with pytest.raises(UnsupportedCallError, match=message) as raised:
        await UNSUPPORTED[message](client)
    assert 'unsupported="realtime"' in str(raised.value)
    assert server.stats.calls == before


@pytest.mark.parametrize("message", UNSUPPORTED)
async def test_or_is_made_at_once_and_the_log_says_so_once(plain, server, caplog, message):
    client = wrap_openai(plain, unsupported="realtime", **QUICK)
    before = server.stats
    with caplog.at_level(logging.WARNING, "batch_bridge"):
        for _ in range(2):
            await UNSUPPORTED[message](client)
    assert server.stats.batches == before.batches
    assert sum(server.stats.calls.values()) == sum(before.calls.values()) + 2
    (record,) = [each for each in caplog.records if each.name.startswith("batch_bridge")]
    assert "is sent immediately, at full price" in record.message


async def test_calls_that_read_pass(client, server):
    before = server.stats.calls.get("GET /v1/batches", 0)
    assert (await client.batches.list()).data is not None
    assert server.stats.calls["GET /v1/batches"] == before + 1


async def test_a_timeout_is_not_dropped_in_silence(client, caplog):
    with caplog.at_level(logging.WARNING, "batch_bridge"):
        await within(client.responses.create(model="m", input="hi", timeout=3))
        await within(client.with_options(timeout=3).responses.create(model="m", input="hi"))
    assert [("timeout" in each.message) for each in caplog.records if each.name.startswith("batch_bridge")] == [
        True,
        True,
    ]


async def test_the_sdks_own_checks_come_first(client):
    with pytest.raises(TypeError, match="Missing required arguments"):
        await client.chat.completions.create(model="m")
    with pytest.raises(TypeError, match=r"chat\.completions\.parse"):
        await client.chat.completions.create(model="m", messages=user("hi"), response_format=City)
    with pytest.raises(TypeError, match="unexpected keyword"):
        await client.chat.completions.create(model="m", messages=user("hi"), temprature=1)
    with pytest.raises(JSONError, match=r"\['extra'\]"):
        await client.chat.completions.create(model="m", messages=user("hi"), extra_body={"extra": {1, 2}})


@pytest.fixture(scope="module")
def faulty():
    with BatchServer(latency=0) as server:
        yield server


# -- errors --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, openai.BadRequestError),
        (401, openai.AuthenticationError),
        (404, openai.NotFoundError),
        (422, openai.UnprocessableEntityError),
        (429, openai.RateLimitError),
        (500, openai.InternalServerError),
        (418, openai.APIStatusError),
    ],
)
@pytest.mark.parametrize("name", ["chat", "chat.parse", "embeddings"])
async def test_an_errored_line_is_the_sdks_own_exception(faulty, status, kind, name):
    faulty.configure(line_failure=1, line_failure_status=[status])
    client = wrap_openai(AsyncOpenAI(base_url=faulty.base_url, api_key=f"{name} {status}"), **QUICK)
    with pytest.raises(kind) as raised:
        await within(CALLS[name](client))
    await client.close()
    error = raised.value
    assert error.status_code == error.response.status_code == status
    assert error.request_id
    assert error.body["message"]
    assert error.body["message"] in str(error)
    assert error.request.url.path.startswith("/v1/")
    assert isinstance(error.__cause__, RequestFailed)
    assert error.__cause__.status_code == status


@pytest.mark.parametrize(
    ("faults", "kind", "code"),
    [
        ({"expiry": 1, "expiry_share": 0}, RequestExpired, "expired"),
        ({"batch_failure": 1, "batch_failure_code": "token_limit_exceeded"}, RequestFailed, "token_limit_exceeded"),
        ({"line_failure": 1, "line_failure_status": [0]}, RequestFailed, None),
        ({"missing_line": 1}, RequestFailed, "missing_result"),
    ],
)
async def test_an_end_without_a_status_is_of_ours_and_of_the_sdks(faults, kind, code):
    with BatchServer(latency=0, **faults) as server:
        client = wrap_openai(AsyncOpenAI(base_url=server.base_url, api_key="k"), **QUICK)
        with pytest.raises(openai.APIError) as raised:
            await within(CALLS["chat"](client))
        await client.close()
    assert isinstance(raised.value, kind)
    assert not isinstance(raised.value, openai.APIStatusError)
    assert raised.value.request_id
    assert code is None or raised.value.code == code
    assert raised.value.message == str(raised.value)


async def test_an_answer_that_is_no_body_is_an_error_that_says_so(plain):
    with Batcher(submit_func=lambda items: 1, poll_func=lambda _: ["text"], flush=FlushPolicy(max_idle=0)) as batcher:
        client = wrap_openai(plain, batcher)
        with pytest.raises(RequestFailed, match="answered with a str, and the OpenAI client needs the response's body"):
            await within(CALLS["chat"](client))


# -- whose batch ---------------------------------------------------------------------------------------------------


async def test_two_base_urls_never_share_a_batch(plain, server):
    with BatchServer(latency=0) as other:
        async with Batcher(OpenAIBatch(plain), flush=FlushPolicy(max_idle=0.05), poll_interval=0.1) as batcher:
            here = wrap_openai(plain, batcher)
            there = here.with_options(base_url=other.base_url)
            good, bad = await within(asyncio.gather(CALLS["chat"](here), CALLS["chat"](there), return_exceptions=True))
        assert good.choices
        assert isinstance(bad, RequestFailed)
        assert f"base_url is '{other.base_url}'" in str(bad)
        assert "name another bridge" in str(bad)
        mine = wrap_openai(plain, **QUICK)
        theirs = mine.with_options(base_url=other.base_url)
        await within(asyncio.gather(CALLS["chat"](mine), CALLS["chat"](theirs)))
        assert other.stats.paid == 1
        await mine.close()
        await theirs.close()


async def test_a_password_in_the_url_is_in_no_item(plain):
    seen = []

    def submit(items):
        seen.extend(items)
        return 1

    with Batcher(submit_func=submit, poll_func=lambda _: [{}], flush=FlushPolicy(max_idle=0)) as batcher:
        client = wrap_openai(AsyncOpenAI(base_url="http://me:secret@localhost:1/v1", api_key="sk-secret"), batcher)
        await within(CALLS["chat"](client))
    assert seen[0]["client"] == {"base_url": "http://localhost:1/v1"}
    assert "secret" not in str(seen)


async def test_a_bridge_given_as_it_is_answers_outside_of_graphs_too(plain, server):
    bridge = Bridge(OpenAIBatch(plain), name="other", flush=FlushPolicy(max_age=None))
    client = wrap_openai(plain, bridge, **QUICK)
    before = server.stats.batches
    assert (await within(CALLS["chat"](client))).choices
    assert server.stats.batches == before + 1
    await client.close()


def test_one_wrapped_client_in_two_event_loops(options, server):
    client = wrap_openai(AsyncOpenAI(**options), **QUICK)
    before = server.stats.batches
    loops = [threading.Thread(target=lambda: asyncio.run(CALLS["chat"](client))) for _ in range(2)]
    for loop in loops:
        loop.start()
    for loop in loops:
        loop.join()
    assert asyncio.run(CALLS["chat"](client)).choices
    assert server.stats.batches <= before + 3
    asyncio.run(client.close())


async def test_a_synchronous_client_does_not_stop_an_event_loop(options):
    client = wrap_openai(OpenAI(**options), **QUICK)
    with pytest.raises(OutsideGraphError, match="asynchronous client"):
        CALLS["chat"](client)
    assert (await within(asyncio.to_thread(CALLS["chat"], client))).choices
    client.close()


async def test_a_copy_shares_the_batcher_unless_it_speaks_for_somebody_else(plain, client, server):
    before = server.stats.batches
    same = client.with_options(timeout=7, max_retries=9)
    other = client.with_options(default_headers={"X-Tenant": "b"})
    await within(asyncio.gather(CALLS["chat"](client), CALLS["chat"](same), CALLS["chat"](other)))
    assert server.stats.batches == before + 2
    await other.close()


async def test_a_batcher_that_nobody_uses_any_more_ends(options):
    before = set(threading.enumerate())

    def wrapped():
        client = wrap_openai(OpenAI(**options), **QUICK)
        CALLS["chat"](client)

    await asyncio.to_thread(wrapped)
    gc.collect()
    for thread in [each for each in set(threading.enumerate()) - before if each.name == "batcher bridge"]:
        await asyncio.to_thread(thread.join, 10)
        assert not thread.is_alive()


# -- Azure ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("deployment", [None, "my-batch"])
async def test_an_azure_client_asks_its_deployment(deployment):
    seen = []

    def submit(items):
        seen.extend(items)
        return 1

    azure = {"azure_endpoint": "https://me.openai.azure.com", "api_key": "k", "api_version": "2025-01-01"}
    for kind in (AsyncAzureOpenAI, AzureOpenAI):
        with Batcher(submit_func=submit, poll_func=lambda _: [{}], flush=FlushPolicy(max_idle=0)) as batcher:
            client = wrap_openai(kind(**azure, azure_deployment=deployment), batcher)
            assert type(client) is kind
            if kind is AsyncAzureOpenAI:
                await within(CALLS["chat"](client))
            else:
                await within(asyncio.to_thread(CALLS["chat"], client))
    assert [each["body"]["model"] for each in seen] == [deployment or "gpt-4o-mini"] * 2
    assert [each["client"] for each in seen] == [{"base_url": "https://me.openai.azure.com/openai"}] * 2


@pytest.mark.parametrize("kind", [AsyncAzureOpenAI, AzureOpenAI])
@pytest.mark.parametrize("deployment", [None, "my-batch"])
def test_an_azure_client_of_its_own_is_sent_by_azures_provider(kind, deployment):
    from batch_bridge._dropin.openai.async_client import async_client_of

    azure = {"azure_endpoint": "https://me.openai.azure.com", "api_key": "k", "api_version": "2025-01-01"}
    client = kind(**azure, azure_deployment=deployment)
    twin = async_client_of(client)
    assert isinstance(twin, AsyncAzureOpenAI)
    assert str(twin._prepare_url("/files")).split("?")[0] == "https://me.openai.azure.com/openai/files"
    assert (twin.api_key, twin._api_version) == ("k", "2025-01-01")
    assert wrap_openai(client).api_key == "k"


# -- bad arguments -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        ({"unsupported": "ignore"}, ValueError, r"unsupported='ignore'.*'raise' or 'realtime'"),
        ({"on_pending": "raise"}, ValueError, r"on_pending=\"raise\"\) needs a file"),
        ({"on_pending": "maybe", "path": "x.db"}, ValueError, "on_pending='maybe'"),
        ({"mode": "fast"}, ValueError, "mode='fast'"),
    ],
)
def test_an_argument_that_makes_no_sense_is_named(options, arguments, kind, message):
    with pytest.raises(kind, match=message):
        wrap_openai(OpenAI(**options), **arguments)


def test_what_is_no_client_or_wrapped_already_is_refused(options):
    with pytest.raises(TypeError, match=r"pass an openai\.AsyncOpenAI"):
        wrap_openai(object())
    with pytest.raises(ValueError, match="already wrapped"):
        wrap_openai(wrap_openai(OpenAI(**options)))
    http = openai.DefaultHttpxClient()
    with pytest.raises(TypeError, match=r"its own http_client.*provider=OpenAIBatch"):
        wrap_openai(OpenAI(**options, http_client=http))
    assert wrap_openai(OpenAI(**options, http_client=http), provider=OpenAIBatch(AsyncOpenAI(**options)))
    http.close()
