"""What a call of a batched model may not say, and whose Batcher answers it."""

import asyncio
import gc
import logging
import threading
import weakref

import pytest
from helpers import within
from langchain_anthropic import ChatAnthropic
from langchain_core.runnables import ConfigurableField
from langchain_google_genai import ChatGoogleGenerativeAI
from langchain_openai import ChatOpenAI
from langchain_parts import chat

from batch_bridge import Batcher
from batch_bridge.errors import UsageError
from batch_bridge.langchain import _anthropic, _google, _model, _openai, batched

OTHER = "Bearer s3cret"


@pytest.fixture(autouse=True)
def unwarned(monkeypatch):
    monkeypatch.setattr(_model, "_has_warned", threading.Event())


def claude(server, **options):
    root = server.base_url.removesuffix("/v1")
    return ChatAnthropic(**{"model": "claude-haiku-4-5", "base_url": root, "api_key": "test", **options})


def openai_key(**options):
    return ChatOpenAI(**{"model": "gpt-4o-mini", "api_key": "k", **options})


# -- credentials ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [chat, claude], ids=["openai", "anthropic"])
@pytest.mark.parametrize("name", ["Authorization", "api-key", "X-API-Key", "Idempotency-Key", "x-goog-user-project"])
@pytest.mark.parametrize("way", ["a call", "bind"])
async def test_a_call_with_a_header_that_no_batch_carries_is_refused(server, make, name, way):
    asker, options = batched(make(server), max_idle=0.05), {"extra_headers": {name: OTHER}}
    call = asker.ainvoke("hi", **options) if way == "a call" else asker.bind(**options).ainvoke("hi")
    with pytest.raises(UsageError, match=f"header '{name.lower()}'") as refused:
        await within(call)
    assert "s3cret" not in str(refused.value)
    assert server.stats.batches == 0


async def test_headers_of_the_model_are_refused_like_those_of_a_call(server):
    asker = batched(chat(server, model_kwargs={"extra_headers": {"Authorization": OTHER}}), max_idle=0.05)
    with pytest.raises(UsageError, match="header 'authorization'"):
        await within(asker.ainvoke("hi"))


@pytest.mark.parametrize("value", ["Bearer test", "test"])
async def test_the_clients_own_credential_is_no_other_account(server, value):
    asker = batched(chat(server), max_idle=0.05)
    assert (await within(asker.ainvoke("hi", extra_headers={"Authorization": value}))).text


# -- a proxy -------------------------------------------------------------------------------------------------------


async def test_the_provider_of_a_model_with_a_proxy_has_it_too():
    def proxies(client):
        return [pattern.pattern for pattern in client._client._mounts]

    given = ChatAnthropic(model="claude-haiku-4-5", api_key="k", anthropic_proxy="http://127.0.0.1:9")
    provider = _anthropic.provider(given)
    client = provider._clients.client()
    assert proxies(client) == proxies(given._async_client) != []
    await provider.aclose()
    without = _anthropic.provider(ChatAnthropic(model="claude-haiku-4-5", api_key="k"))
    assert proxies(without._clients.client()) == []
    await without.aclose()


async def test_calls_outside_of_graphs_go_through_the_proxy(server):
    seen = asyncio.Event()

    async def proxy(reader, writer):
        if b" http://" in await reader.readline():
            seen.set()
        writer.close()

    async with await asyncio.start_server(proxy, "127.0.0.1", 0) as listening:
        port = listening.sockets[0].getsockname()[1]
        asker = batched(claude(server, anthropic_proxy=f"http://127.0.0.1:{port}"), max_idle=0.05)
        task = asyncio.ensure_future(asker.ainvoke("hi"))
        await within(seen.wait())
        task.cancel()
    assert server.stats.batches == 0


# -- whose Batcher -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [chat, claude], ids=["openai", "anthropic"])
async def test_calls_of_a_configurable_model_are_one_batch(server, make):
    model = batched(make(server), max_idle=0.3).configurable_fields(temperature=ConfigurableField(id="t"))
    before = threading.active_count()
    calls = [model.ainvoke(f"{number}", config={"configurable": {"t": 0.5}}) for number in range(10)]
    answers = await within(asyncio.gather(*calls))
    assert len({answer.text for answer in answers}) == 10
    assert server.stats.batches == 1
    assert threading.active_count() - before < 10


@pytest.mark.parametrize(
    ("vendor", "make", "other"),
    [
        (_openai, openai_key, {"api_key": "other"}),
        (_openai, openai_key, {"base_url": "http://127.0.0.1:1/v1"}),
        (_openai, openai_key, {"organization": "org"}),
        (_openai, openai_key, {"default_headers": {"x": "1"}}),
        (_openai, openai_key, {"timeout": 3}),
        (_openai, openai_key, {"openai_proxy": "http://127.0.0.1:9"}),
        (
            _anthropic,
            lambda **options: ChatAnthropic(**{"model": "m", "api_key": "k", **options}),
            {"api_key": "other"},
        ),
        (
            _anthropic,
            lambda **options: ChatAnthropic(model="m", api_key="k", **options),
            {"default_headers": {"x": "1"}},
        ),
        (
            _anthropic,
            lambda **options: ChatAnthropic(model="m", api_key="k", **options),
            {"anthropic_proxy": "http://p"},
        ),
        (_google, lambda **o: ChatGoogleGenerativeAI(**{"model": "m", "api_key": "k", **o}), {"api_key": "other"}),
        (_google, lambda **o: ChatGoogleGenerativeAI(model="m", api_key="k", **o), {"base_url": "http://127.0.0.1:1"}),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_models_of_unlike_clients_are_told_apart(vendor, make, other):
    same, different = vendor.identity(make()), vendor.identity(make(**other))
    assert same == vendor.identity(make(temperature=0.5)) != different
    assert hash(same) == hash(vendor.identity(make()))


async def test_accounts_never_share_a_batch(server):
    first, second = (batched(chat(server, api_key=key), max_idle=0.1) for key in ("one", "two"))
    await within(asyncio.gather(first.ainvoke("hi"), second.ainvoke("hi"), first.model_copy().ainvoke("hello")))
    assert (server.stats.batches, server.stats.requests) == (2, 3)


async def test_the_batcher_ends_with_the_last_model_that_has_it(server):
    first, second = (batched(chat(server), max_idle=0.05) for _ in range(2))
    await within(asyncio.gather(first.ainvoke("hi"), second.ainvoke("hello")))
    asker = weakref.ref(first._batch_line.asker)
    assert asker() is second._batch_line.asker
    del first
    gc.collect()
    assert asker() is not None
    del second
    gc.collect()
    assert asker() is None


# -- arguments -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [{"max_idle": 5}, {"max_age": None}])
def test_what_a_batcher_of_ones_own_has_for_itself_is_refused_beside_it(arguments):
    with Batcher(submit_func=lambda items: items, poll_func=lambda handle: handle) as batcher:
        with pytest.raises(ValueError, match="a Batcher has its own settings"):
            batched(openai_key(), batcher, **arguments)
        assert batched(openai_key(), batcher, max_idle=1)


@pytest.mark.parametrize(("batcher", "kind"), [(5, TypeError), ("", ValueError)])
def test_what_is_no_batcher_is_refused_when_the_model_is_batched(batcher, kind):
    with pytest.raises(kind, match=r"batched\(batcher="):
        batched(openai_key(), batcher)


async def test_a_timeout_that_means_nothing_is_said_once(server, caplog):
    asker = batched(chat(server), max_idle=0.05)
    for _ in range(2):
        await within(asker.bind(timeout=3).ainvoke("hi"))
    warned = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert ["a timeout means nothing" in record.message for record in warned] == [True]
