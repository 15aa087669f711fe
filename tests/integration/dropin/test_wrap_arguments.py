"""What `wrap_openai` refuses when a client is wrapped, or says, instead of going wrong later."""

import asyncio
import contextvars
import logging
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import openai
import pytest
from helpers import one_node, within
from openai import AsyncOpenAI, OpenAI

from batch_bridge import Batcher, Bridge, FlushPolicy, ResultPending, Runner, wrap_openai
from batch_bridge._dropin import asker as _ask
from batch_bridge.errors import RunFileError
from batch_bridge.providers.anthropic import AnthropicBatch
from batch_bridge.providers.openai import OpenAIBatch
from batch_bridge.testing import BatchServer

QUICK = {"flush": FlushPolicy(max_idle=0.05), "poll_interval": 0.1}


@pytest.fixture(scope="module")
def server():
    with BatchServer(latency=0) as server:
        yield server


@pytest.fixture
def options(server, request):
    return {"base_url": server.base_url, "api_key": request.node.name}


@pytest.fixture(autouse=True)
def unwarned(monkeypatch):
    monkeypatch.setattr(_ask, "_has_warned", threading.Event())


def chat(client, text="hi"):
    return client.chat.completions.create(model="gpt-4o-mini", messages=[{"role": "user", "content": text}])


def desk_batcher():
    return Batcher(submit_func=lambda items: items, poll_func=lambda handle: handle)


# -- an HTTP client of the user's ----------------------------------------------------------------------------------


async def test_an_http_client_of_ones_own_is_refused_with_the_way_out(options):
    async with openai.DefaultAsyncHttpxClient() as http:
        client = AsyncOpenAI(**options, http_client=http)
        with pytest.raises(TypeError, match=r"http_client.*provider=OpenAIBatch\(lambda: AsyncOpenAI"):
            wrap_openai(client)
        with pytest.raises(TypeError, match="http_client"):
            wrap_openai(AsyncOpenAI(**options)).with_options(http_client=http)
        assert wrap_openai(client, Bridge(OpenAIBatch(AsyncOpenAI(**options))))
        assert wrap_openai(client, mode="realtime")


async def test_a_function_gives_each_loop_an_http_client_of_its_own(options, caplog):
    used = []  # on which threads requests were made, by HTTP client

    def make():
        async def note(_):
            threads.add(threading.get_ident())

        threads = set()
        used.append(threads)
        return AsyncOpenAI(**options, http_client=openai.DefaultAsyncHttpxClient(event_hooks={"request": [note]}))

    client = make()
    async with wrap_openai(client, unsupported="realtime", provider=OpenAIBatch(make), **QUICK) as wrapped:
        for _ in range(2):
            await wrapped.models.list()
            assert (await within(chat(wrapped))).choices
    first, sample, batches = used
    assert (len(first), len(sample), len(batches)) == (1, 0, 1)
    assert first.isdisjoint(batches)
    assert client.is_closed()
    assert not [record for record in caplog.records if record.name.startswith("batch_bridge")]


@pytest.mark.parametrize("is_function", [False, True])
def test_an_http_client_in_a_second_loop_is_warned_of_once(options, caplog, is_function):
    http = openai.DefaultAsyncHttpxClient()
    client = AsyncOpenAI(**options, http_client=http)
    provider = OpenAIBatch((lambda: client) if is_function else client)

    async def use():
        provider._clients.client()
        await provider.aclose()

    for loop in (loops := [asyncio.new_event_loop() for _ in range(3)]):
        loop.run_until_complete(use())
    for loop in loops:
        loop.close()
    assert [record.message.partition(":")[0] for record in caplog.records] == ["OpenAIBatch"]
    assert "pass a function" in caplog.text
    assert not http.is_closed  # the user's


@pytest.mark.parametrize(("kind", "sync"), [(OpenAIBatch, openai.OpenAI), (AnthropicBatch, openai.OpenAI)])
def test_a_function_that_makes_another_client_is_refused(kind, sync):
    with pytest.raises(TypeError, match=rf"{kind.__name__}\(openai\.OpenAI object\)"):
        kind(lambda: sync(api_key="k"))


# -- arguments -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        ({"batcher": 5}, TypeError, r"batcher=5\): pass a bridge's name"),
        ({"batcher": ""}, ValueError, "is empty; pass the name"),
        ({"flush": 30}, TypeError, r"flush=30\) is not a policy"),
        ({"poll_interval": "soon"}, TypeError, r"poll_interval='soon'\) is not a duration"),
        ({"poll_interval": True}, TypeError, "is not a duration"),
        ({"poll_interval": 0}, ValueError, "without a pause"),
        ({"poll_interval": timedelta(seconds=-1)}, ValueError, "without a pause"),
        ({"poll_interval": float("nan")}, ValueError, "not a finite time"),
    ],
)
def test_an_argument_of_the_wrong_kind_is_refused_when_the_client_is_wrapped(options, arguments, kind, message):
    with pytest.raises(kind, match=rf"wrap_openai\(.*{message}"):
        wrap_openai(AsyncOpenAI(**options), **arguments)


@pytest.mark.parametrize(
    "arguments",
    [{"on_pending": "raise"}, {"path": "a.db"}, {"flush": FlushPolicy()}, {"poll_interval": 1}, {"provider": True}],
    ids=lambda arguments: next(iter(arguments)),
)
def test_what_a_batcher_of_ones_own_has_for_itself_is_refused_beside_it(options, arguments):
    if "provider" in arguments:
        arguments = {"provider": OpenAIBatch(AsyncOpenAI(**options))}
    with desk_batcher() as batcher:
        with pytest.raises(ValueError, match=rf"{next(iter(arguments))}=.*a Batcher has its own"):
            wrap_openai(AsyncOpenAI(**options), batcher, **arguments)
        assert wrap_openai(AsyncOpenAI(**options), batcher, poll_interval=30)


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"organization": "org-b"}, r"organization \('org-b' and None\)"),
        ({"default_headers": {"x-secret": "s3cret"}}, "differs in default_headers,"),
        ({"api_key": "s3cret"}, "differs in api_key,"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else None,
)
async def test_a_copy_for_somebody_else_cannot_share_the_file_and_is_told_so(options, other, said, tmp_path):
    client = wrap_openai(AsyncOpenAI(**options), path=tmp_path / "a.db", on_pending="raise", **QUICK)
    copy = client.with_options(**other)
    with pytest.raises(ResultPending):
        await chat(client)
    with pytest.raises(RunFileError, match=rf"{said}.*close\(\)") as refused:
        await chat(copy)
    assert "s3cret" not in str(refused.value)
    await client.close()
    with pytest.raises(ResultPending):  # the file is free now
        await chat(copy, "later")
    await copy.close()


# -- threads of a node's own ---------------------------------------------------------------------------------------


def in_threads(client, run):
    def node(state):
        with ThreadPoolExecutor(2) as pool:
            texts = [state["x"] + str(number) for number in range(2)]
            return {"out": [future.result().model for future in [run(pool, client, text) for text in texts]]}

    return node


async def ask_in_threads(options, run):
    client = wrap_openai(OpenAI(**options), **QUICK)
    bridge = Bridge(OpenAIBatch(AsyncOpenAI(**options)), poll_interval=0.1)
    async with Runner(one_node(in_threads(client, run)), bridge, path=":memory:") as runner:
        await within(runner.abatch([{"x": "a"}]))
        report = await runner.report()
    client.close()
    return report.requests


async def test_a_thread_that_does_not_know_its_node_is_warned_of_once(options, caplog):
    assert await ask_in_threads(options, lambda pool, client, text: pool.submit(chat, client, text)) == 0
    assert [record.levelno for record in caplog.records if "without a node's context" in record.message] == [
        logging.WARNING
    ]


async def test_a_thread_that_was_handed_the_nodes_context_parks(options, caplog):
    def run(pool, client, text):
        return pool.submit(contextvars.copy_context().run, chat, client, text)

    assert await ask_in_threads(options, run) == 2
    assert "without a node's context" not in caplog.text


def test_a_script_with_threads_and_no_graph_is_not_warned(options, caplog, monkeypatch):
    monkeypatch.delitem(sys.modules, "langgraph_api", raising=False)
    client = wrap_openai(OpenAI(**options), **QUICK)
    with ThreadPoolExecutor(2) as pool:
        assert all(answer.model for answer in pool.map(lambda text: chat(client, text), ["a", "b"]))
    client.close()
    assert not caplog.records
